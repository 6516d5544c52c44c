// A writer of small volumes straight from docs/format.md, so that the reader is tested without the engine.
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { uuidBytes } from "../../src/reader/bytes.js";
import { Geometry } from "../../src/reader/geometry.js";
import { VolumeKeys } from "../../src/reader/keys.js";
import type { InodeType } from "../../src/reader/record.js";
import { Volume, type VolumeParameters } from "../../src/reader/volume.js";
import * as encode from "./encode.js";
import { LogWriter, SEGMENT_SIZE } from "./fixture-log.js";

/** A sealed page of a file: its home, and what seals it. */
export interface Page {
  home: bigint;
  bytes: Buffer;
  /** Of data blocks. */
  index: bigint | undefined;
  entry: Buffer;
}

export interface FixtureInode {
  id: Buffer;
  type: InodeType;
  path: string;
  device: { major: number; minor: number } | undefined;
  bindings: { parentId: Buffer; stored: string }[];
}

export interface FileOptions {
  mode?: number;
  growing?: boolean;
  commit?: bigint;
}

/** Contents by block number; what is absent is a hole. */
export type Blocks = Map<bigint, Buffer>;

export class FixtureVolume {
  readonly uuid: string;
  readonly domainKey: Buffer;
  readonly keys: VolumeKeys;
  readonly backing: string;
  readonly geometry: Geometry;
  readonly root: FixtureInode;
  readonly log: LogWriter;

  /** In a directory of its own, or where `kmsfs init` has made a volume. */
  constructor(
    readonly blockSize = 4096,
    made?: { backing: string; uuid: string; domainKey: Buffer },
  ) {
    this.uuid = made?.uuid ?? "0f1e2d3c-4b5a-4968-8776-655443322110";
    this.domainKey = made?.domainKey ?? randomBytes(32);
    this.backing = made?.backing ?? mkdtempSync("/var/tmp/kmsfs-reader-");
    this.keys = new VolumeKeys(this.domainKey, this.uuid);
    this.geometry = new Geometry(blockSize);
    for (const part of [".kmsfs/log", ".kmsfs/links"])
      mkdirSync(join(this.backing, part), { recursive: true });
    this.root = {
      id: uuidBytes(this.uuid),
      type: "directory",
      path: this.backing,
      device: undefined,
      bindings: [],
    };
    chmodSync(this.backing, 0o755);
    this.writeRecord(this.root);
    this.log = new LogWriter(this.keys, this.root.id, join(this.backing, ".kmsfs/log"));
  }

  remove(): void {
    rmSync(this.backing, { recursive: true, force: true });
  }

  get parameters(): VolumeParameters {
    const { uuid, blockSize, keys } = this;
    return {
      uuid,
      blockSize,
      commitment: keys.commitment.toString("base64"),
      log: { segmentSize: SEGMENT_SIZE },
    };
  }

  /** The volume as the reader sees it. The log is written with the first segment when there is none. */
  open(): Volume {
    if (this.log.isEmpty) this.log.begin({ firstCommit: 100n, checkpointed: 99n });
    return new Volume(this.backing, this.parameters, this.domainKey);
  }

  writeRecord(inode: FixtureInode, more: Partial<encode.RecordInput> = {}): void {
    const stats = lstatSync(inode.path);
    const attributes = { mode: stats.mode & 0o7777, uid: stats.uid, gid: stats.gid };
    const { type, id, bindings, device } = inode;
    const record = encode.encodeRecord(this.keys, {
      type,
      id,
      attributes,
      bindings,
      ...(device && { device }),
      ...more,
    });
    setXattr(inode.path, `${this.#prefix(inode)}kmsfs`, record);
  }

