/**
 * A volume as a read-only tree. Everything is opened when it is asked for, and verified then: what is damaged is EIO there
 * and a line for the log, and the rest is served.
 */

import { statfsSync } from "node:fs";
import { messageOf } from "../errors.js";
import { FsError, type NodeStat, type ReadOnlyTree } from "../readonly-fuse/tree.js";
import { ByteCache } from "./byte-cache.js";
import { Directories, usable } from "./directories.js";
import type { Node } from "./entry.js";
import { DamageError, systemCode } from "./errors.js";
import { HomeReader, HomeReads } from "./home-reader.js";
import { hasAccessAcl, openSymlink, openXattrs, recordedAttributes } from "./inode.js";
import type { Entries, SealedFile } from "./tree.js";
import type { OpenFile, Volume } from "./volume.js";

/** What a small object takes, as estimated here. */
const ENTRY_BYTES = 200;
/** Opened nodes of all files, in bytes. */
const NODES_KEPT = 16 * 2 ** 20;
/** Places of which damage was told; told again once there are more. */
const MOST_TOLD = 10_000;
/** Numbers below are the backing file system's own. */
const FIRST_MADE_INODE = 2 ** 31;

const TYPE_BITS: Readonly<Record<Node["type"], number>> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  fifo: 0o010000,
  socket: 0o140000,
  chardev: 0o020000,
  blockdev: 0o060000,
};

export interface MountedTreeOptions {
  /** bytes of opened blocks that are kept */
  readonly cacheBytes: number;
  /**
   * Users other than root will see it. Nobody enforces ACLs on this mount: the mode of what has one then is its owner's
   * alone.
   */
  readonly shared: boolean;
  readonly log: (line: string) => void;
}

interface Contents {
  readonly place: string;
  readonly ino: bigint;
  readonly file: SealedFile;
  readonly mtimeNs: bigint;
  close(): Promise<void>;
}

export class MountedTree implements ReadOnlyTree {
  readonly bytes: number;
  readonly #directories: Directories;
  readonly #reads = new HomeReads();
  readonly #nodes = new ByteCache<Entries>(NODES_KEPT, (entries) => entries.length * ENTRY_BYTES);
  readonly #blocks: ByteCache<Buffer>;
  /** Sizes and times of files by what stands on the disk under them; nothing changes underneath. */
  readonly #sizes = new ByteCache<{ size: bigint; mtimeNs: bigint }>(8 * 2 ** 20, () => ENTRY_BYTES);
  readonly #open = new Map<number, Contents>();
  readonly #told = new Set<string>();
  readonly #inodes = new Map<bigint, number>();
  #handle = 0;

  constructor(
    private readonly volume: Volume,
    private readonly options: MountedTreeOptions,
  ) {
    const { bsize, blocks } = statfsSync(volume.backing);
    this.bytes = bsize * blocks;
    this.#blocks = new ByteCache(options.cacheBytes, (block) => block.length + ENTRY_BYTES);
    this.#directories = new Directories(volume, (place, error) => this.#damaged(place, error));
    if (volume.logDamage) this.#damaged("the commit log", volume.logDamage);
  }

  stat(path: string): Promise<NodeStat> {
    return this.#directories.withNode(path, (node) => this.#stat(node));
  }

  list(path: string): Promise<readonly string[]> {
    return this.#directories.with(path, ({ names }) => [...names.keys()]);
  }

