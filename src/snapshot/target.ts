/**
 * What a snapshot is restored to. Nothing half-written can be taken for whole: a file gets its name when it is finished,
 * a device its first block.
 */

import { spawnSync } from "node:child_process";
import { constants, type FileHandle, open, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { BLOCK_BYTES, GIB, isZero } from "./blocks.js";
import { deviceBytes, deviceNumber } from "./image.js";

export interface Target {
  readonly path: string;
  /** Writes a block; zeros need not be written. */
  write(index: number, block: Buffer): Promise<void>;
  /** Everything is written: flushes, and makes it valid. */
  finish(): Promise<void>;
  /** Leaves nothing that could be taken for whole. */
  abandon(): Promise<void>;
}

export interface TargetRequest {
  readonly path: string;
  readonly volumeGib: number;
  /** what the image had, when it is known */
  readonly bytes: number | undefined;
  /** overwrite what is there */
  readonly force: boolean;
}

const unfit = (what: string, hint: string) => new UserError("SnapshotTarget", what, hint);

/** Throws UserError (SnapshotTarget, Privilege) and changes nothing then. */
export async function openTarget(request: TargetRequest): Promise<Target> {
  const { path, force } = request;
  const facts = await stat(path).catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw unfit(`${path}: ${messageOf(error)}`, "check the path");
  });
  if (facts?.isBlockDevice()) return DeviceTarget.open(request, deviceNumber(facts.rdev));
  if (facts !== undefined && !facts.isFile()) {
    throw unfit(
      `${path} is neither a block device nor a file`,
      "name a device, or a file that does not exist yet",
    );
  }
  if (facts !== undefined && facts.size > 0 && !force) {
    throw unfit(`${path} is not empty`, "name another file, or give --force to replace it");
  }
  return FileTarget.open(request);
}

class FileTarget implements Target {
  private constructor(
    readonly path: string,
    readonly part: string,
    readonly handle: FileHandle,
    readonly bytes: number,
  ) {}

  static async open({ path, volumeGib, bytes = volumeGib * GIB }: TargetRequest): Promise<FileTarget> {
    const part = `${path}.restoring`;
    try {
      await rm(part, { force: true });
      const handle = await open(part, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      await handle.truncate(bytes);
      return new FileTarget(path, part, handle, bytes);
    } catch (error) {
      throw unfit(`${part} cannot be made: ${messageOf(error)}`, "check the directory and the space there");
    }
  }

  async write(index: number, block: Buffer): Promise<void> {
    const room = this.bytes - index * BLOCK_BYTES;
    if (room <= 0 || isZero(block)) return;
    await writeAt(
      this.handle,
      this.part,
      block.subarray(0, Math.min(room, block.length)),
      index * BLOCK_BYTES,
    );
  }

  async finish(): Promise<void> {
    await this.handle.sync();
    await this.handle.close();
    await rename(this.part, this.path);
    const dir = await open(dirname(await realpath(this.path)), "r");
    await dir.sync().finally(() => dir.close());
  }

  async abandon(): Promise<void> {
    await this.handle.close().catch(() => undefined);
    await rm(this.part, { force: true });
  }
}

class DeviceTarget implements Target {
  #first: Buffer | undefined;

  private constructor(
    readonly path: string,
    readonly handle: FileHandle,
  ) {}

  static async open({ path, volumeGib, force }: TargetRequest, device: string): Promise<DeviceTarget> {
    const bytes = deviceBytes(device);
    if (bytes < volumeGib * GIB) {
      throw unfit(
        `${path} has ${bytes} bytes, the snapshot's volume ${volumeGib} GiB`,
        "name a larger device",
      );
    }
    const looked = await openAlone(path);
    try {
      const empty = await looksEmpty(looked, bytes);
      if (!empty && !force) {
        throw unfit(
          `${path} is not empty`,
          "check that it is the right one, and give --force to overwrite it",
        );
      }
      if (!empty) await wipeEnds(looked, path, bytes);
    } finally {
      await looked.close();
    }
    zeroAll(path);
    return new DeviceTarget(path, await openAlone(path));
  }

  async write(index: number, block: Buffer): Promise<void> {
    if (index === 0) this.#first = block;
    else if (!isZero(block)) await writeAt(this.handle, this.path, block, index * BLOCK_BYTES);
  }

  /** With its first block it becomes what it was: no superblock or partition table stands in it before. */
  async finish(): Promise<void> {
    await this.handle.sync();
    if (this.#first !== undefined) await writeAt(this.handle, this.path, this.#first, 0);
    await this.handle.sync();
    await this.handle.close();
  }

  async abandon(): Promise<void> {
    await this.handle.close().catch(() => undefined);
  }
}

/** O_EXCL on a block device: EBUSY when it is mounted or held by another driver (open(2)). */
async function openAlone(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_EXCL);
  } catch (error) {
    if (errnoOf(error) === "EBUSY") throw unfit(`${path} is in use`, "unmount it first");
    throw new UserError("Privilege", `${path} cannot be opened: ${messageOf(error)}`, "run as root");
  }
}

/** File systems, partition tables and RAID members have their signatures in the first or last MiB, as wipefs(8) knows. */
const ends = (bytes: number) =>
  [0, BLOCK_BYTES, bytes - 2 * BLOCK_BYTES, bytes - BLOCK_BYTES].map((at) => Math.max(0, at));

async function looksEmpty(handle: FileHandle, bytes: number): Promise<boolean> {
  for (const offset of ends(bytes)) {
    const block = Buffer.alloc(BLOCK_BYTES);
    await handle.read(block, 0, BLOCK_BYTES, offset);
    if (!isZero(block)) return false;
  }
  return true;
}

/** What was there is no file system any more, whatever happens next. */
async function wipeEnds(handle: FileHandle, path: string, bytes: number): Promise<void> {
  for (const offset of ends(bytes)) await writeAt(handle, path, Buffer.alloc(BLOCK_BYTES), offset);
  await handle.sync();
}

/**
 * Blocks that the snapshot does not have read as zeros. Without --force blkdiscard(8) holds the device alone itself: the
 * kernel refuses to zero one (EBUSY) that another descriptor holds, and whose pages are cached.
 */
function zeroAll(path: string): void {
  const { status, stderr } = spawnSync("blkdiscard", ["-z", path]);
  if (status === 0) return;
  const said = stderr?.toString().trim().split("\n").at(-1);
  throw unfit(`${path} cannot be zeroed: ${said || "blkdiscard of util-linux is needed"}`, "see dmesg");
}

async function writeAt(handle: FileHandle, path: string, data: Buffer, offset: number): Promise<void> {
  try {
    let written = 0;
    while (written < data.length) {
      const { bytesWritten } = await handle.write(data, written, data.length - written, offset + written);
      written += bytesWritten;
    }
  } catch (error) {
    const code = errnoOf(error) === "ENOSPC" || errnoOf(error) === "EDQUOT" ? "NoSpace" : "Backing";
    throw new UserError(
      code,
      `${path} cannot be written: ${messageOf(error)}`,
      "make room, and run it again",
    );
  }
}
