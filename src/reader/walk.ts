import { type BigIntStats, closeSync, constants, lstatSync, openSync, readdirSync } from "node:fs";
import { messageOf } from "../errors.js";
import { idText } from "./bytes.js";
import { DamageError, systemCode } from "./errors.js";
import { MAX_SEALED_NAME, openName, storedKind } from "./names.js";
import {
  checkInode,
  type FoundInode,
  type InodeRecord,
  type InodeType,
  isBound,
  openRecord,
} from "./record.js";
import { readSmallFile } from "./source.js";
import { printable } from "./text.js";
import type { Volume } from "./volume.js";
import { type RawXattrs, XattrTree } from "./xattrs.js";

/** getfattr is started anew below a path this long, well before it meets PATH_MAX. In bytes. */
const LONG_PATH = 2048;

/** An inode of the volume under one of its names, as far as it could be opened. */
export interface Node {
  /** Plaintext path from the root, for people. */
  readonly place: string;
  /** Plaintext; undefined when the stored name does not open. Empty for the root. */
  readonly name: Buffer | undefined;
  readonly stored: string;
  /** Where the backing inode can be reached while the walk is at this node. */
  readonly path: Buffer;
  readonly stats: BigIntStats;
  readonly type: InodeType;
  /** Undefined when there is no authentic one: nothing sealed under its id can be opened then. */
  readonly record: InodeRecord | undefined;
  readonly xattrs: RawXattrs;
  /** What is wrong with the entry and the inode; contents come on top. */
  readonly damage: readonly DamageError[];
}

export interface Visitor {
  /** Before what is in the directory. False: leave that out. */
  enter(directory: Node): Promise<boolean>;
  leave(directory: Node): Promise<void>;
  /** Anything but a directory. */
  visit(node: Node): Promise<void>;
  /** Something in a directory that is no entry of the volume, or cannot be read. */
  stray(place: string, error: DamageError): void;
}

/** Visits everything in the volume, each directory's names in the order of their stored bytes. */
export async function walk(volume: Volume, visitor: Visitor): Promise<void> {
  const fd = openSync(volume.backing, constants.O_RDONLY | constants.O_DIRECTORY);
  await new Walk(volume, visitor).root(fd).finally(() => closeSync(fd));
}

/** An open directory: all below it is reached through the descriptor, so that no path is ever too long. */
interface Directory {
  readonly fd: number;
  readonly id: Buffer;
  readonly place: string;
  readonly xattrs: XattrTree;
  /** Path in `xattrs`, with a "/" behind it; "" at its root. */
  readonly prefix: string;
}

class Walk {
  /** Hex id to the inode that bears it. */
  readonly #ids = new Map<string, bigint>();

  constructor(
    private readonly volume: Volume,
    private readonly visitor: Visitor,
  ) {}

  async root(fd: number): Promise<void> {
    const xattrs = await XattrTree.load(throughDescriptor(fd));
    const path = Buffer.from(`/proc/self/fd/${fd}/.`);
    const stats = lstatSync(path, { bigint: true });
    const raw = xattrs.get(".");
    const damage: DamageError[] = [];
    const record = this.volume.unused ? undefined : collect(damage, () => this.#record("directory", raw));
    collect(damage, () => {
      if (record && !record.id.equals(this.volume.id))
        throw new DamageError("record", "the root has another id");
    });
    if (record) this.#claim(record, "directory", stats, raw, damage);
    const node: Node = {
      place: "/",
      name: Buffer.alloc(0),
      stored: "",
      path,
      stats,
      type: "directory",
      record,
      xattrs: raw,
      damage,
    };
    if (!(await this.visitor.enter(node))) return;
    await this.#contents({ fd, id: this.volume.id, place: "", xattrs, prefix: "" });
    await this.visitor.leave(node);
  }

  async #contents(directory: Directory): Promise<void> {
    for (const stored of readdirSync(throughDescriptor(directory.fd), "latin1").sort()) {
      const kind = storedKind(stored);
      if (kind === "temporary" || kind === "sidecar") continue;
      if (kind === "foreign") {
        if (!isPartOfRoot(directory, stored)) this.#stray(directory, stored, "is no name of this volume");
        continue;
      }
      try {
        await this.#entry(directory, stored, kind === "long");
      } catch (error) {
        if (systemCode(error) === undefined) throw error;
        this.#stray(directory, stored, `cannot be read: ${messageOf(error)}`, "unreadable");
      }
    }
  }

