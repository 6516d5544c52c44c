/** The snapshot commands against the stand-in, with state of their own; gone when the test ends. */

import { type ChildProcess, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { Test } from "tap";
import { BLOCK } from "./ebs-snapshots.js";
import { EbsStandin } from "./ebs-standin.js";
import { type Outcome, runKmsfs, Scratch, spawnKmsfs } from "./run-kmsfs.js";

export class SnapshotFixture {
  readonly scratch = new Scratch();
  readonly env: Record<string, string>;

  private constructor(readonly ebs: EbsStandin) {
    this.env = {
      ...this.scratch.environment(),
      ...ebs.environment(),
      KMSFS_STATE: this.scratch.file("state"),
      KMSFS_RUN: this.scratch.file("run"),
      KMSFS_LOG: this.scratch.file("log"),
    };
  }

  static async make(t: Test): Promise<SnapshotFixture> {
    const fixture = new SnapshotFixture(await EbsStandin.start());
    t.teardown(async () => {
      await fixture.ebs.stop();
      fixture.scratch.remove();
    });
    return fixture;
  }

  run(...args: string[]): Promise<Outcome> {
    return runKmsfs(["snapshot", ...args], this.env);
  }

  /** A new directory. */
  directory(name: string): string {
    const path = this.scratch.file(name);
    mkdirSync(path);
    return path;
  }

  listed(dir: string): string[] {
    return readdirSync(dir);
  }

  /** Shows a snapshot as an image; unmounted when the test ends. */
  async mount(t: Test, snapshot: string, ...more: string[]): Promise<{ dir: string; log: () => string }> {
    const dir = this.directory("shown");
    t.teardown(() => spawnSync("umount", ["-i", "-l", dir]));
    const outcome = await this.run("mount", snapshot, dir, ...more);
    if (outcome.code !== "Ok") throw new Error(outcome.stderr);
    return { dir, log: () => readFileSync(this.scratch.file(`log/${snapshot}.log`), "utf8") };
  }

  runWith(env: Record<string, string>, ...args: string[]): Promise<Outcome> {
    return runKmsfs(["snapshot", ...args], env);
  }

  /** The command as a process to be killed or interrupted. */
  spawn(...args: string[]): ChildProcess {
    return spawnKmsfs(["snapshot", ...args], this.env);
  }

  /** Runs a command that must succeed, and gives what `--json` says. */
  async json<T>(...args: string[]): Promise<T> {
    const outcome = await this.run(...args, "--json");
    if (outcome.code !== "Ok") throw new Error(`snapshot ${args.join(" ")}: ${outcome.stderr}`);
    return JSON.parse(outcome.stdout) as T;
  }

  /** An image of blocks: random ones, "zero" ones, and what is given. Its end may lie within a block. */
  image(name: string, blocks: readonly ("random" | "zero" | Buffer)[], cut = 0): string {
    const contents = Buffer.concat(
      blocks.map((block) => {
        if (block === "zero") return Buffer.alloc(BLOCK);
        return block === "random" ? randomFillSync(Buffer.alloc(BLOCK)) : block;
      }),
    );
    const path = this.scratch.file(name);
    writeFileSync(path, contents.subarray(0, contents.length - cut));
    return path;
  }

  /** Whether a snapshot's blocks are the image's, as the stand-in has them; a second opinion on the command's own. */
  holds(snapshot: string, path: string): boolean {
    const image = readFileSync(path);
    const blocks = Math.ceil(image.length / BLOCK);
    const stored = this.ebs.snapshots.image(snapshot, blocks);
    return (
      stored.subarray(0, image.length).equals(image) &&
      stored.subarray(image.length).every((byte) => byte === 0)
    );
  }
}
