/** /proc/self/mountinfo, see proc_pid_mountinfo(5). */

import { readFileSync } from "node:fs";

export const FS_TYPE = "fuse.kmsfs";

/** Behind "fuse.", for what fuse-native serves read-only, without daemon and engine. */
export const READER_SUBTYPE = "kmsfs-reader";
export const SNAPSHOT_SUBTYPE = "kmsfs-snapshot";

/** Whether a mount is one of `kmsfs mount --reader` or `kmsfs snapshot mount`. */
export function isServedByReader({ fsType }: MountEntry): boolean {
  return [READER_SUBTYPE, SNAPSHOT_SUBTYPE].some((subtype) => fsType === `fuse.${subtype}`);
}

export interface MountEntry {
  /** "major:minor" of the file system */
  readonly device: string;
  readonly mountPoint: string;
  readonly fsType: string;
  readonly source: string;
  /** of the file system, as the kernel shows them */
  readonly superOptions: readonly string[];
}

/** One entry for each line, in the order of mounting: the last one at a mount point is the visible one. */
export function parseMountinfo(text: string): MountEntry[] {
  return text.split("\n").flatMap((line) => {
    const [left, right] = line.split(" - ");
    const before = left?.split(" ") ?? [];
    const after = right?.split(" ") ?? [];
    const [device, mountPoint, fsType, source] = [before[2], before[4], after[0], after[1]];
    if (device === undefined || mountPoint === undefined || fsType === undefined) return [];
    const superOptions = after[2]?.split(",") ?? [];
    const places = { mountPoint: unescapeOctal(mountPoint), source: unescapeOctal(source ?? "") };
    return [{ device, fsType, superOptions, ...places }];
  });
}

export function readMounts(): MountEntry[] {
  return parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8"));
}

/** The visible mount at exactly this path, absolute and resolved, or undefined. Touches no file system. */
export function mountAt(path: string): MountEntry | undefined {
  return readMounts().findLast((entry) => entry.mountPoint === path);
}

/**
 * Whether `path` waits to be mounted by the process group that we are in (x-systemd.automount): all others that walk
 * over it are held until it is.
 */
export function isAutomountedByUs(path: string): boolean {
  const entry = mountAt(path);
  if (entry?.fsType !== "autofs") return false;
  const stat = readFileSync("/proc/self/stat", "utf8");
  // proc_pid_stat(5): state, parent and group follow the name in parentheses.
  const group = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2];
  return entry.superOptions.includes(`pgrp=${group}`);
}

/** The kernel writes space, tab, newline and backslash as \ooo; names are bytes, so runs are decoded as UTF-8. */
function unescapeOctal(text: string): string {
  return text.replace(/(?:\\[0-3][0-7]{2})+/g, (run) =>
    Buffer.from(
      run
        .split("\\")
        .slice(1)
        .map((octal) => Number.parseInt(octal, 8)),
    ).toString("utf8"),
  );
}
