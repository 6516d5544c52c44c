/** setfattr(1), for which Node has no call. */

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { errnoOf, messageOf, UserError } from "../errors.js";
import type { InodeType } from "../reader/record.js";

const run = promisify(execFile);
/** A record longer than this is not overwritten in one step (docs/format.md §4). */
const TWO_STEP_LENGTH = 200;

/** Gives the inode at `path` this record; none stands aside afterwards. `replaces`: bytes of the one that it has. */
export async function replaceRecord(
  path: Buffer,
  type: InodeType,
  record: Buffer,
  replaces: number,
): Promise<void> {
  const name = type === "file" || type === "directory" ? "user.kmsfs" : "trusted.kmsfs";
  if (Math.max(record.length, replaces) > TWO_STEP_LENGTH) await set(path, `${name}.new`, record);
  await set(path, name, record);
  await removeXattr(path, `${name}.new`);
}

async function set(path: Buffer, name: string, value: Buffer): Promise<void> {
  await setfattr(["-n", name, "-v", `0x${value.toString("hex")}`], path);
}

/** That there is none is no error. */
export async function removeXattr(path: Buffer, name: string): Promise<void> {
  try {
    await setfattr(["-x", name], path);
  } catch (error) {
    if (!/No such attribute|No data available/.test(messageOf(error))) throw error;
  }
}

async function setfattr(args: readonly string[], path: Buffer): Promise<void> {
  // A name in a backing directory may be any bytes; the path to it ends in one of ours.
  const place = path.toString("latin1");
  try {
    await run("setfattr", ["-h", ...args, "--", place], { env: { ...process.env, LC_ALL: "C" } });
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
    throw new UserError("Backing", "setfattr is not installed", "install the package attr");
  }
}
