/** What of fuse-native 2 is used here; it has no types of its own. */
declare module "fuse-native" {
  /** Ends an operation: what it returns, and the memory of libfuse's that was lent for it. */
  export type Signal = (status: number, lent: ArrayBufferLike) => void;

  export interface Stat {
    mode: number;
    uid: number;
    gid: number;
    size: number;
    nlink: number;
    blocks: number;
    blksize: number;
    rdev: number;
    ino: number;
    atime: Date;
    mtime: Date;
    ctime: Date;
  }

  /** An errno, negative, or 0. */
  type Status = number;

  export interface Operations {
    getattr(path: string, done: (status: Status, stat?: Stat) => void): void;
    readdir(path: string, done: (status: Status, names?: string[]) => void): void;
    readlink(path: string, done: (status: Status, target?: string) => void): void;
    open(path: string, flags: number, done: (status: Status, handle?: number) => void): void;
    release(path: string, handle: number, done: (status: Status) => void): void;
    /** `done` is given the number of bytes read, or a negative errno */
    read(
      path: string,
      handle: number,
      buffer: Buffer,
      length: number,
      offset: number,
      done: (read: number, again?: number) => void,
    ): void;
    listxattr(path: string, done: (status: Status, names?: string[]) => void): void;
    getxattr(
      path: string,
      name: string,
      position: number,
      done: (status: Status, value?: Buffer) => void,
    ): void;
    statfs(path: string, done: (status: Status, statfs?: Record<string, number>) => void): void;
  }

  export interface Options {
    timeout?: false;
    allowOther?: boolean;
    defaultPermissions?: boolean;
    kernelCache?: boolean;
    entryTimeout?: number;
    attrTimeout?: number;
    fsname?: string;
  }

  export default class Fuse {
    constructor(mountPoint: string, operations: Operations, options: Options);
    mount(done: (error: Error | null) => void): void;
    readonly ops: Operations;
    /** called by the library, which has them on its prototype */
    _op_getxattr(signal: Signal, path: string, name: string, buffer: Buffer, position: number): void;
    _op_listxattr(signal: Signal, path: string, buffer: Buffer): void;
  }
}
