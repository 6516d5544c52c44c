/** What can be refused before anything is changed or a key is asked for. */

import { accessSync, constants, readdirSync, realpathSync, statfsSync } from "node:fs";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { etcDirectory, logDirectory } from "../host-directories.js";
import { CONTROL } from "../volume/paths.js";
import { liveStatus } from "./control-client.js";
import { unmountFuse } from "./fuse-mount.js";
import { FS_TYPE, mountAt, readMounts } from "./mountinfo.js";
import { isServerGone, isWithin, resolveExisting, resolveMountPoint, runBase } from "./places.js";
import { isServed, type MountState, readState, readStates, removeRunDirectory } from "./state.js";
import { waitUntilUnserved } from "./wait.js";

export interface MountPlaces {
  /** absolute and resolved */
  readonly backing: string;
  readonly dir: string;
}

export function requireRoot(command: string): void {
  if (process.geteuid?.() === 0) return;
  throw new UserError("Privilege", `kmsfs ${command} needs root`, "run it with sudo");
}

/**
 * Checks both directories of a mount. Clears a mount of ours on `dir` whose server is dead, and waits for one of the
 * same volume that is unmounted and still being written. Throws UserError.
 */
export async function checkPlaces(backing: string, dir: string): Promise<MountPlaces> {
  const places = { backing: resolveBacking(backing), dir: resolveDir(dir) };
  if (isWithin(places.dir, places.backing)) {
    throw new UserError("MountPoint", `${dir} lies inside the volume ${backing}`, "mount somewhere else");
  }
  if (isWithin(places.backing, places.dir)) {
    throw new UserError("MountPoint", `the volume ${backing} lies inside ${dir}`, "mount somewhere else");
  }
  for (const own of [runBase(), logDirectory(), etcDirectory()].map(resolveExisting)) {
    if (!isWithin(own, places.dir) && !isWithin(own, places.backing)) continue;
    throw new UserError(
      "MountPoint",
      `kmsfs's own files in ${own} would lie inside the mount`,
      "mount somewhere else",
    );
  }
  await clearDeadMount(places.dir);
  checkMountPoint(places.dir);
  await refuseSecondMount(places.backing);
  return places;
}

/** An empty directory on which nothing is mounted, resolved. Throws UserError (MountPoint). */
export function emptyMountPoint(dir: string): string {
  const resolved = resolveDir(dir);
  checkMountPoint(resolved);
  return resolved;
}

function resolveBacking(backing: string): string {
  try {
    return realpathSync(backing);
  } catch (error) {
    throw new UserError(
      "NotAVolume",
      `${backing}: ${reason(error)}`,
      "name the backing directory of a volume",
    );
  }
}

/** Throws UserError when a mount that is to be written has its volume on a file system that is not. */
export function requireWritable(backing: string): void {
  try {
    accessSync(backing, constants.W_OK);
  } catch (error) {
    if (errnoOf(error) !== "EROFS") return;
    throw new UserError("Backing", `the file system of ${backing} is read-only`, "mount with -o ro");
  }
}

function resolveDir(dir: string): string {
  try {
    return resolveMountPoint(dir);
  } catch (error) {
    throw new UserError(
      "MountPoint",
      `mount point ${dir}: ${reason(error)}`,
      "make an empty directory there",
    );
  }
}

/** A FUSE mount that answers ENOTCONN has no server and gets none: what it holds can only be let go of. */
async function clearDeadMount(dir: string): Promise<void> {
  while (mountAt(dir)?.fsType === FS_TYPE) {
    const state = readState(dir);
    // A server that is alive but stuck would make stat(2) hang.
    if (state !== undefined && isServed(state)) return;
    if (!isDisconnected(dir)) return;
    const result = await unmountFuse(dir, true);
    if (result === "done") removeRunDirectory(dir);
    else {
      throw new UserError(
        "MountPoint",
        `${dir} has a dead kmsfs mount that does not go away`,
        `umount -l ${dir}`,
      );
    }
  }
}

/** statfs(2) and not stat(2): the kernel answers the latter from its cache, long after the server's end. */
function isDisconnected(dir: string): boolean {
  try {
    statfsSync(dir);
    return false;
  } catch (error) {
    return isServerGone(error);
  }
}

function checkMountPoint(dir: string): void {
  // x-systemd.automount: to read the directory would wait for this very mount.
  if (mountAt(dir)?.fsType === "autofs") return;
  if (readMounts().some((entry) => entry.mountPoint === dir)) {
    throw new UserError(
      "MountPoint",
      `${dir} is a mount point already`,
      "unmount it, or name another directory",
    );
  }
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (error) {
    throw new UserError("MountPoint", `mount point ${dir}: ${reason(error)}`, "name an empty directory");
  }
  if (names.includes(CONTROL)) {
    const hint = "write kmsfs mount BACKING DIR, where DIR is an empty directory";
    throw new UserError("MountPoint", `mount point ${dir} is the backing directory of a volume`, hint);
  }
  if (names.length > 0) {
    throw new UserError("MountPoint", `mount point ${dir} is not empty`, "name an empty directory");
  }
}

/** The engine's lock is what decides; this says earlier and better where the volume is. */
async function refuseSecondMount(backing: string): Promise<void> {
  for (const state of readStates().filter((state) => state.backing === backing && isServed(state))) {
    const mounted = mountAt(state.dir)?.fsType === FS_TYPE;
    if (!mounted && !(await isHeldOpen(state)) && (await waitUntilUnserved(state))) continue;
    throw new UserError(
      "InUse",
      `${backing} is mounted on ${state.dir}${mounted ? "" : " (detached, still open)"}`,
      mounted ? `kmsfs umount ${state.dir} first` : "end what still uses it",
    );
  }
}

/** How long the kernel may take to release what was open of a mount that just ended. */
const RELEASE_MS = 1000;

/** Whether files of a detached mount are open: then it is not being written home, and waiting for it is in vain. */
async function isHeldOpen(state: MountState): Promise<boolean> {
  if (await waitUntilUnserved(state, RELEASE_MS)) return false;
  const counters = (await liveStatus(state.dir))?.engine?.counters;
  return (counters?.open_files ?? 0) + (counters?.open_directories ?? 0) > 0;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such directory",
  ENOTDIR: "it is not a directory",
  EACCES: "permission denied",
};

function reason(error: unknown): string {
  return REASONS[errnoOf(error) ?? ""] ?? messageOf(error);
}
