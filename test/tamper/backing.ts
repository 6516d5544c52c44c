/** What somebody without the key can do to a backing directory: everything that root can, and nothing else. */

import { execFileSync } from "node:child_process";
import { closeSync, lstatSync, openSync, readdirSync, readSync, renameSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";

export const BLOCK = 4096;
/** Home of a data block among the direct ones (docs/format.md §5) */
export const homeOf = (block: number): number => BLOCK + block * BLOCK;
/** Home of the first node, S1 */
export const NODE = homeOf(112);

export function program(name: string, ...args: string[]): string {
  return execFileSync(name, args, { encoding: "latin1", stdio: ["ignore", "pipe", "pipe"] });
}

export function bytesAt(path: string, at: number, length: number): Buffer {
  const fd = openSync(path, "r");
  try {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(fd, bytes, 0, length, at));
  } finally {
    closeSync(fd);
  }
}

/** In place: the inode and its records stay. */
export function put(path: string, at: number, bytes: Buffer): void {
  const fd = openSync(path, "r+");
  try {
    writeSync(fd, bytes, 0, bytes.length, at);
  } finally {
    closeSync(fd);
  }
}

export function flip(path: string, at: number): void {
  const bytes = bytesAt(path, at, 1);
  put(path, at, Buffer.from([(bytes[0] ?? 0) ^ 1]));
}

export function swapBytes(a: string, atA: number, b: string, atB: number, length: number): void {
  const [ofA, ofB] = [bytesAt(a, atA, length), bytesAt(b, atB, length)];
  put(a, atA, ofB);
  put(b, atB, ofA);
}

export function swapNames(a: string, b: string): void {
  const aside = join(dirname(a), "aside");
  renameSync(a, aside);
  renameSync(b, a);
  renameSync(aside, b);
}

/** A copy with everything that can be copied: owner, mode, times, ACLs, xattrs. */
export function copy(from: string, to: string): void {
  program("cp", "-a", "--no-target-directory", from, to);
}

/** 0x and hex digits */
export function xattr(path: string, name: string): string {
  const out = program("getfattr", "-h", "--absolute-names", "-e", "hex", "-n", name, path);
  return /=(0x[0-9a-f]*)/.exec(out)?.[1] ?? "";
}

export function setXattr(path: string, name: string, value: string): void {
  program("setfattr", "-h", "-n", name, "-v", value, path);
}

export function removeXattr(path: string, name: string): void {
  program("setfattr", "-h", "-x", name, path);
}

/** Sealed attributes of a file or directory, beside its record. */
export function sealedXattrs(path: string): string[] {
  const out = program("getfattr", "-h", "--absolute-names", "-m", "^user\\.kmsfs\\.", path);
  return out.split("\n").filter((line) => line.startsWith("user.kmsfs."));
}

/** Places relative to `root` by inode number. */
export function byInode(root: string): Map<number, string> {
  const entries = readdirSync(root, { recursive: true, encoding: "utf8" });
  return new Map(entries.map((name) => [lstatSync(join(root, name)).ino, name]));
}
