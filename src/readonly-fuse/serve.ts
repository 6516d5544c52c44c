/** Serves a tree read-only through fuse-native and libfuse 2, in this process, until it is unmounted. */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type FuseNative from "fuse-native";
import type { Operations, Signal, Stat } from "fuse-native";
import { messageOf, UserError } from "../errors.js";
import { mountAt } from "../mount/mountinfo.js";
import { FsError, type NodeStat, type ReadOnlyTree } from "./tree.js";

/** What is served does not change: the kernel need not ask again. Seconds. */
const CACHED = 86_400;
const POLL_MS = 200;
const O_ACCMODE = 3;
const BLOCK = 4096;

export interface ServeOptions {
  readonly dir: string;
  /** what mount(8) shows as the source */
  readonly source: string;
  /** behind "fuse." in the type */
  readonly subtype: string;
  readonly allowOther: boolean;
}

export interface Served {
  /** Resolves when nothing of the mount is left. */
  readonly ended: Promise<void>;
}

/** Mounts and serves. Throws UserError. `dir` is absolute and resolved, an empty directory. */
export async function serve(tree: ReadOnlyTree, options: ServeOptions): Promise<Served> {
  const Fuse = withExactXattrs(await loadFuse());
  const fuse = new Fuse(options.dir, operations(tree), {
    // A block may come from afar; who fetches it has a deadline.
    timeout: false,
    allowOther: options.allowOther,
    defaultPermissions: true,
    kernelCache: true,
    entryTimeout: CACHED,
    attrTimeout: CACHED,
    fsname: mountOptions(options),
  });
  await new Promise<void>((done, failed) =>
    fuse.mount((error) => {
      if (error === null) done();
      else
        failed(
          new UserError("MountPoint", `${options.dir} cannot be mounted: ${messageOf(error)}`, "see dmesg"),
        );
    }),
  );
  const entry = mountAt(options.dir);
  if (entry === undefined)
    throw new UserError("MountPoint", `nothing was mounted on ${options.dir}`, "is /dev/fuse there?");
  return { ended: gone(options.dir, entry.device) };
}

/** fuse-native has no option for these: libfuse splits its list of options at every comma that is not escaped. */
function mountOptions({ source, subtype }: ServeOptions): string {
  const escaped = source.replace(/[\\,]/g, (c) => `\\${c}`);
  return [escaped, `subtype=${subtype}`, "ro", "nosuid", "nodev", "use_ino", "max_background=32"].join(",");
}

async function loadFuse(): Promise<typeof FuseNative> {
  try {
    return (await import("fuse-native")).default;
  } catch (error) {
    const message = messageOf(error);
    const hint = message.includes("libfuse.so.2")
      ? "install libfuse 2 (Debian: apt-get install libfuse2)"
      : "npm install fuse-native; it has no build for this machine's architecture but x86-64";
    throw new UserError("Unexpected", `fuse-native cannot be loaded: ${message.split("\n")[0]}`, hint);
  }
}

/** libfuse does not tell Node that the session has ended. With fusectl mounted, a lazy unmount is seen through to its end. */
async function gone(dir: string, device: string): Promise<void> {
  const control = `/sys/fs/fuse/connections/${device.split(":")[1]}`;
  const watched = existsSync(control);
  while (watched ? existsSync(control) : mountAt(dir)?.device === device) await pause(POLL_MS);
}

/**
 * Unmounts what is served here; false when it is in use. umount(8) looks at the mount, which only this process answers:
 * nothing may wait for it.
 */
export function unmount(dir: string): Promise<boolean> {
  return new Promise((done) => {
    const child = spawn("umount", ["-i", dir], { stdio: "ignore" });
    child.once("error", () => done(false));
    child.once("close", (status) => done(status === 0));
  });
}

function operations(tree: ReadOnlyTree): Operations {
  /** Answers with what `work` gives, or with its errno. */
  const answer = <T>(work: Promise<T>, done: (status: number, value?: T) => void): void => {
    work.then(
      (value) => done(0, value),
      (error: unknown) => done(statusOf(error)),
    );
  };
  return {
    getattr: (path, done) => answer(tree.stat(path).then(statFor), done),
    readdir: (path, done) =>
      answer(
        tree.list(path).then((names) => [...names]),
        done,
      ),
    readlink: (path, done) => answer(tree.readlink(path), done),
    open: (path, flags, done) => {
      if ((flags & O_ACCMODE) !== 0) done(new FsError("EROFS").status);
      else answer(tree.open(path), done);
    },
    release: (_path, handle, done) => answer(tree.release(handle), (status) => done(status)),
    read: (_path, handle, buffer, length, offset, done) => {
      tree.read(handle, offset, length).then(
        // libfuse takes the count as the operation's result; the second argument is what is copied.
        (data) => done(data.copy(buffer, 0, 0, length), data.length),
        (error: unknown) => done(statusOf(error)),
      );
    },
    listxattr: (path, done) =>
      answer(
        tree.xattrs(path).then((all) => [...all.keys()]),
        done,
      ),
    getxattr: (path, name, _position, done) =>
      answer(
        tree.xattrs(path).then((all) => {
          const value = all.get(name);
          if (value === undefined) throw new FsError("ENODATA");
          return value;
        }),
        done,
      ),
    statfs: (_path, done) =>
      done(0, { bsize: BLOCK, frsize: BLOCK, blocks: Math.ceil(tree.bytes / BLOCK), namemax: 255 }),
  };
}

/**
 * fuse-native 2.2 copies what fits of a value or a list and answers with the whole length: libfuse then sends what lies
 * behind its buffer. A buffer of no bytes asks for the length; one that is too small is ERANGE (getxattr(2)).
 */
function withExactXattrs(Fuse: typeof FuseNative): typeof FuseNative {
  const fill = (signal: Signal, buffer: Buffer, status: number, value: Buffer | undefined): void => {
    if (status !== 0 || value === undefined) signal(status, buffer.buffer);
    else if (buffer.length === 0) signal(value.length, buffer.buffer);
    else if (buffer.length < value.length) signal(new FsError("ERANGE").status, buffer.buffer);
    else signal(value.copy(buffer), buffer.buffer);
  };
  return class extends Fuse {
    override _op_getxattr(
      signal: Signal,
      path: string,
      name: string,
      buffer: Buffer,
      position: number,
    ): void {
      this.ops.getxattr(path, name, position, (status, value) => fill(signal, buffer, status, value));
    }

    override _op_listxattr(signal: Signal, path: string, buffer: Buffer): void {
      this.ops.listxattr(path, (status, names) =>
        fill(signal, buffer, status, names && Buffer.from(names.map((name) => `${name}\0`).join(""))),
      );
    }
  };
}

function statusOf(error: unknown): number {
  return (error instanceof FsError ? error : new FsError("EIO")).status;
}

function statFor(node: NodeStat): Stat {
  return { ...node, blksize: BLOCK };
}
