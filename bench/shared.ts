/** What rows unpack or clone: made once, on the disk of the run, when the first row asks for it. */

import { existsSync } from "node:fs";
import { homedir } from "node:os";
import type { Shared } from "./rows/row.js";
import { command } from "./support/command.js";
import { CHECKOUT, load } from "./support/programs.js";
import type { Scratch } from "./support/scratch.js";

export class SharedThings implements Shared {
  readonly #scratch: Scratch;
  readonly #made = new Map<string, Promise<string>>();

  constructor(scratch: Scratch) {
    this.#scratch = scratch;
  }

  #once(name: string, make: (path: string) => Promise<unknown>): Promise<string> {
    const path = `${this.#scratch.directory("shared")}/${name}`;
    const made = this.#made.get(name) ?? make(path).then(() => path);
    this.#made.set(name, made);
    return made;
  }

  /** The sources of the engine's dependencies as cargo has them, or the npm packages of the checkout. */
  sourceTar(files: number): Promise<string> {
    const cargo = `${homedir()}/.cargo/registry/src`;
    const tree = existsSync(cargo) ? cargo : `${CHECKOUT}/node_modules`;
    const script = 'cd "$1" && find . -type f | LC_ALL=C sort | head -n "$2" | tar -cf "$3" -T -';
    return this.#once(`source-${files}.tar`, (path) =>
      command(["sh", "-c", script, "sh", tree, `${files}`, path]),
    );
  }

  smallFilesTar(files: number): Promise<string> {
    return this.#once(`small-${files}.tar`, async (path) => {
      const tree = this.#scratch.directory("shared", "small");
      await load(600, "create", `${tree}/tree`, "--files", files, "--size", 1500);
      await command(["tar", "-C", tree, "-cf", path, "tree"]);
      await command(["rm", "-rf", tree]);
    });
  }

  /** A bare clone: what is fetched from it does not change while the benchmark runs. */
  repository(): Promise<string> {
    return this.#once("repository.git", (path) =>
      command(["git", "-c", "safe.directory=*", "clone", "-q", "--bare", "--no-hardlinks", CHECKOUT, path]),
    );
  }
}
