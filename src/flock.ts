/** flock(2), for which Node has no call: flock(1) of util-linux holds it, and lets go when this process ends. */

import { spawn } from "node:child_process";
import { messageOf } from "./errors.js";

/** flock(1)'s exit status for a lock that somebody else holds. */
const CONFLICT = 75;

/** Somebody else holds the lock. */
export class LockHeld extends Error {}

export interface FileLock {
  /** False once the lock is lost, as when flock(1) was killed. */
  readonly held: boolean;
  release(): Promise<void>;
}

export interface LockWish {
  readonly shared?: boolean;
  /** How long to wait for it; 0: not at all. Whole seconds. */
  readonly waitSeconds: number;
}

/**
 * Locks a file (made when missing) or a directory. Throws LockHeld, or an Error that says why it could not be tried.
 */
export async function flock(path: string, { shared = false, waitSeconds }: LockWish): Promise<FileLock> {
  const wait = waitSeconds === 0 ? ["-n"] : ["-w", String(waitSeconds)];
  const args = [shared ? "-s" : "-x", ...wait, "-E", String(CONFLICT), path, "cat"];
  const child = spawn("flock", args, { stdio: ["pipe", "pipe", "ignore"] });
  // A child that is gone before it read its input ends in its exit code, not here.
  child.stdin.on("error", () => undefined);
  const closed = new Promise<number | null>((done) => child.once("close", done));
  await new Promise<void>((done, failed) => {
    child.once("error", (error) => failed(new Error(`flock(1) of util-linux: ${messageOf(error)}`)));
    child.once("close", (status) =>
      failed(status === CONFLICT ? new LockHeld(path) : new Error(`flock(1) ended with ${status}`)),
    );
    // What cat gives back says that the lock is held.
    child.stdout.once("data", () => done());
    child.stdin.write("held\n");
  });
  let held = true;
  void closed.then(() => {
    held = false;
  });
  return {
    get held() {
      return held;
    },
    release: async () => {
      child.stdin.end();
      await closed;
    },
  };
}

/** Runs `work` under the lock. */
export async function withLock<T>(
  path: string,
  wish: LockWish,
  work: (lock: FileLock) => Promise<T>,
): Promise<T> {
  const lock = await flock(path, wish);
  try {
    return await work(lock);
  } finally {
    await lock.release();
  }
}
