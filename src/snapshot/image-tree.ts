/** A directory with one file, the image of a snapshot's volume. */

import { FsError, type NodeStat, type ReadOnlyTree } from "../readonly-fuse/tree.js";
import type { EbsSource } from "./ebs-source.js";

export const IMAGE = "image";

const DIRECTORY = 0o040500;
const FILE = 0o100400;

export class ImageTree implements ReadOnlyTree {
  readonly #since = new Date();

  constructor(readonly source: EbsSource) {}

  get bytes(): number {
    return this.source.bytes;
  }

  async stat(path: string): Promise<NodeStat> {
    const times = { atime: this.#since, mtime: this.#since, ctime: this.#since };
    const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, rdev: 0 };
    if (path === "/") return { mode: DIRECTORY, size: 4096, blocks: 8, ino: 1, nlink: 2, ...owner, ...times };
    this.#mustBeImage(path);
    const size = this.source.bytes;
    return { mode: FILE, size, blocks: Math.ceil(size / 512), ino: 2, nlink: 1, ...owner, ...times };
  }

  async list(path: string): Promise<readonly string[]> {
    if (path !== "/") throw new FsError("ENOTDIR");
    return [IMAGE];
  }

  async readlink(): Promise<string> {
    throw new FsError("EINVAL");
  }

  async open(path: string): Promise<number> {
    this.#mustBeImage(path);
    return 0;
  }

  read(_handle: number, offset: number, length: number): Promise<Buffer> {
    return this.source.read(BigInt(offset), length);
  }

  async release(): Promise<void> {}

  async xattrs(): Promise<ReadonlyMap<string, Buffer>> {
    return new Map();
  }

  #mustBeImage(path: string): void {
    if (path !== `/${IMAGE}`) throw new FsError("ENOENT");
  }
}