  readlink(path: string): Promise<string> {
    return this.#directories.withNode(path, (node) => {
      if (node.type !== "symlink") throw new FsError("EINVAL");
      const target = this.#target(node);
      const text = target.toString("utf8");
      if (Buffer.from(text).equals(target)) return text;
      this.options.log(`${node.place}: the target is not UTF-8 and cannot be shown; kmsfs export writes it`);
      throw new FsError("EILSEQ");
    });
  }

  async open(path: string): Promise<number> {
    const contents = await this.#directories.withNode(path, (node) => this.#contents(node));
    // 0 would not be handed on.
    this.#handle = (this.#handle % 0xffff_fffe) + 1;
    while (this.#open.has(this.#handle)) this.#handle++;
    this.#open.set(this.#handle, contents);
    return this.#handle;
  }

  async read(handle: number, offset: number, length: number): Promise<Buffer> {
    const contents = this.#open.get(handle);
    if (contents === undefined) throw new FsError("EBADF");
    const { file } = contents;
    const end = Math.min(offset + length, Number(file.size));
    if (end <= offset) return Buffer.alloc(0);
    const unit = Number(this.volume.geometry.block);
    const [first, last] = [Math.floor(offset / unit), Math.floor((end - 1) / unit)];
    const wanted: Promise<Buffer>[] = [];
    for (let index = first; index <= last; index++) wanted.push(this.#block(contents, BigInt(index)));
    // Zeros are holes; every block is waited for, so that each that is damaged gets its line.
    const out = Buffer.alloc(end - offset);
    let failed: unknown;
    for (const [i, result] of (await Promise.allSettled(wanted)).entries()) {
      if (result.status === "rejected") failed ??= result.reason;
      else if (result.value !== HOLE) {
        const at = (first + i) * unit - offset;
        result.value.copy(out, Math.max(0, at), Math.max(0, -at));
      }
    }
    if (failed !== undefined) throw failed;
    return out;
  }

  async release(handle: number): Promise<void> {
    const contents = this.#open.get(handle);
    this.#open.delete(handle);
    await contents?.close();
  }

  xattrs(path: string): Promise<ReadonlyMap<string, Buffer>> {
    return this.#directories.withNode(path, (node) => {
      const found = new Map<string, Buffer>();
      if (node.record === undefined && node.place === "/") return found;
      const damage: DamageError[] = [];
      for (const { name, value } of openXattrs(this.volume, node, usable(node), damage)) {
        const text = name.toString("utf8");
        if (Buffer.from(text).equals(name)) found.set(text, value);
        else this.options.log(`${node.place}: an extended attribute whose name is not UTF-8 is not shown`);
      }
      for (const error of damage) this.#damaged(node.place, error);
      return found;
    });
  }

  /** Lets go of everything and overwrites what was in clear. */
  async close(): Promise<void> {
    for (const handle of [...this.#open.keys()]) await this.release(handle);
    for (const block of await this.#blocks.drain()) block.fill(0);
    await Promise.all([this.#reads.pieces.drain(), this.#nodes.drain()]);
    this.#directories.close();
  }

  async #stat(node: Node): Promise<NodeStat> {
    const { stats, type } = node;
    if (node.place !== "/") usable(node);
    const { mode, uid, gid } = recordedAttributes(node);
    const bits = this.options.shared && hasAccessAcl(node) ? mode & ~0o077 : mode;
    const { size, mtimeNs } = await this.#sized(node);
    return {
      mode: TYPE_BITS[type] | bits,
      uid,
      gid,
      size: Number(size),
      blocks: Number(stats.blocks),
      nlink: Number(stats.nlink),
      rdev: Number(stats.rdev),
      ino: this.#inode(stats.ino),
      atime: date(stats.atimeNs),
      mtime: date(mtimeNs),
      ctime: date(stats.ctimeNs),
    };
  }

  async #sized(node: Node): Promise<{ size: bigint; mtimeNs: bigint }> {
    const { mtimeNs } = node.stats;
    if (node.type === "symlink") return { size: BigInt(this.#target(node).length), mtimeNs };
    if (node.type !== "file") return { size: node.type === "directory" ? node.stats.size : 0n, mtimeNs };
    return this.#sizes.get(`${node.stats.ino}`, async () => {
      const contents = await this.#contents(node);
      await contents.close();
      return { size: contents.file.size, mtimeNs: contents.mtimeNs };
    });
  }

  #target(node: Node): Buffer {
    const damage: DamageError[] = [];
    const target = openSymlink(this.volume, node, usable(node), damage);
    for (const error of damage) this.#damaged(node.place, error);
    if (target === undefined) throw new FsError("EIO");
    return target;
  }

  async #contents(node: Node): Promise<Contents> {
    if (node.type === "directory") throw new FsError("EISDIR");
    if (node.type !== "file") throw new FsError("EINVAL");
    const record = usable(node);
    let reader: HomeReader | undefined;
    let open: OpenFile;
    try {
      open = await this.volume.openFile(node.path, record, (home) => {
        reader = new HomeReader(home, this.#reads);
        return reader;
      });
    } catch (error) {
      throw this.#failed(node.place, error);
    }
    const { file, folded } = open;
    for (const error of [folded.damage, file.lengthDamage]) if (error) this.#damaged(node.place, error);
    const { mtime } = folded;
    const mtimeNs = mtime ? mtime.seconds * 1_000_000_000n + BigInt(mtime.nanoseconds) : node.stats.mtimeNs;
    const close = async () => {
      await reader?.idle();
      open.close();
    };
    return { place: node.place, ino: node.stats.ino, file, mtimeNs, close };
  }

  async #block({ place, ino, file }: Contents, index: bigint): Promise<Buffer> {
    const nodes = {
      get: (node: string, open: () => Promise<Entries>) => this.#nodes.get(`${ino} ${node}`, open),
    };
    try {
      return await this.#blocks.get(`${ino} ${index}`, async () => (await file.block(index, nodes)) ?? HOLE);
    } catch (error) {
      throw this.#failed(place, error);
    }
  }

  /** EIO for what went wrong with one file. What is no fault of the file's is a defect, and told too. */
  #failed(place: string, error: unknown): FsError {
    const what = systemCode(error) === undefined ? messageOf(error) : `cannot be read: ${messageOf(error)}`;
    this.#damaged(place, error instanceof DamageError ? error : new DamageError("unreadable", what));
    return new FsError("EIO");
  }

  #damaged(place: string, error: DamageError): void {
    const key = `${place}\0${error.message}`;
    if (this.#told.has(key)) return;
    if (this.#told.size >= MOST_TOLD) this.#told.clear();
    this.#told.add(key);
    const block = error.block === undefined ? "" : `, block ${error.block}`;
    this.options.log(`damaged: ${place}${block}: ${error.message}`);
  }

  /** fuse-native hands on 32 bits of an inode number, and two files with one number would pass for hard links. */
  #inode(ino: bigint): number {
    if (ino < BigInt(FIRST_MADE_INODE)) return Number(ino);
    let made = this.#inodes.get(ino);
    if (made === undefined) {
      made = FIRST_MADE_INODE + this.#inodes.size;
      this.#inodes.set(ino, made);
    }
    return made;
  }
}

/** Stands for a block that is not there and reads as zeros. */
const HOLE = Buffer.alloc(0);

/** fuse-native carries whole milliseconds, and none before 1970. */
function date(ns: bigint): Date {
  return new Date(Math.max(0, Number(ns / 1_000_000n)));
}
