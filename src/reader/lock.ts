import { spawn } from "node:child_process";
import { existsSync, lstatSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.js";
import { systemCode } from "./errors.js";

const CONFLICT = 75;

/**
 * Keeps the volume from being mounted until the returned function is called, with a shared flock(2) that flock(1)
 * holds. Throws a UserError (InUse) when it is mounted.
 */
export async function lockForReading(backing: string): Promise<() => void> {
  const path = join(backing, ".kmsfs/lock");
  if (!existsSync(path)) return () => undefined;
  if (!lstatSync(path).isFile()) {
    throw new UserError(
      "Tampered",
      `${path} is not a regular file`,
      "put the backing directory back from a backup",
    );
  }
  const child = spawn("flock", ["-s", "-n", "-E", `${CONFLICT}`, path, "cat"], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  // A child that is gone before it read its input ends in its exit code, not here.
  child.stdin.on("error", () => undefined);
  await new Promise<void>((resolve, reject) => {
    child.once("error", (error) => reject(failure(path, systemCode(error) ?? error.message)));
    child.once("close", (code) =>
      reject(code === CONFLICT ? inUse(backing) : failure(path, `exit code ${code}`)),
    );
    // What cat gives back says that the lock is held.
    child.stdout.once("data", () => resolve());
    child.stdin.write("held\n");
  });
  return () => child.stdin.end();
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
