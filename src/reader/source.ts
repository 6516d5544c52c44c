import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  read,
  readSync,
} from "node:fs";
import { DamageError } from "./errors.js";

/**
 * Random access to the bytes of one backing file, wherever they are kept. Offsets and lengths in bytes. The contents
 * are an adversary's: whoever reads authenticates.
 */
export interface BlockSource {
  /** Physical length of the backing file. */
  length(): Promise<bigint>;
  /** The bytes from `offset` on: fewer than `length`, or none, where the file ends before. Rejects on I/O errors. */
  read(offset: bigint, length: number): Promise<Buffer>;
}

/** A file of a mounted file system. `close` it. */
export class LocalSource implements BlockSource {
  readonly stats: BigIntStats;
  readonly #fd: number;

  /** Opens a regular file, and that alone: a symlink or a device that stands there is a DamageError. */
  constructor(path: string | Buffer) {
    // Looked at before it is opened: the opening of a device can act on it.
    if (!lstatSync(path).isFile()) throw new DamageError("type", "what should be a regular file is none");
    this.#fd = openSync(
      path,
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY,
    );
    this.stats = fstatSync(this.#fd, { bigint: true });
  }

  async length(): Promise<bigint> {
    return this.stats.size;
  }

  async read(offset: bigint, length: number): Promise<Buffer> {
    return this.readSync(offset, length);
  }

  readSync(offset: bigint, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const count = readSync(this.#fd, bytes, filled, length - filled, offset + BigInt(filled));
      if (count === 0) break;
      filled += count;
    }
    return bytes.subarray(0, filled);
  }

  /** As `read`, in libuv's thread pool: others go on meanwhile. */
  async readAside(offset: bigint, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const count = await readAt(this.#fd, bytes, filled, offset + BigInt(filled));
      if (count === 0) break;
      filled += count;
    }
    return bytes.subarray(0, filled);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function readAt(fd: number, bytes: Buffer, at: number, position: bigint): Promise<number> {
  return new Promise((done, failed) =>
    read(fd, bytes, at, bytes.length - at, position, (error, count) => (error ? failed(error) : done(count))),
  );
}

/** The whole of a small regular file; undefined when it has more than `limit` bytes. */
export function readSmallFile(path: string | Buffer, limit: number): Buffer | undefined {
  const source = new LocalSource(path);
  try {
    return source.stats.size > BigInt(limit) ? undefined : source.readSync(0n, limit);
  } finally {
    source.close();
  }
}
