/**
 * A snapshot's volume as bytes, its blocks fetched when they are read: a bounded cache, each block fetched once however
 * many wait for it, and read-ahead where reads follow one another.
 */

import type { BlockSource } from "../reader/source.js";
import { BLOCK_BYTES, GIB } from "./blocks.js";
import type { Ebs, SnapshotBlock } from "./ebs.js";
import { readBlock } from "./read-digests.js";

/** Blocks fetched ahead of a reader at most; it begins with one and doubles while the reads go on. */
const MOST_AHEAD = 16;
/** A page of a listing that is asked for begins at a multiple of this many blocks. */
const LISTED_TOGETHER = 1024;
/** Readers whose places are remembered: a file system on the image reads several files at once. */
const READERS = 16;

export interface SourceOptions {
  readonly cacheBytes: number;
  /** told what could not be fetched */
  readonly onError: (index: number, error: unknown) => void;
}

export interface SourceStats {
  fetched: number;
  hits: number;
  holes: number;
}

interface Reader {
  next: number;
  ahead: number;
}

export class EbsSource implements BlockSource {
  readonly stats: SourceStats = { fetched: 0, hits: 0, holes: 0 };
  readonly #map: BlockMap;
  readonly #most: number;
  /** in the order of their last use, the oldest first */
  readonly #cache = new Map<number, Promise<Buffer>>();
  readonly #readers: Reader[] = [];

  private constructor(
    readonly ebs: Ebs,
    readonly snapshot: string,
    readonly bytes: number,
    map: BlockMap,
    readonly options: SourceOptions,
  ) {
    this.#map = map;
    this.#most = Math.max(MOST_AHEAD + 1, Math.floor(options.cacheBytes / BLOCK_BYTES));
  }

  /** Throws UserError when the snapshot cannot be listed. */
  static async open(ebs: Ebs, snapshot: string, options: SourceOptions): Promise<EbsSource> {
    const map = new BlockMap(ebs, snapshot);
    await map.find(0);
    return new EbsSource(ebs, snapshot, map.volumeGib * GIB, map, options);
  }

  async length(): Promise<bigint> {
    return BigInt(this.bytes);
  }

  /** Rejects with UserError when a block cannot be fetched or is not what its checksum says. */
  async read(offset: bigint, length: number): Promise<Buffer> {
    const start = Number(offset);
    const end = Math.min(start + length, this.bytes);
    if (end <= start) return Buffer.alloc(0);
    const [first, last] = [Math.floor(start / BLOCK_BYTES), Math.floor((end - 1) / BLOCK_BYTES)];
    const wanted: Promise<Buffer | undefined>[] = [];
    for (let index = first; index <= last; index++) wanted.push(this.#block(index));
    this.#readAhead(first, last);
    const out = Buffer.alloc(end - start);
    for (const [i, block] of (await Promise.all(wanted)).entries()) {
      const base = (first + i) * BLOCK_BYTES;
      block?.copy(
        out,
        Math.max(0, base - start),
        Math.max(0, start - base),
        Math.min(BLOCK_BYTES, end - base),
      );
    }
    return out;
  }

  /** Undefined for a block that the snapshot does not have: zeros. */
  async #block(index: number): Promise<Buffer | undefined> {
    const cached = this.#cache.get(index);
    if (cached !== undefined) {
      this.stats.hits += 1;
      this.#cache.delete(index);
      this.#cache.set(index, cached);
      return cached;
    }
    const block = await this.#map.find(index);
    if (block !== undefined) return this.#cache.get(index) ?? this.#fetch(block);
    this.stats.holes += 1;
    return undefined;
  }

  #fetch(block: SnapshotBlock): Promise<Buffer> {
    const { index } = block;
    this.stats.fetched += 1;
    const data = readBlock(this.ebs, this.snapshot, block);
    this.#cache.set(index, data);
    data.catch((error: unknown) => {
      // The next reader tries again.
      if (this.#cache.get(index) === data) this.#cache.delete(index);
      this.options.onError(index, error);
    });
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= this.#most) break;
      this.#cache.delete(oldest);
    }
    return data;
  }

  #readAhead(first: number, last: number): void {
    const at = this.#readers.findIndex(({ next }) => next === first || next === last || next === last + 1);
    const [reader = { next: last + 1, ahead: 0 }] = at < 0 ? [] : this.#readers.splice(at, 1);
    const went = at >= 0 && last + 1 > reader.next;
    reader.next = last + 1;
    if (went) reader.ahead = Math.min(MOST_AHEAD, Math.max(1, reader.ahead * 2));
    this.#readers.push(reader);
    if (this.#readers.length > READERS) this.#readers.shift();
    const end = Math.min(last + reader.ahead, Math.ceil(this.bytes / BLOCK_BYTES) - 1);
    for (let index = last + 1; index <= end; index++) {
      // What fails here fails again for the reader that needs it, and is told there.
      if (!this.#cache.has(index)) this.#block(index).catch(() => undefined);
    }
  }
}

/** Which blocks a snapshot has, listed page by page where they are asked for: a volume of 16 TiB has 33 million. */
class BlockMap {
  volumeGib = 0;
  readonly #blocks = new Map<number, SnapshotBlock>();
  /** what has been listed: from (inclusive) to (exclusive), no two overlap */
  readonly #known: { from: number; to: number }[] = [];
  readonly #asked = new Map<number, Promise<void>>();

  constructor(
    readonly ebs: Ebs,
    readonly snapshot: string,
  ) {}

  async find(index: number): Promise<SnapshotBlock | undefined> {
    for (;;) {
      if (this.#known.some(({ from, to }) => index >= from && index < to)) return this.#blocks.get(index);
      // A page begins at a fixed place, so that neighbours asked for at once share it.
      const from = this.#start(index);
      const asked = this.#asked.get(from) ?? this.#list(from).finally(() => this.#asked.delete(from));
      this.#asked.set(from, asked);
      await asked;
    }
  }

  /** Where to list from: a fixed place before the block, or where what is known after that place ends. */
  #start(index: number): number {
    let at = index - (index % LISTED_TOGETHER);
    for (;;) {
      const range = this.#known.find(({ from, to }) => from <= at && at < to);
      if (range === undefined) return at;
      at = range.to;
    }
  }

  async #list(from: number): Promise<void> {
    for await (const { blocks, volumeGib, last } of this.ebs.list(this.snapshot, from)) {
      this.volumeGib = volumeGib;
      for (const block of blocks) this.#blocks.set(block.index, block);
      const end = last ? Number.POSITIVE_INFINITY : (blocks.at(-1)?.index ?? from - 1) + 1;
      if (end <= from) continue;
      const before = this.#known.find(({ to }) => to === from);
      if (before === undefined) this.#known.push({ from, to: end });
      else before.to = end;
      return;
    }
  }
}
