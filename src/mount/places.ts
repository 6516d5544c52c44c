/** Where the files of a mount's daemon stand, and how paths lie to one another. */

import { createHash } from "node:crypto";
import { existsSync, lstatSync, readlinkSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { errnoOf } from "../errors.js";
import { logDirectory } from "../host-directories.js";

/** /run/kmsfs, or where KMSFS_RUN says (tests). */
export function runBase(): string {
  return resolve(process.env.KMSFS_RUN || "/run/kmsfs");
}

/** The run directory of the mount at this resolved mount point; the hash keeps socket paths below 108 bytes. */
export function runDirectory(mountPoint: string): string {
  return join(runBase(), createHash("sha256").update(mountPoint).digest("hex").slice(0, 16));
}

export function controlSocket(runDir: string): string {
  return join(runDir, "control.sock");
}

export function logFile(uuid: string): string {
  return join(logDirectory(), `${uuid}.log`);
}

/** Whether `path` is `dir` or below it; both absolute and resolved. */
export function isWithin(path: string, dir: string): boolean {
  return path === dir || path.startsWith(dir.endsWith(sep) ? dir : dir + sep);
}

/** A path resolved as far as it exists, for what will be made there. */
export function resolveExisting(path: string): string {
  let head = resolve(path);
  const tail: string[] = [];
  while (!existsSync(head) && dirname(head) !== head) {
    tail.unshift(basename(head));
    head = dirname(head);
  }
  return join(realpathSync(head), ...tail);
}

/** What a FUSE mount answers whose server is gone; the second to whoever was waiting when it went. */
export function isServerGone(error: unknown): boolean {
  return ["ENOTCONN", "ECONNABORTED"].includes(errnoOf(error) ?? "");
}

/**
 * A mount point resolved although what is mounted there may not answer (ENOTCONN after its server was killed).
 * Throws the system's error.
 */
export function resolveMountPoint(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (!isServerGone(error)) throw error;
  }
  const here = join(realpathSync(dirname(resolve(path))), basename(resolve(path)));
  try {
    if (lstatSync(here).isSymbolicLink())
      return resolveMountPoint(resolve(dirname(here), readlinkSync(here)));
  } catch (error) {
    if (!isServerGone(error)) throw error;
  }
  return here;
}
