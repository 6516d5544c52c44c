/** What the systems' backing directories lie on. */

import { closeSync, ftruncateSync, openSync } from "node:fs";
import type { BackingKind } from "./rows/row.js";
import { command } from "./support/command.js";
import { floorProgram } from "./support/programs.js";
import type { Scratch } from "./support/scratch.js";

/** Bytes a second of the slow device: between what gp3 volumes have at first and what they can have. */
export const SLOW_BANDWIDTH = 250 * 2 ** 20;
const SLOW_DELAY_US = 1000;
/** Requests that the slow device has in flight; more than any row has. */
const SLOW_THREADS = 64;

export interface BackingPlace {
  /** Where the systems' backing directories go. */
  readonly dir: string;
  remove(): Promise<void>;
}

export async function makeBacking(
  kind: BackingKind,
  scratch: Scratch,
  slowDisk: number,
): Promise<BackingPlace> {
  const dir = scratch.directory(kind);
  if (kind === "disk") return { dir, remove: async () => undefined };
  if (kind === "memory") {
    await command(["mount", "-t", "tmpfs", "-o", "mode=755,size=90%", "tmpfs", dir]);
    return { dir, remove: async () => void (await command(["umount", dir])) };
  }
  return slowDevice(scratch, dir, slowDisk);
}

/**
 * ext4 on a loop device over a file in memory, behind a FUSE mount that lets each read, write and flush wait. The loop device
 * reads and writes it with O_DIRECT: only so do its requests overlap, and nothing is cached below ext4.
 */
async function slowDevice(scratch: Scratch, dir: string, mebibytes: number): Promise<BackingPlace> {
  const [store, device] = [scratch.directory("slow-store"), scratch.directory("slow-device")];
  await command(["mount", "-t", "tmpfs", "-o", "mode=755,size=90%", "tmpfs", store]);
  const image = openSync(`${store}/disk`, "w");
  ftruncateSync(image, mebibytes * 2 ** 20);
  closeSync(image);
  const waiting = ["--nowriteback", "--threads", SLOW_THREADS, "--delay-us", SLOW_DELAY_US];
  const argv = [floorProgram(), store, device, ...waiting, "--bandwidth", SLOW_BANDWIDTH];
  const pid = await scratch.serve(argv.map(String), device);
  const made = await command(["losetup", "--find", "--show", "--direct-io=on", `${device}/disk`]);
  const loop = made.trim();
  // Whatever ext4 would do later in the background is done now.
  await command([
    "mkfs.ext4",
    "-q",
    "-m",
    "0",
    "-E",
    "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
    loop,
  ]);
  await command(["mount", loop, dir]);
  return {
    dir,
    async remove() {
      await command(["umount", dir]);
      await command(["losetup", "-d", loop]);
      // A detached loop device lets go of its file a moment later.
      await command(["umount", "-l", device]);
      await scratch.ended([pid]);
      await command(["umount", "-l", store]);
    },
  };
}
