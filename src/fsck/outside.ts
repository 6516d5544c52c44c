/** Records of what the tree does not lead to: below a directory whose id is lost, and in lost+found. */

import { type BigIntStats, closeSync, constants, lstatSync, openSync, readdirSync } from "node:fs";
import { idText } from "../reader/bytes.js";
import { recordOf, throughDescriptor, typeOf } from "../reader/entry.js";
import { collect, systemCode } from "../reader/errors.js";
import type { Volume } from "../reader/volume.js";
import { XattrTree } from "../reader/xattrs.js";

/** getfattr is started anew below a path this long, well before it meets PATH_MAX. In bytes. */
const LONG_PATH = 2048;

export class Outside {
  /** Ids of symlinks: the sidecars of their targets have an owner. */
  readonly symlinks = new Set<string>();
  /** Inodes with a name there. */
  readonly inodes = new Set<bigint>();

  constructor(private readonly volume: Volume) {}

  /** Everything below the directory at `path`; itself too. What cannot be read is passed over. */
  async below(path: string | Buffer): Promise<void> {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    let fd: number;
    try {
      fd = openSync(path, flags);
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      return;
    }
    try {
      await this.#contents(fd, await XattrTree.load(throughDescriptor(fd)), "");
    } finally {
      closeSync(fd);
    }
  }

  /** One inode. */
  seen(stats: BigIntStats): void {
    this.inodes.add(stats.ino);
  }

  async #contents(fd: number, xattrs: XattrTree, prefix: string): Promise<void> {
    for (const name of readdirSync(throughDescriptor(fd), "latin1")) {
      const path = Buffer.from(`${throughDescriptor(fd)}/${name}`, "latin1");
      const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
      if (stats === undefined || stats.dev !== this.volume.rootStats.dev) continue;
      this.seen(stats);
      if (stats.isDirectory()) await this.#directory(path, xattrs, `${prefix}${name}/`);
      if (!stats.isSymbolicLink()) continue;
      const record = collect([], () => recordOf(this.volume, typeOf(stats), xattrs.get(prefix + name)));
      if (record) this.symlinks.add(idText(record.id));
    }
  }

  async #directory(path: Buffer, xattrs: XattrTree, prefix: string): Promise<void> {
    if (prefix.length >= LONG_PATH) return this.below(path);
    let fd: number | undefined;
    try {
      fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      await this.#contents(fd, xattrs, prefix);
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }
}
