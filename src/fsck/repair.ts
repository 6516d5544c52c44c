/** Does what a finding says: each step whole or not at all, and noted in lost+found before it is done. */

import { type BigIntStats, constants, lstatSync } from "node:fs";
import { type FileHandle, lchown, open, rename } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "../errors.js";
import { typeOf } from "../reader/entry.js";
import { ACCESS_ACL, DEFAULT_ACL } from "../reader/inode.js";
import type { VolumeKeys } from "../reader/keys.js";
import { binding, openRecord } from "../reader/record.js";
import { BackingDirectory } from "./backing-directory.js";
import type { Action, Finding, Place } from "./finding.js";
import { type Kept, LostAndFound } from "./lost-found.js";
import { recordWithBindings, rootRecord } from "./record-bytes.js";
import { sealName } from "./seal-name.js";
import { copyTail } from "./tail.js";
import { removeXattr, replaceRecord } from "./xattr-write.js";

type Of<T extends Action["does"]> = Extract<Action, { does: T }>;
type OnVolume = Exclude<Action, { does: "copy-header" | "put-header-back" }>;

const NEW_ROOT_MODE = 0o700;

/** Something that is not there any more, or not what was looked at: another repair did it, or it went with its directory. */
class Changed extends Error {}

export class Repair {
  readonly lostAndFound: LostAndFound;

  /** Nobody else has the volume meanwhile. */
  constructor(
    private readonly backing: string,
    private readonly keys: VolumeKeys,
    private readonly uuid: Buffer,
  ) {
    this.lostAndFound = new LostAndFound(join(backing, ".kmsfs"));
  }

  /** Whether it was done: not where the place is another one now. Rejects with the system's errors. */
  async run(kind: Finding["kind"], action: OnVolume): Promise<boolean> {
    try {
      await this.#run(kind, action);
      return true;
    } catch (error) {
      if (error instanceof Changed || errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR")
        return false;
      throw error;
    }
  }

  async #run(kind: string, action: OnVolume): Promise<void> {
    const about = { kind, does: action.does, from: action.at.path.join("/"), ino: `${action.at.ino}` };
    const parent = await BackingDirectory.open(this.backing, action.at.path.slice(0, -1));
    try {
      const stats = parent.entry(action.at.path.at(-1));
      if (stats.ino !== action.at.ino) throw new Changed();
      await this.#step(about, action, parent, parent.at(action.at.path.at(-1)), stats);
    } finally {
      await parent.close();
    }
  }

