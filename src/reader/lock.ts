import { lstatSync } from "node:fs";
import { join } from "node:path";
import { messageOf, UserError } from "../errors.js";
import { flock, LockHeld } from "../flock.js";

/**
 * Keeps the volume from being mounted until the returned function is called, with a shared flock(2).
 * Throws a UserError (InUse) when it is mounted.
 */
export function lockForReading(backing: string): Promise<() => Promise<void>> {
  return lock(backing, true);
}

/** As `lockForReading`, and keeps readers out too: for who changes the volume. */
export function lockForChange(backing: string): Promise<() => Promise<void>> {
  return lock(backing, false);
}

async function lock(backing: string, shared: boolean): Promise<() => Promise<void>> {
  const path = join(backing, ".kmsfs/lock");
  const there = lstatSync(path, { throwIfNoEntry: false });
  // One that was never mounted has no lock yet; flock makes it.
  if (there === undefined && shared) return async () => undefined;
  if (there !== undefined && !there.isFile()) {
    throw new UserError(
      "Tampered",
      `${path} is not a regular file`,
      "put the backing directory back from a backup",
    );
  }
  try {
    const held = await flock(path, { shared, waitSeconds: 0 });
    return async () => held.release();
  } catch (error) {
    throw error instanceof LockHeld ? inUse(backing, shared) : failure(path, messageOf(error));
  }
}

function inUse(backing: string, shared: boolean): UserError {
  const reading = "unmount it first, or read a snapshot of it: a mounted volume changes while it is read";
  const changing = "unmount it first, and end what reads it (kmsfs status, verify, export, mount --reader)";
  const what = shared ? `${backing} is mounted` : `${backing} is mounted or being read`;
  return new UserError("InUse", what, shared ? reading : changing);
}

function failure(path: string, why: string): UserError {
  return new UserError(
    "Backing",
    `flock cannot lock ${path}: ${why}`,
    "util-linux is needed, and the right to read it",
  );
}
