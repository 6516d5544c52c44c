/** A read-only file system, as fuse-native needs it: by path, every answer when it is ready. */

import { constants } from "node:os";

export interface NodeStat {
  /** type and permissions, as st_mode has them */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** bytes */
  readonly size: number;
  /** of 512 bytes, as st_blocks has them */
  readonly blocks: number;
  /** below 2^32; the same for two names of one inode alone */
  readonly ino: number;
  readonly nlink: number;
  readonly rdev: number;
  readonly atime: Date;
  readonly mtime: Date;
  readonly ctime: Date;
}

/** Refuses an operation with an errno of the system ("ENOENT"). */
export class FsError extends Error {
  constructor(readonly errno: keyof typeof constants.errno) {
    super(errno);
  }

  get status(): number {
    return -constants.errno[this.errno];
  }
}

/** Methods reject with FsError; anything else becomes EIO. */
export interface ReadOnlyTree {
  stat(path: string): Promise<NodeStat>;
  list(path: string): Promise<readonly string[]>;
  readlink(path: string): Promise<string>;
  /** A handle for `read` and `release`. */
  open(path: string): Promise<number>;
  /** Up to `length` bytes from `offset`, fewer at the end of the file alone. */
  read(handle: number, offset: number, length: number): Promise<Buffer>;
  release(handle: number): Promise<void>;
  xattrs(path: string): Promise<ReadonlyMap<string, Buffer>>;
  /** bytes in all, for statfs(2) */
  readonly bytes: number;
}
