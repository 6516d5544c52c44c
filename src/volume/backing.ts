/** Whether a directory can become a backing directory: checked before anything of a volume is written. */

import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, realpath, rm, stat, statfs, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { isRecord } from "../keys/parse.js";
import { LOG_BOUNDS, type LogParameters } from "./header.js";
import { CONTROL } from "./paths.js";

const run = promisify(execFile);

/** A control directory under construction has this prefix: `.t-` names are temporary (docs/format.md §1). */
export const UNFINISHED = ".t-init-";

export interface Backing {
  /** absolute, without symbolic links */
  readonly path: string;
  readonly made: boolean;
}

/**
 * The backing directory, made (mode 0700) when only its last component is missing.
 * Throws UserError when it is not empty, a volume, inside a volume or a kmsfs mount.
 */
export async function prepareBacking(path: string): Promise<Backing> {
  const wanted = resolve(path);
  const existing = await statOrUndefined(wanted);
  if (existing !== undefined && !existing.isDirectory()) {
    throw new UserError("Backing", `${wanted} is not a directory`, "name an empty or a new one");
  }
  const parent = existing === undefined ? await realParent(wanted) : dirname(await realpath(wanted));
  await refuseInsideVolume(parent);
  await refuseInsideMount(existing === undefined ? parent : wanted);
  if (existing === undefined) {
    try {
      await mkdir(wanted, { mode: 0o700 });
    } catch (error) {
      throw new UserError(
        "Backing",
        `${wanted} cannot be made: ${messageOf(error)}`,
        "make it, or name another",
      );
    }
    return { path: join(parent, basename(wanted)), made: true };
  }
  await refuseOccupied(wanted);
  return { path: await realpath(wanted), made: false };
}

async function statOrUndefined(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw new UserError("Backing", `${path} cannot be used: ${messageOf(error)}`, "name another directory");
  }
}

async function realParent(path: string): Promise<string> {
  try {
    return await realpath(dirname(path));
  } catch {
    throw new UserError("Backing", `${dirname(path)} does not exist`, "make it first, or check the path");
  }
}

async function refuseOccupied(path: string): Promise<void> {
  const names = await readdir(path);
  if (names.includes(CONTROL)) {
    throw new UserError(
      "Backing",
      `${path} is a kmsfs volume already`,
      "mount it, or name another directory",
    );
  }
  const foreign = names.filter((name) => name !== "lost+found" && !name.startsWith(UNFINISHED));
  if (foreign.length > 0) {
    throw new UserError(
      "Backing",
      `${path} is not empty (${foreign[0]})`,
      "name an empty or a new directory",
    );
  }
}

async function refuseInsideVolume(parent: string): Promise<void> {
  for (let dir = parent; ; dir = dirname(dir)) {
    if ((await statOrUndefined(join(dir, CONTROL, "volume.json"))) !== undefined) {
      throw new UserError(
        "Backing",
        `${parent} lies inside the kmsfs volume ${dir}`,
        "name a directory outside",
      );
    }
    if (dir === dirname(dir)) return;
  }
}

async function refuseInsideMount(path: string): Promise<void> {
  const { type, target } = await fileSystemOf(path);
  if (type === "fuse.kmsfs") {
    throw new UserError(
      "Backing",
      `${path} lies inside the kmsfs mount ${target}`,
      "name a directory outside",
    );
  }
}

/** Type and mount point of the file system that holds a path, from findmnt(8); "unknown" where that fails. */
async function fileSystemOf(path: string): Promise<{ type: string; target: string }> {
  const unknown = { type: "unknown", target: path };
  try {
    const { stdout } = await run("findmnt", ["--json", "--output", "FSTYPE,TARGET", "--target", path]);
    const parsed: unknown = JSON.parse(stdout);
    const first: unknown =
      isRecord(parsed) && Array.isArray(parsed.filesystems) ? parsed.filesystems.at(-1) : {};
    if (!isRecord(first) || typeof first.fstype !== "string" || typeof first.target !== "string")
      return unknown;
    return { type: first.fstype, target: first.target };
  } catch {
    return unknown;
  }
}

/**
 * Tries what the engine needs of the backing file system: user xattrs on files and directories, symbolic links with
 * trusted xattrs. (File handles cannot be asked for from Node: the engine tries them when it mounts.)
 */
export async function probeBacking(path: string): Promise<void> {
  let probe: string;
  try {
    probe = await mkdtemp(join(path, UNFINISHED));
  } catch (error) {
    throw new UserError("Backing", `${path} cannot be written: ${messageOf(error)}`, "make it writable");
  }
  try {
    const file = join(probe, "file");
    const link = join(probe, "link");
    await writeFile(file, "");
    await attempt(path, "user xattrs", () => run("setfattr", ["-n", "user.kmsfs", "-v", "probe", file]));
    await attempt(path, "user xattrs", () => run("setfattr", ["-n", "user.kmsfs", "-v", "probe", probe]));
    await attempt(path, "symbolic links", () => symlink("x".repeat(1023), link));
    await attempt(path, "trusted xattrs on symbolic links", () =>
      run("setfattr", ["-h", "-n", "trusted.kmsfs", "-v", "probe", link]),
    );
  } finally {
    await rm(probe, { recursive: true, force: true });
  }
}

async function attempt(path: string, what: string, probe: () => Promise<unknown>): Promise<void> {
  try {
    await probe();
  } catch (error) {
    if (errnoOf(error) === "ENOENT" && error instanceof Error && error.message.includes("spawn")) {
      throw new UserError("Backing", "the command setfattr is not installed", "install the package attr");
    }
    if (errnoOf(error) === "ENOSPC") throw noSpace(path, "it is full");
    const { type } = await fileSystemOf(path);
    throw new UserError(
      "Backing",
      `the file system of ${path} (${type}) has no ${what}: ${systemReason(error)}`,
      "use a directory on ext4 or xfs",
    );
  }
}

/** setfattr's last word ("Operation not supported"), without the path before it. */
function systemReason(error: unknown): string {
  const stderr = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
  return stderr === "" ? messageOf(error) : (stderr.split(": ").at(-1) ?? stderr);
}

function noSpace(path: string, why: string): UserError {
  return new UserError("NoSpace", `the file system of ${path} has too little space: ${why}`, "make room");
}

const DEFAULT_LOG: LogParameters = { segmentSize: 2 ** 24, segments: 4 };

/**
 * The log's size: what was asked for, or 4 segments of 16 MiB, less on a small file system (an eighth of it, at the
 * least 4 of 4 MiB). Throws UserError when it does not fit.
 */
export async function chooseLog(path: string, asked: Partial<LogParameters>): Promise<LogParameters> {
  const { bsize, blocks, bavail } = await statfs(path);
  const segments = asked.segments ?? DEFAULT_LOG.segments;
  const eighth = Math.floor((bsize * blocks) / 8 / segments / 2 ** 20) * 2 ** 20;
  const segmentSize =
    asked.segmentSize ?? Math.max(LOG_BOUNDS.minSegmentSize, Math.min(DEFAULT_LOG.segmentSize, eighth));
  const whole = segmentSize * segments;
  // Some room beside the log, or the first mount would end in ENOSPC.
  const free = bsize * bavail;
  if (free < whole + 2 ** 20) {
    throw noSpace(path, `the commit log takes ${mib(whole)} MiB, ${mib(free)} MiB are free`);
  }
  return { segmentSize, segments };
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(bytes % 2 ** 20 === 0 ? 0 : 1);
}
