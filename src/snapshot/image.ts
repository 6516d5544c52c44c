/** The image that a snapshot is made of: a block device, or a file that stands for one. */

import { readFileSync } from "node:fs";
import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { BLOCK_BYTES, blockCount, MAX_VOLUME_GIB, volumeGib } from "./blocks.js";

const SECTOR = 512;

/** "major:minor" as /proc/self/mountinfo and /sys/dev/block write it (gnu_dev_major(3)). */
export function deviceNumber(rdev: number): string {
  const number = BigInt(rdev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn);
  const minor = (number & 0xffn) | ((number >> 12n) & ~0xffn);
  return `${major}:${minor & 0xffffffffn}`;
}

/** The size of a block device in bytes, from sysfs, which counts in sectors of 512 whatever the device's own are. */
export function deviceBytes(device: string): number {
  return Number(readFileSync(`/sys/dev/block/${device}/size`, "utf8")) * SECTOR;
}

export class Image {
  private constructor(
    /** resolved */
    readonly path: string,
    readonly bytes: number,
    /** "major:minor" of a block device */
    readonly device: string | undefined,
    readonly handle: FileHandle,
  ) {}

  /** Throws UserError (Usage, Privilege) for what is no image, is empty, or larger than a volume can be. */
  static async open(path: string): Promise<Image> {
    let handle: FileHandle | undefined;
    try {
      const real = await realpath(path);
      const facts = await stat(real);
      if (!facts.isFile() && !facts.isBlockDevice()) {
        throw new UserError(
          "Usage",
          `${path} is neither a block device nor an image file`,
          "name one of them",
        );
      }
      handle = await open(real, "r");
      const device = facts.isBlockDevice() ? deviceNumber(facts.rdev) : undefined;
      const bytes = device === undefined ? facts.size : deviceBytes(device);
      if (bytes === 0)
        throw new UserError("Usage", `${path} is empty`, "name a device or an image with contents");
      if (volumeGib(bytes) > MAX_VOLUME_GIB) {
        throw new UserError("Usage", `${path} is larger than 64 TiB`, "no EBS volume is that large");
      }
      return new Image(real, bytes, device, handle);
    } catch (error) {
      await handle?.close();
      if (error instanceof UserError) throw error;
      const denied = errnoOf(error) === "EACCES" || errnoOf(error) === "EPERM";
      const hint = denied ? "run as root" : "check the path";
      throw new UserError(
        denied ? "Privilege" : "Usage",
        `${path} cannot be opened: ${messageOf(error)}`,
        hint,
      );
    }
  }

  /** How many blocks of 512 KiB it has; the last may be a part of one. */
  get blocks(): number {
    return blockCount(this.bytes);
  }

  /** The block, zeros where it lies behind the end of the image. Throws UserError (Backing) on I/O errors. */
  async block(index: number): Promise<Buffer> {
    const block = Buffer.alloc(BLOCK_BYTES);
    const wanted = Math.max(0, Math.min(BLOCK_BYTES, this.bytes - index * BLOCK_BYTES));
    let filled = 0;
    try {
      while (filled < wanted) {
        const { bytesRead } = await this.handle.read(
          block,
          filled,
          wanted - filled,
          index * BLOCK_BYTES + filled,
        );
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
    } catch (error) {
      throw new UserError(
        "Backing",
        `${this.path}, block ${index}: ${messageOf(error)}`,
        "see the kernel's log",
      );
    }
    if (filled < wanted) {
      throw new UserError("Backing", `${this.path} became shorter while it was read`, "run it again");
    }
    return block;
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}
