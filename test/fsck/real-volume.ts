/** A volume that the engine wrote, and ways to damage it from outside. */

import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Test } from "tap";
import { TestVolume } from "../support/test-volume.js";
import { describeTree, writeTree } from "../support/tree.js";
import { byInode, copy, flip, removeXattr } from "../tamper/backing.js";

const LONG = "n".repeat(255);

export class RealVolume {
  /** Stored place of each name. */
  #places = new Map<string, string>();
  tree: string[] = [];

  private constructor(readonly volume: TestVolume) {}

  /** Filled, and not mounted. */
  static async make(t: Test): Promise<RealVolume> {
    const real = new RealVolume(await TestVolume.make(t, ["--log-segment-size", "4"]));
    const { volume } = real;
    await volume.up(t);
    writeTree(volume.dir);
    for (const name of ["spoilt", "moved", "unrecorded"])
      writeFileSync(volume.at("texts", name), `a file ${name}`);
    mkdirSync(volume.at("lost directory"));
    writeFileSync(volume.at("lost directory", "inside"), "inside");
    symlinkSync("far/".repeat(700), volume.at("far"));
    real.tree = describeTree(volume.dir);
    const mounted = byInode(volume.dir);
    await volume.down(t);
    const stored = byInode(volume.backing);
    real.#places = new Map([...mounted].map(([ino, name]) => [name, stored.get(ino) ?? ""]));
    copy(volume.backing, volume.scratch.file("pristine"));
    return real;
  }

  at(name: string): string {
    const place = this.#places.get(name);
    if (place === undefined) throw new Error(`there is no ${name}`);
    return join(this.volume.backing, place);
  }

  control(...names: string[]): string {
    return join(this.volume.backing, ".kmsfs", ...names);
  }

  /** Something of everything that a repair does. */
  damage(): void {
    flip(this.at("texts/spoilt"), 200);
    removeXattr(this.at("texts/unrecorded"), "user.kmsfs");
    removeXattr(this.at("lost directory"), "user.kmsfs");
    const moved = this.at("texts/moved");
    renameSync(moved, join(this.volume.backing, moved.replace(/.*\//, "")));
    unlinkSync(`${this.at(`texts/${LONG}`)}.name`);
    unlinkSync(this.at("far"));
    writeFileSync(join(dirname(moved), ".t-000102030405060708090a0b"), "unfinished");
    writeFileSync(join(this.volume.backing, "garbage.txt"), "garbage");
    truncateSync(this.at("texts/one level down/and one more/text file number 9.txt"), 2 ** 20);
    truncateSync(this.control("volume.json.bak"), 10);
  }

  /** As it was when it was made; the inodes are others. */
  restore(): void {
    const { backing, scratch } = this.volume;
    rmSync(backing, { recursive: true });
    copy(scratch.file("pristine"), backing);
  }

  /** Lines of `describeTree` that do not tell of what `damage` took; a lost name is told by what stands under it. */
  whole(lines: readonly string[]): string[] {
    return lines
      .filter((line) => !/^(texts\/(spoilt|unrecorded) |lost directory|far )/.test(line))
      .map((line) => line.replace(/^texts\/(n{255}|recovered\.\S+) /, "texts/LONG "))
      .sort();
  }
}

/** What `damage` comes to. */
export const KINDS = [
  "directory-id",
  "garbage",
  "header",
  "header-copy",
  "name-lost",
  "record",
  "target-sidecar",
  "temporary",
  "too-long",
  "wrong-place",
];