  #stray(
    directory: Directory,
    stored: string,
    what: string,
    code: "foreign" | "unreadable" = "foreign",
  ): void {
    this.visitor.stray(`${directory.place}/${sealedPlace(stored)}`, new DamageError(code, what));
  }

  async #entry(parent: Directory, stored: string, long: boolean): Promise<void> {
    const path = Buffer.from(`/proc/self/fd/${parent.fd}/${stored}`, "latin1");
    const stats = lstatSync(path, { bigint: true });
    if (stats.dev !== this.volume.rootStats.dev) {
      this.#stray(parent, stored, "is on another file system");
      return;
    }
    const type = typeOf(stats);
    const raw = parent.xattrs.get(parent.prefix + stored);
    const damage: DamageError[] = [];
    const record = collect(damage, () => this.#record(type, raw));
    if (record) {
      this.#claim(record, type, stats, raw, damage);
      const bound = isBound(this.volume.keys, record, parent.id, stored);
      if (!bound) damage.push(new DamageError("binding", "the inode does not belong under this name"));
    }
    const name = collect(damage, () =>
      openName(this.volume.keys, parent.id, stored, long ? sidecarOf(path) : undefined),
    );
    const place = `${parent.place}/${name ? printable(name) : sealedPlace(stored)}`;
    const node: Node = { place, name, stored, path, stats, type, record, xattrs: raw, damage };
    if (type !== "directory") await this.visitor.visit(node);
    else await this.#directory(parent, node);
  }

  async #directory(parent: Directory, node: Node): Promise<void> {
    if (!(await this.visitor.enter(node))) return;
    if (node.record?.type === "directory") await this.#below(parent, node, node.record.id);
    await this.visitor.leave(node);
  }

  async #below(parent: Directory, node: Node, id: Buffer): Promise<void> {
    let fd: number | undefined;
    try {
      fd = openSync(node.path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      const prefix = `${parent.prefix}${node.stored}/`;
      const anew = prefix.length >= LONG_PATH;
      const xattrs = anew ? await XattrTree.load(throughDescriptor(fd)) : parent.xattrs;
      await this.#contents({ fd, id, place: node.place, xattrs, prefix: anew ? "" : prefix });
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      this.visitor.stray(node.place, new DamageError("unreadable", `cannot be read: ${messageOf(error)}`));
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }

  /** The authentic record among an inode's attributes. */
  #record(type: InodeType, raw: RawXattrs): InodeRecord {
    const owned = type === "file" || type === "directory";
    const name = owned ? "user.kmsfs" : "trusted.kmsfs";
    const present = [raw.get(name), raw.get(`${name}.new`)].filter((bytes) => bytes !== undefined);
    if (present.length === 0) {
      if (!owned && process.geteuid?.() !== 0)
        throw new DamageError("unreadable", "only root can read its record");
      throw new DamageError("record", "the inode has no record");
    }
    return firstAuthentic(present.map((bytes) => () => openRecord(this.volume.keys, bytes)));
  }

  /** Checks the inode against its record, and that no other inode has its id. */
  #claim(
    record: InodeRecord,
    type: InodeType,
    stats: BigIntStats,
    raw: RawXattrs,
    damage: DamageError[],
  ): void {
    collect(damage, () => checkInode(record, foundInode(type, stats, raw)));
    const id = idText(record.id);
    const holder = this.#ids.get(id);
    if (holder === undefined) this.#ids.set(id, stats.ino);
    else if (holder !== stats.ino)
      damage.push(new DamageError("duplicate-id", `another inode has the id ${id} too`));
  }
}

/** Runs `read`; a DamageError is added to `damage`. */
export function collect<T>(damage: DamageError[], read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DamageError)) throw error;
    damage.push(error);
    return undefined;
  }
}

/** The result of the first that throws no DamageError; that of the first one when all do. */
function firstAuthentic<T>(attempts: readonly (() => T)[]): T {
  const damage: DamageError[] = [];
  for (const attempt of attempts) {
    const result = collect(damage, attempt);
    if (result !== undefined) return result;
  }
  throw damage[0] ?? new DamageError("record", "the inode has no record");
}

function foundInode(type: InodeType, stats: BigIntStats, raw: RawXattrs): FoundInode {
  return {
    type,
    mode: Number(stats.mode & 0o7777n),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    device: deviceNumbers(stats.rdev),
    accessAcl: raw.get("system.posix_acl_access"),
    defaultAcl: raw.get("system.posix_acl_default"),
  };
}

/** Major and minor of a dev_t as the C library packs it (gnu_dev_major(3)). */
export function deviceNumbers(dev: bigint): { major: number; minor: number } {
  return {
    major: Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n)),
    minor: Number((dev & 0xffn) | ((dev >> 12n) & 0xffffff00n)),
  };
}

const FILE_TYPES = new Map<bigint, InodeType>([
  [0o100000n, "file"],
  [0o040000n, "directory"],
  [0o120000n, "symlink"],
  [0o010000n, "fifo"],
  [0o140000n, "socket"],
  [0o020000n, "chardev"],
  [0o060000n, "blockdev"],
]);

function typeOf(stats: BigIntStats): InodeType {
  const type = FILE_TYPES.get(stats.mode & 0o170000n);
  if (type === undefined) throw new Error(`stat gave the mode ${stats.mode}`);
  return type;
}

function sidecarOf(path: Buffer): Buffer {
  try {
    const bytes = readSmallFile(Buffer.concat([path, Buffer.from(".name")]), MAX_SEALED_NAME);
    if (bytes) return bytes;
  } catch (error) {
    if (systemCode(error) !== "ENOENT" && !(error instanceof DamageError)) throw error;
  }
  throw new DamageError("sidecar", "the sidecar that holds the name is missing or is none");
}

/** How a name that does not open is shown. */
function sealedPlace(stored: string): string {
  return `<${printable(Buffer.from(stored, "latin1"))}>`;
}

function throughDescriptor(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

/** `.kmsfs` is the volume's own; mke2fs makes `lost+found` where the backing directory is a whole file system. */
function isPartOfRoot(directory: Directory, stored: string): boolean {
  return directory.place === "" && (stored === ".kmsfs" || stored === "lost+found");
}
