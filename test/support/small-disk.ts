import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import type { TestVolume } from "./test-volume.js";

/** An ext4 of its own on a loop device over `disk.img`, mounted on `disk`; the place for a volume's backing directory on it. */
export function smallDisk(volume: TestVolume, mebibytes: number): string {
  const image = volume.scratch.file("disk.img");
  const disk = volume.scratch.file("disk");
  mkdirSync(disk);
  for (const [program, ...args] of [
    ["truncate", "-s", `${mebibytes}M`, image],
    ["mkfs.ext4", "-q", "-m", "0", image],
    ["mount", "-o", "loop", image, disk],
  ] as [string, ...string[]][]) {
    const { status, stderr } = spawnSync(program, args);
    if (status !== 0) throw new Error(`${program}: ${stderr.toString()}`);
  }
  return `${disk}/volume`;
}
