/** /dev/fuse, mount(8) and umount(8). */

import { openSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { messageOf, UserError } from "../errors.js";
import { FS_TYPE, type MountEntry, mountAt } from "./mountinfo.js";
import type { MountOptions } from "./options.js";
import { run } from "./run.js";

/** A descriptor of /dev/fuse, not yet bound to a mount. Throws UserError (EngineFailed). */
export function openFuse(): number {
  try {
    return openSync("/dev/fuse", "r+");
  } catch (error) {
    throw new UserError("EngineFailed", `/dev/fuse: ${messageOf(error)}`, "load the kernel's fuse module");
  }
}

/** The -o list of mount(8) for a FUSE descriptor that it finds as its fd 3; Documentation/filesystems/fuse.rst. */
export function mountArguments(options: MountOptions): string {
  return [
    "fd=3,rootmode=40000,user_id=0,group_id=0,default_permissions",
    ...(options.allowOther ? ["allow_other"] : []),
    options.readOnly ? "ro" : "rw",
    ...options.kernelFlags,
    ...recorded(options.netdev),
  ].join(",");
}

/**
 * What mount(8) keeps in /run/mount/utab. Without uhelper umount(8) asks statfs(2) for the type, which is "fuse", and finds
 * no helper of ours.
 */
function recorded(netdev: boolean): string[] {
  return ["uhelper=kmsfs", ...(netdev ? ["_netdev"] : [])];
}

/** Mounts and returns the new mount's entry. `-i` keeps libfuse's mount helper out. Throws UserError. */
export async function mountFuse(
  fuseFd: number,
  backing: string,
  dir: string,
  options: MountOptions,
): Promise<MountEntry> {
  const args = ["-i", "-t", FS_TYPE, "-o", mountArguments(options), backing, dir];
  const { status, stderr } = await run("mount", args, [fuseFd]);
  const entry = mountAt(dir);
  if (status === 0 && entry?.fsType === FS_TYPE) return entry;
  throw new UserError("MountPoint", `mount(8) could not mount on ${dir}: ${stderr || `status ${status}`}`);
}

/** Makes a mount read-only or read-write, and sets its flags, in the kernel alone. */
export async function remountFuse(
  dir: string,
  options: Pick<MountOptions, "readOnly" | "kernelFlags" | "netdev">,
): Promise<UnmountResult> {
  const { readOnly, kernelFlags, netdev } = options;
  const list = ["remount", readOnly ? "ro" : "rw", ...kernelFlags, ...recorded(netdev)].join(",");
  const { status, stderr } = await run("mount", ["-i", "--options-mode", "ignore", "-o", list, dir]);
  if (status === 0) return "done";
  if (/busy/.test(stderr)) return "busy";
  return { failed: stderr || `mount(8) ended with status ${status}` };
}

export type UnmountResult = "done" | "busy" | { readonly failed: string };

/** umount(8). Lazy: the mount leaves the tree at once and ends with its last user. */
export async function unmountFuse(dir: string, lazy: boolean): Promise<UnmountResult> {
  const { status, stderr } = await run("umount", lazy ? ["-i", "-l", dir] : ["-i", dir]);
  if (status === 0) return "done";
  if (/busy/.test(stderr)) return "busy";
  return { failed: stderr || `umount(8) ended with status ${status}` };
}

/**
 * Lets the kernel read ahead 2 MiB on this mount: it begins with 128 KiB whatever FUSE_INIT allows. Requests are of 1 MiB at
 * most (max_pages), so that two processors open the blocks of one reader.
 */
export async function raiseReadAhead(entry: MountEntry): Promise<void> {
  await writeFile(`/sys/class/bdi/${entry.device}/read_ahead_kb`, "2048");
}
