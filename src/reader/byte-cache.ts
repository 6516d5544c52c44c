/**
 * Values that cost something to get, up to a number of bytes: the longest unused goes first. Each is fetched once,
 * however many ask for it meanwhile; what failed is asked for again.
 */
export class ByteCache<T> {
  /** In the order of their last use, the oldest first. */
  readonly #values = new Map<string, { readonly value: Promise<T>; bytes: number }>();
  #bytes = 0;

  /** Both in bytes; `sizeOf` is above 0. */
  constructor(
    private readonly capacity: number,
    private readonly sizeOf: (value: T) => number,
  ) {}

  has(key: string): boolean {
    return this.#values.has(key);
  }

  get(key: string, fetch: () => Promise<T>): Promise<T> {
    const known = this.#values.get(key);
    if (known !== undefined) {
      this.#values.delete(key);
      this.#values.set(key, known);
      return known.value;
    }
    const held = { value: fetch(), bytes: 0 };
    this.#values.set(key, held);
    held.value.then(
      (value) => this.#count(key, held, this.sizeOf(value)),
      () => {
        if (this.#values.get(key) === held) this.#values.delete(key);
      },
    );
    return held.value;
  }

  /** Empties it, and gives what was in it. */
  async drain(): Promise<T[]> {
    const values = [...this.#values.values()].map(({ value }) => value);
    this.#values.clear();
    this.#bytes = 0;
    const settled = await Promise.allSettled(values);
    return settled.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  }

  #count(key: string, held: { bytes: number }, bytes: number): void {
    if (this.#values.get(key) !== held) return;
    held.bytes = bytes;
    this.#bytes += bytes;
    for (const [oldest, { bytes: freed }] of this.#values) {
      if (this.#bytes <= this.capacity) break;
      // One that is being fetched has no size yet, and goes on.
      if (freed === 0 && oldest !== key) continue;
      this.#values.delete(oldest);
      this.#bytes -= freed;
    }
  }
}
