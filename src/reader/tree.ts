import { blockAad } from "./aad.js";
import { isZero } from "./bytes.js";
import { DamageError } from "./errors.js";
import { DIRECT, type Geometry, HEADER_LENGTH, SUBTREES } from "./geometry.js";
import { type Entry, type FileHeader, openHeader, parseEntries } from "./header.js";
import type { VolumeKeys } from "./keys.js";
import { openGcm } from "./seal.js";
import type { BlockSource } from "./source.js";

/** What a walk over a file comes by, in ascending order of blocks. Holes are passed over. */
export type Found =
  | { readonly kind: "data"; readonly index: bigint; readonly bytes: Buffer }
  | { readonly kind: "damage"; readonly error: DamageError };

/** Keeps the entries of nodes that were opened, by level and first data block. */
export interface NodeCache {
  get(node: string, open: () => Promise<Entries>): Promise<Entries>;
}

export type Entries = readonly (Entry | undefined)[];

/** The file that a reader needs to know of to open its blocks. */
export interface FileIdentity {
  readonly keys: VolumeKeys;
  readonly geometry: Geometry;
  readonly domainId: Uint8Array;
  readonly fileId: Uint8Array;
}

/** Opens single blocks of one file; keeps the key of each epoch that it met. */
export class BlockOpener {
  readonly #keys = new Map<number, Buffer>();

  constructor(
    private readonly file: FileIdentity,
    private readonly source: BlockSource,
  ) {}

  /** The clear block at `home`, or undefined when those bytes are not the ones that `entry` seals. */
  async open(
    entry: Entry,
    level: number,
    index: bigint,
    home: bigint,
    length: number,
  ): Promise<Buffer | undefined> {
    const sealed = await this.source.read(home, length);
    if (sealed.length !== length) return undefined;
    return openGcm(this.#key(entry.epoch), entry.nonce, entry.tag, blockAad(level, index), sealed);
  }

  #key(epoch: number): Buffer {
    let key = this.#keys.get(epoch);
    if (key === undefined) {
      key = this.file.keys.file(this.file.fileId, epoch).key;
      this.#keys.set(epoch, key);
    }
    return key;
  }
}

/** One regular file, its header authenticated (docs/format.md §5). */
export class SealedFile {
  private constructor(
    private readonly file: FileIdentity,
    private readonly opener: BlockOpener,
    /** Undefined for a file so new that it has none. */
    private readonly header: FileHeader | undefined,
    /** Set when the backing file's length is not the one that the size maps to. */
    readonly lengthDamage: DamageError | undefined,
  ) {}

  /**
   * Throws a DamageError when the header is not authentic. `growing` is the record's flag: without it, and for
   * `folded` state of the log, the physical length must be the size's.
   */
  static async open(file: FileIdentity, source: BlockSource, growing: boolean): Promise<SealedFile> {
    const opener = new BlockOpener(file, source);
    const bytes = await source.read(0n, Number(HEADER_LENGTH));
    const present = bytes.length === Number(HEADER_LENGTH);
    if (growing && (!present || isZero(bytes))) return new SealedFile(file, opener, undefined, undefined);
    if (!present) throw new DamageError("length", `the file has ${bytes.length} bytes, too few for a header`);
    const { geometry } = file;
    const header = openHeader(file.keys, Number(geometry.block), file.domainId, file.fileId, bytes);
    if (header.size > geometry.maxSize)
      throw new DamageError("header", `no file can have ${header.size} bytes`);
    const length = await source.length();
    const right = geometry.physicalLength(header.size);
    const wrong = !growing && length !== right;
    const what = `the backing file has ${length} bytes, its size of ${header.size} takes ${right}`;
    return new SealedFile(file, opener, header, wrong ? new DamageError("length", what) : undefined);
  }

  get size(): bigint {
    return this.header?.size ?? 0n;
  }

  /** Number of the commit that wrote the header; undefined for a file so new that it has none. */
  get commit(): bigint | undefined {
    return this.header?.commit;
  }

  /** Every block of the file; a node that does not open is one damage that stands for all that it covers. */
  async *walk(): AsyncGenerator<Found> {
    if (this.header === undefined) return;
    for (let i = 0n; i < DIRECT; i++)
      yield* this.#subtree(this.header.direct[Number(i)], 0, i, this.file.geometry.home(i));
    for (const [i, entry] of this.header.subtrees.entries()) {
      const level = i + 1;
      yield* this.#subtree(entry, level, this.file.geometry.first(level), this.file.geometry.base(level));
    }
  }

  /**
   * The clear block `index` of the file's size, undefined for a hole. Throws a DamageError where it, or a node on the way
   * to it, does not open.
   */
  async block(index: bigint, nodes: NodeCache): Promise<Buffer | undefined> {
    const { geometry } = this.file;
    let [entry, level, first, home] = this.#top(index);
    while (entry !== undefined && level > 0) {
      const [sealed, at, from, where] = [entry, level, first, home];
      const open = async () => parseEntries(await this.#open(sealed, at, from, where));
      const children = await nodes.get(`${level} ${first}`, open);
      const child = (index - first) / geometry.covers(level - 1);
      entry = children[Number(child)];
      home = geometry.childHome(level, home, child);
      first += child * geometry.covers(level - 1);
      level--;
    }
    return entry && this.#open(entry, 0, index, home);
  }

  /** What the header has above block `index`: entry, level, first data block, home. */
  #top(index: bigint): [Entry | undefined, number, bigint, bigint] {
    const { geometry } = this.file;
    if (index < DIRECT) return [this.header?.direct[Number(index)], 0, index, geometry.home(index)];
    let k = 1;
    while (k < SUBTREES && index >= geometry.first(k + 1)) k++;
    return [this.header?.subtrees[k - 1], k, geometry.first(k), geometry.base(k)];
  }

  /** The clear bytes of a block or a node. Throws a DamageError where they are not authentic. */
  async #open(entry: Entry, level: number, index: bigint, home: bigint): Promise<Buffer> {
    const { geometry } = this.file;
    const dataLength = geometry.blockLength(index, this.size);
    if (dataLength === 0)
      throw damaged(level, index, `an entry of level ${level} lies beyond the end of the file`);
    const length = level === 0 ? dataLength : Number(geometry.block);
    const clear = await this.opener.open(entry, level, index, home, length);
    if (clear !== undefined) return clear;
    const covered = level === 0 ? "" : `, node of level ${level} over ${geometry.covers(level)} blocks,`;
    throw damaged(level, index, `block ${index}${covered} does not authenticate`);
  }

  async *#subtree(
    entry: Entry | undefined,
    level: number,
    index: bigint,
    home: bigint,
  ): AsyncGenerator<Found> {
    if (entry === undefined) return;
    const { geometry } = this.file;
    let clear: Buffer;
    try {
      clear = await this.#open(entry, level, index, home);
    } catch (error) {
      if (!(error instanceof DamageError)) throw error;
      yield { kind: "damage", error };
      return;
    }
    if (level === 0) {
      yield { kind: "data", index, bytes: clear };
      return;
    }
    for (const [c, child] of parseEntries(clear).entries()) {
      const childHome = geometry.childHome(level, home, BigInt(c));
      yield* this.#subtree(child, level - 1, index + BigInt(c) * geometry.covers(level - 1), childHome);
    }
  }
}

function damaged(level: number, index: bigint, message: string): DamageError {
  return new DamageError(level === 0 ? "block" : "node", message, index);
}
