/** Reads a volume's chain: its current file and the rotated ones, in the order of their lines. */

import { constants } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { type FileLock, flock } from "../flock.js";
import { parseLine } from "./line.js";
import { type AuditSettings, chainFile, lockFile } from "./settings.js";
import { splitLines } from "./trail.js";

/** Of a rotated file: some two million lines. More is no chain of ours, and not worth the memory. */
const MAX_UNPACKED = 2 ** 30;

export interface ChainFile {
  readonly path: string;
  readonly lines: readonly Buffer[];
  /** The last line has no end: a crash, or a writer at this moment */
  readonly torn: boolean;
}

/**
 * The files of a chain, oldest first; none when this host has none. `paths`: these and no others. Writers wait meanwhile.
 * Throws UserError.
 */
export async function readChain(
  settings: AuditSettings,
  uuid: string,
  paths?: readonly string[],
): Promise<ChainFile[]> {
  const lock = await lockIfThere(lockFile(settings.directory, uuid));
  try {
    const files: ChainFile[] = [];
    for (const path of paths ?? (await filesOf(chainFile(settings.directory, uuid)))) {
      files.push(await readFileOf(path));
    }
    return files.filter((file) => file.lines.length > 0).sort((a, b) => firstSeq(a) - firstSeq(b));
  } finally {
    lock?.release();
  }
}

/** Without a lock file nobody has written here: nothing to wait for, and reading makes no files. */
async function lockIfThere(path: string): Promise<FileLock | undefined> {
  try {
    await (await open(path, "r")).close();
  } catch {
    return undefined;
  }
  return flock(path, { shared: true, waitSeconds: 20 });
}

async function filesOf(current: string): Promise<string[]> {
  const prefix = basename(current);
  const names = await readdir(dirname(current)).catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return [];
    throw new UserError("Privilege", `${dirname(current)}: ${messageOf(error)}`, "run it as root");
  });
  // logrotate: .1, .2.gz, or -20261124 and -20261124.gz
  const ours = names.filter(
    (name) => name.startsWith(prefix) && /^([.-]\d+(\.gz)?)?$/.test(name.slice(prefix.length)),
  );
  return ours.map((name) => join(dirname(current), name));
}

async function readFileOf(path: string): Promise<ChainFile> {
  let bytes: Buffer;
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      bytes = await handle.readFile();
    } finally {
      await handle.close();
    }
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) bytes = gunzipSync(bytes, { maxOutputLength: MAX_UNPACKED });
  } catch (error) {
    throw new UserError("Usage", `${path} cannot be read: ${messageOf(error)}`, "name files of the chain");
  }
  if (bytes.length === 0) return { path, lines: [], torn: false };
  const torn = bytes[bytes.length - 1] !== 0x0a;
  return { path, lines: splitLines(torn ? bytes : bytes.subarray(0, -1)), torn };
}

function firstSeq({ lines }: ChainFile): number {
  for (const line of lines) {
    const seq = parseLine(line.toString("utf8"))?.seq;
    if (seq !== undefined) return seq;
  }
  return Number.MAX_SAFE_INTEGER;
}
