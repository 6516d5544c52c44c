/** How many requests run at once, found out as TCP finds its window: more while it goes well, fewer when throttled. */

const FIRST = 8;
/** What a throttled answer leaves of the limit. */
const DECREASE = 0.7;

export class AdaptivePool {
  #limit: number;
  #running = 0;
  /** doubles each round until the service throttles for the first time */
  #slowStart = true;
  /** counts the decreases: what was sent before the last one says nothing new */
  #epoch = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(readonly most: number) {
    this.#limit = Math.min(FIRST, most);
  }

  get limit(): number {
    return Math.floor(this.#limit);
  }

  /** Runs `work` when there is room for it. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    while (this.#running >= this.limit) await new Promise<void>((free) => this.#waiting.push(free));
    this.#running += 1;
    try {
      return await work();
    } finally {
      this.#running -= 1;
      this.#wake();
    }
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** A request was answered as it should. */
  succeeded(): void {
    this.#limit = Math.min(this.most, this.#limit + (this.#slowStart ? 1 : 1 / this.#limit));
    this.#wake();
  }

  /** A request that was sent in this epoch was refused for there being too many. */
  throttled(epoch: number): void {
    this.#slowStart = false;
    if (epoch !== this.#epoch) return;
    this.#epoch += 1;
    this.#limit = Math.max(1, this.#limit * DECREASE);
  }

  #wake(): void {
    const free = this.limit - this.#running;
    for (const wake of this.#waiting.splice(0, Math.max(0, free))) wake();
  }
}

/**
 * Runs `work` on each item, as many at once as `width()` says at the time; the first failure stops it and is thrown when
 * what is under way has ended. No item is drawn before there is room for it.
 */
export async function forEachAtOnce<T>(
  items: AsyncIterable<T> | Iterable<T>,
  width: () => number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>();
  const failures: unknown[] = [];
  for await (const item of items) {
    const task: Promise<void> = work(item)
      .catch((error: unknown) => {
        failures.push(error);
      })
      .finally(() => running.delete(task));
    running.add(task);
    while (running.size >= Math.max(1, width()) && failures.length === 0) await Promise.race(running);
    if (failures.length > 0) break;
  }
  await Promise.all(running);
  if (failures.length > 0) throw failures[0];
}