  #prefix(inode: FixtureInode): "user." | "trusted." {
    return inode.type === "file" || inode.type === "directory" ? "user." : "trusted.";
  }

  /** Seals `name` in `parent` and makes the inode there with `create`. */
  #add(
    parent: FixtureInode,
    name: string | Buffer,
    type: InodeType,
    create: (path: string, id: Buffer) => void,
    more: { device?: FixtureInode["device"]; record?: Partial<encode.RecordInput>; mode?: number } = {},
  ): FixtureInode {
    const stored = this.bind(parent, name);
    const path = join(parent.path, stored);
    const id = randomBytes(16);
    create(path, id);
    if (more.mode !== undefined) chmodSync(path, more.mode);
    const inode = { id, type, path, device: more.device, bindings: [{ parentId: parent.id, stored }] };
    this.writeRecord(inode, more.record);
    return inode;
  }

  /** The stored name of `name` in `parent`; writes the sidecar of a long one. */
  bind(parent: FixtureInode, name: string | Buffer): string {
    const { stored, sealed, sidecar } = encode.sealName(this.keys, parent.id, Buffer.from(name as string));
    if (sidecar) writeFileSync(join(parent.path, sidecar), sealed);
    return stored;
  }

  directory(parent: FixtureInode, name: string | Buffer, mode = 0o755): FixtureInode {
    return this.#add(parent, name, "directory", (path) => mkdirSync(path), { mode });
  }

  symlink(parent: FixtureInode, name: string, target: string): FixtureInode {
    return this.#add(parent, name, "symlink", (path, id) => {
      const { stored, sealed } = encode.sealTarget(this.keys, id, randomBytes(16), Buffer.from(target));
      if (stored === "~") writeFileSync(join(this.backing, ".kmsfs/links", id.toString("hex")), sealed);
      symlinkSync(stored, path);
    });
  }

  special(
    parent: FixtureInode,
    name: string,
    type: InodeType,
    device?: { major: number; minor: number },
  ): FixtureInode {
    const numbers = device ? [`${device.major}`, `${device.minor}`] : [];
    const letter = { fifo: "p", chardev: "c", blockdev: "b" }[type as string] ?? "p";
    const create = (path: string) => run("mknod", ["--", path, letter, ...numbers]);
    return this.#add(parent, name, type, create, { device });
  }

  /** A further name of `inode`. */
  link(parent: FixtureInode, name: string, inode: FixtureInode): void {
    const stored = this.bind(parent, name);
    linkSync(inode.path, join(parent.path, stored));
    inode.bindings.push({ parentId: parent.id, stored });
    this.writeRecord(inode);
  }

  xattr(inode: FixtureInode, name: string, value: Buffer): void {
    const prefix = `${this.#prefix(inode)}kmsfs.` as "user.kmsfs." | "trusted.kmsfs.";
    const sealed = encode.sealXattr(this.keys, inode.id, prefix, name, randomBytes(16), value);
    setXattr(inode.path, sealed.storedName, sealed.storedValue);
  }

  file(
    parent: FixtureInode,
    name: string | Buffer,
    content: Buffer,
    options: FileOptions = {},
  ): FixtureInode {
    return this.sparse(parent, name, BigInt(content.length), this.blocksOf(content), options);
  }

  blocksOf(content: Buffer): Blocks {
    const blocks: Blocks = new Map();
    for (let at = 0; at < content.length; at += this.blockSize) {
      blocks.set(BigInt(at / this.blockSize), content.subarray(at, at + this.blockSize));
    }
    return blocks;
  }

  /** A file of `size` bytes with holes wherever `blocks` has nothing. */
  sparse(
    parent: FixtureInode,
    name: string | Buffer,
    size: bigint,
    blocks: Blocks,
    options: FileOptions = {},
  ): FixtureInode {
    const create = (path: string, id: Buffer) => {
      const pages = this.seal(id, size, blocks, options.commit ?? 1n);
      writeHome(path, pages, this.geometry.physicalLength(size));
    };
    const record = { growing: options.growing ?? false };
    return this.#add(parent, name, "file", create, { record, mode: options.mode ?? 0o644 });
  }

  /** All pages of a file: its blocks, the nodes over them, and the header at 0 last. */
  seal(fileId: Buffer, size: bigint, blocks: Blocks, commit: bigint, kept: readonly Page[] = []): Page[] {
    const epoch = 0x01000000 + randomBytes(3).readUIntLE(0, 3);
    const pages: Page[] = [];
    const { geometry, keys } = this;
    const sealPage = (level: number, index: bigint, home: bigint, clear: Buffer): Buffer => {
      const { sealed, entry } = encode.sealBlock(
        keys,
        fileId,
        { level, index, epoch, nonce: randomBytes(12) },
        clear,
      );
      pages.push({ home, bytes: sealed, index: level === 0 ? index : undefined, entry });
      return entry;
    };
    const subtree = (level: number, index: bigint, home: bigint): Buffer => {
      const end = index + geometry.covers(level);
      if (![...blocks.keys()].some((block) => block >= index && block < end)) return Buffer.alloc(32);
      const block = blocks.get(index);
      const same = kept.find((page) => page.index === index);
      if (level === 0 && same) return same.entry;
      if (level === 0) return block ? sealPage(0, index, home, block) : Buffer.alloc(32);
      const entries: Buffer[] = [];
      for (let c = 0n; c < geometry.fanout; c++) {
        entries.push(
          subtree(level - 1, index + c * geometry.covers(level - 1), geometry.childHome(level, home, c)),
        );
      }
      return sealPage(level, index, home, Buffer.concat(entries));
    };
    const direct = Array.from({ length: 112 }, (_, i) => subtree(0, BigInt(i), geometry.home(BigInt(i))));
    const subtrees = [1, 2, 3, 4, 5].map((k) => subtree(k, geometry.first(k), geometry.base(k)));
    const header = encode.encodeHeader(keys, {
      blockSize: this.blockSize,
      fileId,
      domainId: this.root.id,
      commit,
      epoch,
      nonce: randomBytes(12),
      size,
      direct: Buffer.concat(direct),
      subtrees: Buffer.concat(subtrees),
    });
    pages.push({ home: 0n, bytes: header, index: undefined, entry: Buffer.alloc(32) });
    return pages;
  }
}

