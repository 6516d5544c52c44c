import { existsSync, lstatSync } from "node:fs";
import { join } from "node:path";
import { messageOf, UserError } from "../errors.js";
import { flock, LockHeld } from "../flock.js";

/**
 * Keeps the volume from being mounted until the returned function is called, with a shared flock(2).
 * Throws a UserError (InUse) when it is mounted.
 */
export async function lockForReading(backing: string): Promise<() => Promise<void>> {
  const path = join(backing, ".kmsfs/lock");
  if (!existsSync(path)) return async () => undefined;
  if (!lstatSync(path).isFile()) {
    throw new UserError(
      "Tampered",
      `${path} is not a regular file`,
      "put the backing directory back from a backup",
    );
  }
  try {
    const lock = await flock(path, { shared: true, waitSeconds: 0 });
    return () => lock.release();
  } catch (error) {
    throw error instanceof LockHeld ? inUse(backing) : failure(path, messageOf(error));
  }
}

function inUse(backing: string): UserError {
  const hint = "unmount it first, or read a snapshot of it: a mounted volume changes while it is read";
  return new UserError("InUse", `${backing} is mounted`, hint);
}

function failure(path: string, why: string): UserError {
  return new UserError(
    "Backing",
    `flock cannot lock ${path}: ${why}`,
    "util-linux is needed, and the right to read it",
  );
}
