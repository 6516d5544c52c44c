/** One entry of a backing directory: opened, and checked against its record (docs/format.md §4, §6). */

import { type BigIntStats, lstatSync } from "node:fs";
import { collect, DamageError, systemCode } from "./errors.js";
import { MAX_SEALED_NAME, openName } from "./names.js";
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
import type { RawXattrs } from "./xattrs.js";

/** An inode of the volume under one of its names, as far as it could be opened. */
export interface Node {
  /** Plaintext path from the root, for people. */
  readonly place: string;
  /** Plaintext; undefined when the stored name does not open. Empty for the root. */
  readonly name: Buffer | undefined;
  readonly stored: string;
  /** Where the backing inode can be reached while its directory is open. */
  readonly path: Buffer;
  readonly stats: BigIntStats;
  readonly type: InodeType;
  /** Undefined when there is no authentic one: nothing sealed under its id can be opened then. */
  readonly record: InodeRecord | undefined;
  readonly xattrs: RawXattrs;
  /** What is wrong with the entry and the inode; contents come on top. */
  readonly damage: readonly DamageError[];
}

/** An open backing directory: all in it is reached through the descriptor, so that no path is ever too long. */
export interface OpenDirectory {
  readonly fd: number;
  readonly id: Buffer;
  /** Plaintext path from the root, "" at the root itself. */
  readonly place: string;
}

/** What is said of a name that no volume has. */
export const FOREIGN_NAME = "is no name of this volume";

/** Opens the volume's root, whose backing directory is open at `fd`. */
export function openRoot(volume: Volume, fd: number, raw: RawXattrs): Node {
  const path = Buffer.from(`/proc/self/fd/${fd}/.`);
  const stats = lstatSync(path, { bigint: true });
  const damage: DamageError[] = [];
  const record = volume.unused ? undefined : collect(damage, () => recordOf(volume, "directory", raw));
  if (record !== undefined) {
    if (!record.id.equals(volume.id)) damage.push(new DamageError("record", "the root has another id"));
    collect(damage, () => checkInode(record, foundInode("directory", stats, raw)));
  }
  const name = Buffer.alloc(0);
  return { place: "/", name, stored: "", path, stats, type: "directory", record, xattrs: raw, damage };
}

/**
 * Opens the entry `stored` with the attributes `raw`; `long` where its name stands in a sidecar. Throws a DamageError for
 * what is no entry, and the system's errors. What is wrong with an entry is its `damage`.
 */
export function openEntry(
  volume: Volume,
  parent: OpenDirectory,
  stored: string,
  long: boolean,
  raw: RawXattrs,
): Node {
  const path = entryPath(parent, stored);
  const stats = lstatSync(path, { bigint: true });
  if (stats.dev !== volume.rootStats.dev) throw new DamageError("foreign", "is on another file system");
  const type = typeOf(stats);
  const damage: DamageError[] = [];
  const record = collect(damage, () => recordOf(volume, type, raw));
  if (record !== undefined) {
    collect(damage, () => checkInode(record, foundInode(type, stats, raw)));
    const bound = isBound(volume.keys, record, parent.id, stored);
    if (!bound) damage.push(new DamageError("binding", "the inode does not belong under this name"));
  }
  const name = collect(damage, () => openEntryName(volume, parent, stored, long));
  const place = `${parent.place}/${name ? printable(name) : sealedPlace(stored)}`;
  return { place, name, stored, path, stats, type, record, xattrs: raw, damage };
}

/** The plaintext of a stored name, its sidecar read where it is a long one. Throws DamageErrors and the system's errors. */
export function openEntryName(volume: Volume, parent: OpenDirectory, stored: string, long: boolean): Buffer {
  const sidecar = long ? sidecarOf(entryPath(parent, stored)) : undefined;
  return openName(volume.keys, parent.id, stored, sidecar);
}

/** `.kmsfs` is the volume's own; mke2fs makes `lost+found` where the backing directory is a whole file system. */
export function isPartOfRoot(directory: OpenDirectory, stored: string): boolean {
  return directory.place === "" && (stored === ".kmsfs" || stored === "lost+found");
}

/** How a name that does not open is shown. */
export function sealedPlace(stored: string): string {
  return `<${printable(Buffer.from(stored, "latin1"))}>`;
}

/** A path to an open directory that a child process can enter too. */
export function throughDescriptor(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

function entryPath(parent: OpenDirectory, stored: string): Buffer {
  return Buffer.from(`/proc/self/fd/${parent.fd}/${stored}`, "latin1");
}

/** The authentic record among an inode's attributes. Throws a DamageError. */
export function recordOf(volume: Volume, type: InodeType, raw: RawXattrs): InodeRecord {
  const owned = type === "file" || type === "directory";
  const name = owned ? "user.kmsfs" : "trusted.kmsfs";
  const present = [raw.get(name), raw.get(`${name}.new`)].filter((bytes) => bytes !== undefined);
  if (present.length === 0) {
    if (!owned && process.geteuid?.() !== 0)
      throw new DamageError("unreadable", "only root can read its record");
    throw new DamageError("record", "the inode has no record");
  }
  return firstAuthentic(present.map((bytes) => () => openRecord(volume.keys, bytes)));
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

export function foundInode(type: InodeType, stats: BigIntStats, raw: RawXattrs): FoundInode {
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

export function typeOf(stats: BigIntStats): InodeType {
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