  async #step(about: Kept, action: OnVolume, parent: BackingDirectory, path: Buffer, stats: BigIntStats) {
    switch (action.does) {
      case "set-aside":
        return this.#setAside(about, action, path);
      case "put-back":
        return this.#putBack(about, action, parent, path);
      case "rename":
        return this.#rename(about, action, parent, path, stats);
      case "write-record":
        await this.#note(about, action.was);
        return replaceRecord(path, typeOf(stats), action.record, action.was.length);
      case "new-root-record":
        return this.#rootRecord(about, action, path);
      case "set-attributes":
        return this.#attributes(about, action, path, stats);
      case "remove-xattr":
        await this.#note({ ...about, name: action.name }, action.value);
        return removeXattr(path, action.name);
      case "cut":
        return this.#cut(about, action, path);
      case "extend":
        await this.#note({ ...about, length: `${stats.size}` });
        return withFile(path, action.at, (file) => file.truncate(Number(action.length)));
    }
  }

  #note(kept: Kept, was?: Buffer): Promise<string> {
    return this.lostAndFound.note({ ...kept, was: was?.toString("base64") }, false);
  }

  async #setAside(about: Kept, { record }: Of<"set-aside">, path: Buffer): Promise<void> {
    const item = await this.lostAndFound.note({ ...about, record: record?.toString("base64") }, true);
    await rename(path, item);
  }

  async #putBack(
    about: Kept,
    { to, at }: Of<"put-back">,
    parent: BackingDirectory,
    path: Buffer,
  ): Promise<void> {
    const there = await BackingDirectory.open(this.backing, to.slice(0, -1));
    try {
      const [stored, target] = [`${at.path.at(-1)}`, `${to.at(-1)}`];
      if (there.has(target)) throw new Changed();
      await this.#note({ ...about, to: to.join("/") });
      const sidecar = `${stored}.name`;
      if (parent.has(sidecar) && !there.has(`${target}.name`))
        await rename(parent.at(sidecar), there.at(`${target}.name`));
      await rename(path, there.at(target));
    } finally {
      await there.close();
    }
  }

  /** As the engine renames: the record knows the new name before it is there, and forgets the old one afterwards. */
  async #rename(
    about: Kept,
    action: Of<"rename">,
    parent: BackingDirectory,
    path: Buffer,
    stats: BigIntStats,
  ) {
    const stored = `${action.at.path.at(-1)}`;
    const name = `recovered.${stored.replace(/^~/, "").slice(0, 43)}`;
    const fresh = sealName(this.keys, action.directoryId, Buffer.from(name));
    if (parent.has(fresh)) throw new Changed();
    const [old, wanted] = [stored, fresh].map((each) => binding(this.keys, action.directoryId, each));
    const others = openRecord(this.keys, action.record).bindings.filter((held) => old?.equals(held) !== true);
    const without =
      wanted === undefined ? others : [...others.filter((held) => !held.equals(wanted)), wanted];
    const withBoth = old === undefined ? without : [...without, old];
    const type = typeOf(stats);
    await this.#note({ ...about, to: [...action.at.path.slice(0, -1), fresh].join("/") }, action.record);
    const before = recordWithBindings(this.keys, action.record, withBoth);
    const after = recordWithBindings(this.keys, action.record, without);
    await replaceRecord(path, type, before, action.record.length);
    await rename(path, parent.at(fresh));
    await replaceRecord(parent.at(fresh), type, after, before.length);
  }

  async #rootRecord(about: Kept, { was }: Of<"new-root-record">, path: Buffer): Promise<void> {
    await this.#note(about, was);
    // The old owner, mode and ACLs are whoever's who took the record away.
    for (const acl of [ACCESS_ACL, DEFAULT_ACL]) await removeXattr(path, acl);
    const record = rootRecord(this.keys, this.uuid, NEW_ROOT_MODE);
    const root = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await root.chown(0, 0);
      await root.chmod(NEW_ROOT_MODE);
    } finally {
      await root.close();
    }
    await replaceRecord(path, "directory", record, was?.length ?? 0);
    await removeXattr(path, "user.kmsfs.new");
  }

  async #attributes(about: Kept, { attributes }: Of<"set-attributes">, path: Buffer, stats: BigIntStats) {
    const was = { mode: Number(stats.mode & 0o7777n), uid: Number(stats.uid), gid: Number(stats.gid) };
    await this.#note({ ...about, ...was });
    const { mode, uid, gid } = attributes;
    // Owner first: a change of owner takes set-id bits away.
    if (was.uid !== uid || was.gid !== gid) await lchown(path, uid, gid);
    if (stats.isSymbolicLink() || !(stats.isFile() || stats.isDirectory() || stats.isFIFO())) return;
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
    const file = await open(path, flags);
    try {
      if ((await file.stat({ bigint: true })).ino !== stats.ino) throw new Changed();
      await file.chmod(mode);
    } finally {
      await file.close();
    }
  }

  async #cut(about: Kept, { length, at }: Of<"cut">, path: Buffer): Promise<void> {
    await withFile(path, at, async (file) => {
      const item = await this.lostAndFound.note({ ...about, length: `${length}` }, true);
      await copyTail(file, length, item);
      await file.truncate(Number(length));
      await file.sync();
    });
  }
}

/** Runs `work` with the regular file at a place, which is no other one. */
async function withFile(
  path: Buffer,
  { ino }: Place,
  work: (file: FileHandle) => Promise<void>,
): Promise<void> {
  if (!lstatSync(path).isFile()) throw new Changed();
  const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if ((await file.stat({ bigint: true })).ino !== ino) throw new Changed();
    await work(file);
  } finally {
    await file.close();
  }
}
