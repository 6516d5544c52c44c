/** `kmsfs umount`: returns when everything is written and the volume is free. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { CONTROL } from "../volume/paths.js";
import { usersOf } from "./busy.js";
import { requireRoot } from "./checks.js";
import { watchMount } from "./control-client.js";
import { tellWhereElse } from "./elsewhere.js";
import { unmountFuse } from "./fuse-mount.js";
import { FS_TYPE, isServedByReader, type MountEntry, mountAt } from "./mountinfo.js";
import { resolveMountPoint } from "./places.js";
import { run } from "./run.js";
import { isServed, type MountState, readState, removeRunDirectory } from "./state.js";
import { waitUntilUnserved } from "./wait.js";

/** How long an orphaned engine may take to write everything home. */
const ORPHAN_SECONDS = 600;

/**
 * Unmounts `path` and waits for the end; `caller` begins the lines on standard error that say for what, when it is for others.
 * Lazy: detaches the mount and waits for nothing. Throws UserError: NotMounted, Busy, EngineFailed when something could
 * not be written.
 */
export async function unmount(path: string, lazy: boolean, caller = "kmsfs"): Promise<void> {
  requireRoot("umount");
  const dir = resolveDir(path);
  const entry = mountAt(dir);
  if (entry !== undefined && isServedByReader(entry)) return await unmountReader(entry, path, lazy);
  const state = readState(dir);
  const mounted = entry?.fsType === FS_TYPE;
  if (!mounted && (state === undefined || !isServed(state))) {
    if (state !== undefined) removeRunDirectory(dir);
    throw new UserError("NotMounted", `no kmsfs mount on ${path}`, "kmsfs status lists the mounts");
  }
  const watch = await watchMount(dir);
  let callOff: (() => void) | undefined;
  try {
    if (mounted) await detach(dir, path, lazy);
    if (lazy) return;
    if (mounted) {
      const still = `${caller}: ${path} is unmounted here and waits: its volume is still mounted`;
      callOff = tellWhereElse(entry.device, (where) => console.error(`${still} ${where}`));
    }
    if (watch === undefined) return await waitForOrphan(dir, state, entry?.source);
    const ended = await watch.ended;
    if (ended === undefined) return await waitForOrphan(dir, state, entry?.source);
    if (ended.code !== "Ok") throw new UserError(ended.code, ended.message, hintOf(state));
  } finally {
    callOff?.();
    watch?.cancel();
  }
}

/** How long a process that served a mount without an engine may take to let go of the volume. Seconds. */
const READER_SECONDS = 10;

async function unmountReader(entry: MountEntry, path: string, lazy: boolean): Promise<void> {
  await detach(entry.mountPoint, path, lazy);
  if (lazy) return;
  const lock = join(entry.source, CONTROL, "lock");
  // Another reader may keep its lock, and a snapshot has none.
  if (existsSync(lock)) await run("flock", ["-w", String(READER_SECONDS), lock, "true"]);
}

function resolveDir(path: string): string {
  try {
    return resolveMountPoint(path);
  } catch (error) {
    const why = errnoOf(error) === "ENOENT" ? "there is no such directory" : messageOf(error);
    throw new UserError("NotMounted", `${path}: ${why}`, "kmsfs status lists the mounts");
  }
}

async function detach(dir: string, path: string, lazy: boolean): Promise<void> {
  const result = await unmountFuse(dir, lazy);
  if (result === "done") return;
  if (result !== "busy") throw new UserError("Unexpected", `${path}: ${result.failed}`);
  const users = usersOf(dir);
  throw new UserError(
    "Busy",
    `${path} is in use${users.length > 0 ? ` by ${users.join(", ")}` : ""}`,
    "end what uses it, or detach it with kmsfs umount --lazy",
  );
}

/** The daemon was killed: the engine ends by itself after an unmount, and its lock with it. */
async function waitForOrphan(
  dir: string,
  state: MountState | undefined,
  source: string | undefined,
): Promise<void> {
  if (state !== undefined && !(await waitUntilUnserved(state, ORPHAN_SECONDS * 1000))) {
    throw new UserError(
      "EngineFailed",
      `the engine (${state.engine.pid}) of ${dir} does not end`,
      hintOf(state),
    );
  }
  const backing = state?.backing ?? source;
  if (backing !== undefined) {
    const lock = join(backing, CONTROL, "lock");
    const { status, stderr } = await run("flock", ["-w", String(ORPHAN_SECONDS), "-E", "75", lock, "true"]);
    if (status === 75)
      throw new UserError("InUse", `${backing} is still locked`, "kmsfs status says by what");
    // Without the backing directory there is nothing left to wait for.
    if (status !== 0 && process.env.KMSFS_DEBUG) console.error(stderr);
  }
  removeRunDirectory(dir);
}

function hintOf(state: MountState | undefined): string | undefined {
  return state?.log == null ? undefined : `the log is ${state.log}`;
}
