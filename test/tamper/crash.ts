/** Volumes that were cut off in the middle of their work, and their logs, for attacks on what recovers them. */

import { closeSync, fsyncSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../../src/errors.js";
import { kill, type TestVolume } from "../support/test-volume.js";
import { until } from "../support/until.js";
import { byInode, bytesAt } from "./backing.js";

/** For init: a log as small as may be, since it is copied for each attack. */
export const SMALL_LOG = ["--log-segment-size", "4"];

/** Offset of the first record of a segment (docs/format.md §9) */
const RECORDS = 4096;

const text = (name: string, version: string) => `${name}, ${version}. `.repeat(2000);

/** Writes a file and flushes it: a commit of its own. */
export function save(volume: TestVolume, name: string, version: string): void {
  const fd = openSync(volume.at(name), "w");
  writeSync(fd, text(name, version));
  fsyncSync(fd);
  closeSync(fd);
}

/** "first: new": which version of a file programs find. */
export function found(volume: TestVolume, name: string, versions: readonly string[]): string {
  try {
    const is = readFileSync(volume.at(name), "utf8");
    const version = versions.find((version) => is === text(name, version));
    return `${name}: ${version ?? (is === "" ? "empty" : "content that was never there")}`;
  } catch (error) {
    return `${name}: ${errnoOf(error)}`;
  }
}

/** kill -9 of the engine. */
export async function crash(volume: TestVolume): Promise<void> {
  kill((await volume.status()).enginePid ?? 0);
  await until("the daemon has cleaned up", async () => (await volume.statuses()).length === 0);
}

export const logDir = (backing: string) => join(backing, ".kmsfs/log");

/** Paths of the segments, by number. */
export function segments(backing: string): string[] {
  const names = readdirSync(logDir(backing)).filter((name) => name.endsWith(".seg"));
  return names.sort().map((name) => join(logDir(backing), name));
}

/** Offsets of the records of a segment. */
export function records(segment: string): number[] {
  const found: number[] = [];
  for (let at = RECORDS; ; ) {
    const head = bytesAt(segment, at, 24);
    if (head.toString("latin1", 16, 20) !== "kCR1") return found;
    found.push(at);
    at += head.readUInt32LE(20);
  }
}

/** The segment that was written last: of those with records, the one of the highest sequence. */
export function segmentInUse(backing: string): string {
  const sequence = (path: string) => bytesAt(path, 24, 8).readBigUInt64LE();
  const used = segments(backing).filter((path) => records(path).length > 0);
  return used.sort((a, b) => (sequence(a) < sequence(b) ? 1 : -1))[0] ?? "";
}

/** Plaintext name -> stored name: the inode number of a mounted file is that of its backing file. */
export function homesOf(volume: TestVolume): Map<string, string> {
  const stored = byInode(volume.backing);
  return new Map([...byInode(volume.dir)].map(([ino, name]) => [name, stored.get(ino) ?? ""]));
}
