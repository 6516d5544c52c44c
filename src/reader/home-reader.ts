/** The home of an open file, read in larger pieces than blocks, several at once, and ahead of who reads on. */

import { ByteCache } from "./byte-cache.js";
import { systemCode } from "./errors.js";
import type { BlockSource, LocalSource } from "./source.js";

const PIECE = 131_072;
/** Pieces read ahead of a reader that goes forward. */
const AHEAD = 4;
/** Sealed bytes kept, for all files together. */
const KEPT = 16 * 2 ** 20;
/** Reads of the backing store under way at once. */
export const READS_AT_ONCE = 16;

/** What the homes of one volume share: room for pieces, and turns to read. */
export class HomeReads {
  readonly pieces = new ByteCache<Buffer>(KEPT, (piece) => piece.length);
  #files = 0;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /** Tells the pieces of one open file from those of all others. */
  nextFile(): number {
    this.#files += 1;
    return this.#files;
  }

  async inTurn<T>(work: () => Promise<T>): Promise<T> {
    // Whoever ends hands its turn on: nobody overtakes.
    if (this.#running >= READS_AT_ONCE) await new Promise<void>((turn) => this.#waiting.push(turn));
    else this.#running += 1;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}

export class HomeReader implements BlockSource {
  readonly #file: number;
  readonly #underWay = new Set<Promise<unknown>>();
  #next = -1;

  /** `home` stays the caller's to close, once `idle` has resolved. */
  constructor(
    private readonly home: LocalSource,
    private readonly reads: HomeReads,
  ) {
    this.#file = reads.nextFile();
  }

  length(): Promise<bigint> {
    return this.home.length();
  }

  async read(offset: bigint, length: number): Promise<Buffer> {
    const first = Number(offset / BigInt(PIECE));
    const last = Number((offset + BigInt(length) - 1n) / BigInt(PIECE));
    const wanted: Promise<Buffer>[] = [];
    for (let index = first; index <= last; index++) wanted.push(this.#piece(index));
    this.#readAhead(first, last);
    let pieces: Buffer[];
    try {
      pieces = await Promise.all(wanted);
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      // One sector that cannot be read must not take its neighbours along.
      return this.#counted(this.reads.inTurn(() => this.home.readAside(offset, length)));
    }
    const from = Number(offset - BigInt(first) * BigInt(PIECE));
    const [only] = pieces;
    const bytes = pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
    return bytes.subarray(from, from + length);
  }

  /** Resolves when nothing of the home is being read. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled([...this.#underWay]);
  }

  #piece(index: number): Promise<Buffer> {
    return this.reads.pieces.get(`${this.#file} ${index}`, () =>
      this.#counted(this.reads.inTurn(() => this.home.readAside(BigInt(index) * BigInt(PIECE), PIECE))),
    );
  }

  #readAhead(first: number, last: number): void {
    const forward = first === this.#next || last === this.#next;
    if (last === this.#next || this.#next < 0 || !forward) this.#next = last + 1;
    if (!forward) return;
    for (let index = last + 1; index <= last + AHEAD; index++) {
      if (BigInt(index) * BigInt(PIECE) >= this.home.stats.size) break;
      // What fails here fails again for the reader that needs it.
      if (!this.reads.pieces.has(`${this.#file} ${index}`)) this.#piece(index).catch(() => undefined);
    }
  }

  #counted<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    const over = () => void this.#underWay.delete(work);
    work.then(over, over);
    return work;
  }
}
