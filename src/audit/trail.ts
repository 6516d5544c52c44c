/**
 * The file of a volume's chain: appended under a lock, flushed, never shortened but for a line that could not be written
 * whole by this very call. What a crash tore stays, with a line of its own after it.
 */

import { constants, mkdirSync } from "node:fs";
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { flock } from "../flock.js";
import { syncDirectory } from "../volume/store.js";
import type { EventName } from "./event.js";
import { type Head, readHead, writeHead } from "./head.js";
import { genesis, hashOf, parseLine } from "./line.js";
import { type AuditSettings, chainFile, headFile, lockFile } from "./settings.js";

/** The end of a file is read this far back for its last whole line. */
const TAIL_BYTES = 256 * 1024;
const LOCK_SECONDS = 20;

/** A line that has to come before the caller's own: it says what happened to the file. */
export interface Remark {
  readonly event: EventName;
  readonly detail: Readonly<Record<string, string | number>>;
}

/** What the next line follows. */
export interface Place {
  /** Of the last line, 0 before the first */
  readonly seq: number;
  readonly prev: string;
  readonly remarks: readonly Remark[];
}

/**
 * Appends the lines that `make` gives for the place, flushes them, calls `written`, and notes the new head. Throws the
 * system's error; the file is as before when `written` was not called.
 */
export async function append(
  settings: AuditSettings,
  uuid: string,
  make: (place: Place) => readonly string[],
  written: () => void,
): Promise<Head> {
  const { directory } = settings;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const lock = await flock(lockFile(directory, uuid), { waitSeconds: LOCK_SECONDS });
  try {
    const path = chainFile(directory, uuid);
    const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    const handle = await open(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    try {
      const lines = await appendTo(handle, path, uuid, make);
      written();
      const last = lines.at(-1) ?? "";
      const head = { seq: parseLine(last)?.seq ?? 0, hash: hashOf(last) };
      await writeHead(headFile(directory, uuid), head);
      if (settings.anchor !== undefined) await writeHead(headFile(settings.anchor, uuid), head);
      return head;
    } finally {
      await handle.close();
    }
  } finally {
    lock.release();
  }
}

async function appendTo(
  handle: FileHandle,
  path: string,
  uuid: string,
  make: (place: Place) => readonly string[],
): Promise<readonly string[]> {
  const before = await handle.stat();
  if (!before.isFile()) throw new Error(`${path} is not a regular file`);
  const { place, torn } = await placeOf(handle, before.size, path, uuid);
  const lines = make(place);
  const bytes = Buffer.from(`${torn ? "\n" : ""}${lines.join("\n")}\n`);
  try {
    let written = 0;
    while (written < bytes.length) written += (await handle.write(bytes, written)).bytesWritten;
    await handle.datasync();
  } catch (error) {
    await handle.truncate(before.size).catch(() => undefined);
    throw error;
  }
  if (before.size === 0) await syncDirectory(dirname(path));
  return lines;
}

async function placeOf(
  handle: FileHandle,
  size: number,
  path: string,
  uuid: string,
): Promise<{ place: Place; torn: boolean }> {
  const noted = await readHead(headFile(dirname(path), uuid));
  if (size === 0) return { place: await startOfFile(path, uuid, noted), torn: false };
  const tail = await tailOf(handle, size);
  const remarks: Remark[] = [];
  if (tail.torn) remarks.push({ event: "torn", detail: { bytes: tail.lastBytes } });
  // The head is noted after the line is flushed: it may lag behind the file, and never be ahead of it.
  const cut =
    noted !== undefined && (noted.seq > tail.seq || (noted.seq === tail.seq && noted.hash !== tail.hash));
  if (cut) remarks.push({ event: "gap", detail: { notedSeq: noted.seq, notedHash: noted.hash } });
  const seq = Math.max(tail.seq, noted?.seq ?? 0);
  return { place: { seq, prev: tail.prev, remarks }, torn: tail.torn };
}

/** A new file goes on where the rotated one ended, by the noted head; after a crash that one may be a line further. */
async function startOfFile(path: string, uuid: string, noted: Head | undefined): Promise<Place> {
  const rotated = await newestRotated(path);
  if (noted === undefined && rotated === undefined) {
    return { seq: 0, prev: genesis(uuid), remarks: [{ event: "begin", detail: {} }] };
  }
  if (rotated !== undefined && rotated.seq >= (noted?.seq ?? 0)) {
    const remarks: Remark[] = [{ event: "continue", detail: {} }];
    return { seq: rotated.seq, prev: rotated.prev, remarks };
  }
  const seq = noted?.seq ?? 0;
  return { seq, prev: noted?.hash ?? "", remarks: [{ event: "continue", detail: {} }] };
}

async function newestRotated(path: string): Promise<Tail | undefined> {
  const prefix = `${basename(path)}`;
  const names = (await readdir(dirname(path))).filter(
    (name) => name.startsWith(prefix) && /^[.-]\d+$/.test(name.slice(prefix.length)),
  );
  let newest: { path: string; time: number } | undefined;
  for (const name of names) {
    const candidate = join(dirname(path), name);
    const { mtimeMs } = await stat(candidate);
    if (newest === undefined || mtimeMs > newest.time) newest = { path: candidate, time: mtimeMs };
  }
  if (newest === undefined) return undefined;
  const handle = await open(newest.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { size } = await handle.stat();
    return size === 0 ? undefined : await tailOf(handle, size);
  } finally {
    await handle.close();
  }
}

interface Tail {
  /** Of the last whole line */
  readonly seq: number;
  readonly hash: string;
  /** Hash of whatever the file's last bytes are, a whole line or not */
  readonly prev: string;
  readonly torn: boolean;
  /** Bytes after the last line end */
  readonly lastBytes: number;
}

async function tailOf(handle: FileHandle, size: number): Promise<Tail> {
  const length = Math.min(size, TAIL_BYTES);
  const bytes = Buffer.alloc(length);
  await handle.read(bytes, 0, length, size - length);
  const torn = bytes[length - 1] !== 0x0a;
  const pieces = splitLines(torn ? bytes : bytes.subarray(0, length - 1));
  const last = pieces.at(-1) ?? Buffer.alloc(0);
  const whole = pieces.findLast((piece) => parseLine(piece.toString("utf8")) !== undefined);
  const line = whole === undefined ? undefined : parseLine(whole.toString("utf8"));
  return {
    seq: line?.seq ?? 0,
    hash: whole === undefined ? "" : hashOf(whole),
    prev: hashOf(last),
    torn,
    lastBytes: torn ? last.length : 0,
  };
}

/** The pieces between line ends, as bytes: what a crash left need not be text. */
export function splitLines(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  let start = 0;
  for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a, start)) {
    lines.push(bytes.subarray(start, end));
    start = end + 1;
  }
  lines.push(bytes.subarray(start));
  return lines;
}
