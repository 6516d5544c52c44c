/** Direct entries in a file header. */
export const DIRECT = 112n;
export const HEADER_LENGTH = 4096n;
/** Subtrees S1..S5. */
export const SUBTREES = 5;
/** Sizes are below this. */
const SIZE_LIMIT = 1n << 53n;

export const BLOCK_SIZES = [4096, 16384, 65536] as const;

/**
 * Where everything of a regular file stands (docs/format.md §5). In BigInt, since homes under S5 run past 2^53 and
 * spans past 2^64.
 */
export class Geometry {
  readonly block: bigint;
  /** Children of a node. */
  readonly fanout: bigint;
  /** Bytes from a node's home to the end of its subtree, by level; span(0) is one data block. */
  readonly #span: bigint[];
  /** Data blocks below a node, by level. */
  readonly #covers: bigint[];
  /** First data block of S_k, by k. */
  readonly #first: bigint[];
  /** Home of the node S_k, by k. */
  readonly #base: bigint[];

  constructor(blockSize: number) {
    if (!BLOCK_SIZES.some((allowed) => allowed === blockSize))
      throw new RangeError(`no block size: ${blockSize}`);
    this.block = BigInt(blockSize);
    this.fanout = this.block / 32n;
    this.#span = [this.block];
    this.#covers = [1n];
    this.#first = [0n, DIRECT];
    this.#base = [HEADER_LENGTH, HEADER_LENGTH + DIRECT * this.block];
    for (let k = 1; k <= SUBTREES; k++) {
      this.#span.push(this.block + this.fanout * this.span(k - 1));
      this.#covers.push(this.fanout * this.covers(k - 1));
      this.#first.push(this.first(k) + this.covers(k));
      this.#base.push(this.base(k) + this.span(k));
    }
  }

  span(level: number): bigint {
    return at(this.#span, level);
  }

  covers(level: number): bigint {
    return at(this.#covers, level);
  }

  first(k: number): bigint {
    return at(this.#first, k);
  }

  base(k: number): bigint {
    return at(this.#base, k);
  }

  /** Largest size in bytes that a file can have. */
  get maxSize(): bigint {
    const room = this.first(SUBTREES + 1) * this.block;
    return room < SIZE_LIMIT ? room : SIZE_LIMIT - 1n;
  }

  /** Number of data blocks of a file of `size` bytes. */
  blocks(size: bigint): bigint {
    return (size + this.block - 1n) / this.block;
  }

  /** Clear bytes of block `index` in a file of `size` bytes: 0 beyond its end. */
  blockLength(index: bigint, size: bigint): number {
    const left = size - index * this.block;
    if (left <= 0n) return 0;
    return Math.min(Number(left), Number(this.block));
  }

  /** Home of child `c` of the node of `level` (1 and up) that stands at `home`. */
  childHome(level: number, home: bigint, c: bigint): bigint {
    return home + this.block + c * this.span(level - 1);
  }

  /** Byte offset of data block `index` in the backing file. */
  home(index: bigint): bigint {
    if (index < DIRECT) return HEADER_LENGTH + index * this.block;
    let k = 1;
    while (k <= SUBTREES && index >= this.first(k + 1)) k++;
    if (k > SUBTREES) throw new RangeError(`block ${index} is beyond the largest file`);
    let home = this.base(k);
    let rest = index - this.first(k);
    for (let level = k; level >= 1; level--) {
      home = this.childHome(level, home, rest / this.covers(level - 1));
      rest %= this.covers(level - 1);
    }
    return home;
  }

  /** Length of the backing file of a file of `size` bytes. */
  physicalLength(size: bigint): bigint {
    if (size === 0n) return HEADER_LENGTH;
    const last = (size - 1n) / this.block;
    return this.home(last) + (size - last * this.block);
  }

  /** Size whose physical length is `length`; undefined where no size has it. */
  sizeOf(length: bigint): bigint | undefined {
    if (length === HEADER_LENGTH) return 0n;
    if (length < HEADER_LENGTH || length > this.physicalLength(this.maxSize)) return undefined;
    let low = 1n;
    let high = this.maxSize;
    // physicalLength grows strictly with the size: the one size that could map to `length` is found by halving.
    while (low < high) {
      const middle = (low + high) / 2n;
      if (this.physicalLength(middle) < length) low = middle + 1n;
      else high = middle;
    }
    return this.physicalLength(low) === length ? low : undefined;
  }
}

function at(table: readonly bigint[], index: number): bigint {
  const value = table[index];
  if (value === undefined) throw new RangeError(`no level ${index}`);
  return value;
}
