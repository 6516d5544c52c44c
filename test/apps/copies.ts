/** What rsync, tar and cp have in common: a tree of everything goes to the mount and comes back the same. */

import type { Test } from "tap";
import { run } from "../support/programs.js";
import { AppVolume, allocated } from "./app-volume.js";
import { listTree, writeRichTree } from "./rich-tree.js";

/** The administrator makes backups. */
const ROOT = { uid: 0, gid: 0 };

export class Copies {
  private constructor(
    readonly app: AppVolume,
    /** The tree on the plain file system. */
    readonly original: string,
    /** Its copy on the mount. */
    readonly kept: string,
    /** The copy of that copy, on the plain file system again. */
    readonly returned: string,
    readonly expected: readonly string[],
  ) {}

  static async make(t: Test): Promise<Copies> {
    const app = await AppVolume.make(t, ROOT);
    const original = `${app.plain}/original`;
    await writeRichTree(original);
    return new Copies(app, original, `${app.dir}/kept`, `${app.plain}/returned`, await listTree(original));
  }

  /** Runs a program of the copying; what it printed. */
  run(argv: readonly string[], cwd = this.app.plain): Promise<string> {
    return run(argv, { cwd });
  }

  /** That a copy, or the original after changes, is what it should be: everything that list-tree.sh lists. */
  async same(t: Test, dir: string, what: string, expected = this.expected): Promise<void> {
    t.same(await listTree(dir), expected, what);
  }

  async remount(t: Test): Promise<void> {
    await this.app.volume.down(t);
    await this.app.mount(t);
  }

  /** Holes are not stored: they take no room, what is between them little. */
  sparse(t: Test, dir: string): void {
    for (const [name, most] of [
      ["hole", 100_000],
      ["islands", 1_000_000],
      ["empty", 100_000],
    ] as const) {
      const bytes = allocated(`${dir}/sparse/${name}`);
      t.ok(bytes <= most, `${name} takes ${bytes} bytes on the disk`);
    }
  }
}
