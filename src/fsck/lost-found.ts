/**
 * `.kmsfs/lost+found/<date>-<n>/`: what repairs took out of a volume, one directory for each repair. Its manifest has a line
 * of JSON for each thing, written and flushed before the thing is done, so that mv(1) can undo it. All names are those in
 * the backing directory: nothing is told that was sealed.
 */

import { constants } from "node:fs";
import { lstat, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, UserError } from "../errors.js";
import { syncDirectory } from "../volume/store.js";

export const LOST_AND_FOUND = "lost+found";
export const MANIFEST = "manifest.jsonl";

/** A line of the manifest. */
export interface Kept {
  readonly kind: string;
  readonly does: string;
  /** Place in the backing directory, its bytes as latin1 */
  readonly from: string;
  readonly to?: string | undefined;
  readonly ino?: string | undefined;
  /** Bytes that are replaced or removed: a record, an attribute's value. base64 */
  readonly was?: string | undefined;
  /** Of an attribute */
  readonly name?: string | undefined;
  readonly [more: string]: string | number | undefined;
}

export class LostAndFound {
  #directory: string | undefined;
  #items = 0;

  /** `control` is the volume's `.kmsfs`. */
  constructor(private readonly control: string) {}

  /** Where things of this repair are; undefined as long as there is none. */
  get directory(): string | undefined {
    return this.#directory;
  }

  /** Notes what is about to be done. With `item` there is room for a thing under the name returned. */
  async note(kept: Kept, item: boolean): Promise<string> {
    const directory = await this.#made();
    if (item) this.#items += 1;
    const name = `${this.#items}`.padStart(6, "0");
    const line = { time: new Date().toISOString(), ...(item && { item: name }), ...kept };
    const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
    const manifest = await open(join(directory, MANIFEST), flags, 0o600);
    try {
      await manifest.writeFile(`${JSON.stringify(line)}\n`);
      await manifest.sync();
    } finally {
      await manifest.close();
    }
    return join(directory, name);
  }

  async flush(): Promise<void> {
    if (this.#directory !== undefined) await syncDirectory(this.#directory);
  }

  async #made(): Promise<string> {
    if (this.#directory !== undefined) return this.#directory;
    const all = join(this.control, LOST_AND_FOUND);
    await mkdir(all, { mode: 0o700 }).catch((error: unknown) => {
      if (errnoOf(error) !== "EEXIST") throw error;
    });
    if (!(await lstat(all)).isDirectory())
      throw new UserError(
        "Backing",
        `${all} is no directory`,
        "move it away: fsck keeps there what it takes out",
      );
    const date = new Date().toISOString().slice(0, 10);
    for (let n = 1; ; n++) {
      const directory = join(all, `${date}-${n}`);
      try {
        await mkdir(directory, { mode: 0o700 });
      } catch (error) {
        if (errnoOf(error) === "EEXIST") continue;
        throw error;
      }
      await syncDirectory(all);
      await syncDirectory(this.control);
      this.#directory = directory;
      return directory;
    }
  }
}
