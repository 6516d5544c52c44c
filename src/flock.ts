/**
 * flock(2), for which Node has no call: flock(1) of util-linux locks a descriptor that it inherits, and the lock stays with
 * the open file when it has ended, until the descriptor here is closed.
 */

import { spawn } from "node:child_process";
import { closeSync, constants, openSync } from "node:fs";
import { errnoOf, messageOf } from "./errors.js";

/** flock(1)'s exit status for a lock that somebody else holds. */
const CONFLICT = 75;
/** The descriptor in flock(1). */
const INHERITED = 3;

/** Somebody else holds the lock. */
export class LockHeld extends Error {}

export interface FileLock {
  release(): void;
}

export interface LockWish {
  readonly shared?: boolean;
  /** How long to wait for it; 0: not at all. Whole seconds. */
  readonly waitSeconds: number;
}

/**
 * Locks a file (made when missing) or a directory. Throws LockHeld, or an Error that says why it could not be tried.
 */
export async function flock(path: string, wish: LockWish): Promise<FileLock> {
  // A number and not a FileHandle, which is closed when it is no longer reached.
  const fd = open(path);
  try {
    await lock(fd, path, wish);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { release: () => closeSync(fd) };
}

/** For writing where it can be: NFS locks nothing else exclusively. */
function open(path: string): number {
  const { O_RDWR, O_RDONLY, O_CREAT, O_NOCTTY } = constants;
  try {
    return openSync(path, O_RDWR | O_CREAT | O_NOCTTY, 0o666);
  } catch (error) {
    if (!["EISDIR", "EROFS", "EACCES", "EPERM"].includes(errnoOf(error) ?? "")) throw error;
    return openSync(path, O_RDONLY | O_NOCTTY);
  }
}

async function lock(fd: number, path: string, { shared = false, waitSeconds }: LockWish): Promise<void> {
  const wait = waitSeconds === 0 ? ["-n"] : ["-w", String(waitSeconds)];
  const args = [shared ? "-s" : "-x", ...wait, "-E", String(CONFLICT), String(INHERITED)];
  const child = spawn("flock", args, { stdio: ["ignore", "ignore", "ignore", fd] });
  const status = await new Promise<number | null>((done, failed) => {
    child.once("error", (error) => failed(new Error(`flock(1) of util-linux: ${messageOf(error)}`)));
    child.once("exit", done);
  });
  if (status === CONFLICT) throw new LockHeld(path);
  if (status !== 0) throw new Error(`flock(1) ended with ${status}`);
}

/** Runs `work` under the lock. */
export async function withLock<T>(path: string, wish: LockWish, work: () => Promise<T>): Promise<T> {
  const held = await flock(path, wish);
  try {
    return await work();
  } finally {
    held.release();
  }
}