export function writeHome(path: string, pages: readonly Page[], length: bigint): void {
  const fd = openSync(path, "w");
  for (const page of pages) writeSync(fd, page.bytes, 0, page.bytes.length, Number(page.home));
  ftruncateSync(fd, Number(length));
  closeSync(fd);
}

/** Writes pages into a home that exists, and leaves the rest of it. */
export function writePages(path: string, pages: readonly Page[]): void {
  const fd = openSync(path, "r+");
  for (const page of pages) writeSync(fd, page.bytes, 0, page.bytes.length, Number(page.home));
  closeSync(fd);
}

/** An extended attribute as it stands; undefined when there is none of the name. */
export function xattrOf(path: string, name: string): Buffer | undefined {
  const dump = run("getfattr", ["-h", "-e", "hex", "-d", "-m", `^${name}$`, "--absolute-names", "--", path]);
  const [, hex] = /=0x([0-9a-f]*)/.exec(dump) ?? [];
  return hex === undefined ? undefined : Buffer.from(hex, "hex");
}

/** Lines of setfattr --restore that wait; undefined where attributes are set at once. */
let waiting: string[] | undefined;

/** Runs `work`, whose attributes are set together at its end: a process for each takes its time. */
export function settingTogether<T>(work: () => T): T {
  waiting = [];
  try {
    const result = work();
    run("setfattr", ["-h", "--restore=-"], waiting.join(""));
    return result;
  } finally {
    waiting = undefined;
  }
}

export function setXattr(path: string, name: string, value: Buffer): void {
  if (waiting !== undefined) {
    waiting.push(`# file: ${path}\n${name}=0x${value.toString("hex")}\n\n`);
    return;
  }
  run("setfattr", ["-h", "-n", name, "-v", `0x${value.toString("hex")}`, "--", path]);
}

export function run(tool: string, args: readonly string[], input = ""): string {
  const result = spawnSync(tool, args, { encoding: "utf8", input });
  if (result.status !== 0) throw new Error(`${tool} ${args.join(" ")}: ${result.error ?? result.stderr}`);
  return result.stdout;
}
