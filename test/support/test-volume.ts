/** A keyfile volume with a mount point, of real commands and a real engine; gone when the test ends, however it ends. */

import { type ChildProcess, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import type { Test } from "tap";
import type { MountStatus } from "../../src/mount/status.js";
import { type Outcome, runKmsfs, Scratch, spawnKmsfs } from "./run-kmsfs.js";

export class TestVolume {
  readonly scratch = new Scratch();
  readonly env: Record<string, string>;
  readonly dir: string;
  readonly keyfile: string;
  #backing: string;

  private constructor() {
    this.env = {
      ...this.scratch.environment(),
      KMSFS_RUN: this.scratch.file("run"),
      KMSFS_LOG: this.scratch.file("log"),
      ...(process.env.KMSFS_ENGINE ? { KMSFS_ENGINE: process.env.KMSFS_ENGINE } : {}),
    };
    this.dir = this.scratch.file("mnt");
    this.keyfile = this.scratch.file("key");
    this.#backing = this.scratch.file("backing");
    mkdirSync(this.dir);
  }

  /** A volume that is made and not mounted. `prepare` may put a file system under the backing directory first. */
  static async make(
    t: Test,
    initOptions: readonly string[] = [],
    prepare?: (v: TestVolume) => string,
  ): Promise<TestVolume> {
    const volume = TestVolume.bare(t);
    if (prepare !== undefined) volume.#backing = prepare(volume);
    const made = await volume.run("init", volume.backing, "--keyfile", volume.keyfile, ...initOptions);
    if (made.code !== "Ok") throw new Error(`init: ${made.stderr}`);
    return volume;
  }

  /** The same places without a volume. */
  static bare(t: Test): TestVolume {
    const volume = new TestVolume();
    t.teardown(() => volume.remove());
    return volume;
  }

  get backing(): string {
    return this.#backing;
  }

  run(...args: string[]): Promise<Outcome> {
    return runKmsfs(args, this.env);
  }

  /** A command as a process to be killed. */
  start(...args: string[]): ChildProcess {
    return spawnKmsfs(args, this.env);
  }

  mount(...more: string[]): Promise<Outcome> {
    return this.run("mount", this.backing, this.dir, ...more);
  }

  umount(...more: string[]): Promise<Outcome> {
    return this.run("umount", this.dir, ...more);
  }

  /** Mounts, or fails the test. */
  async up(t: Test, ...more: string[]): Promise<void> {
    const outcome = await this.mount(...more);
    if (outcome.code !== "Ok") throw new Error(`mount: ${outcome.stderr} ${this.logText()}`);
    t.pass("mounted");
  }

  /** Unmounts, or fails the test. */
  async down(t: Test): Promise<void> {
    const outcome = await this.umount();
    if (outcome.code !== "Ok") throw new Error(`umount: ${outcome.stderr} ${this.logText()}`);
    t.pass("unmounted");
  }

  async statuses(): Promise<MountStatus[]> {
    const outcome = await this.run("status", "--json");
    return (JSON.parse(outcome.stdout) as { mounts: MountStatus[] }).mounts.filter((mount) =>
      mount.dir.startsWith(this.scratch.path),
    );
  }

  async status(): Promise<MountStatus> {
    const [status] = await this.statuses();
    if (status === undefined) throw new Error("nothing is mounted");
    return status;
  }

  /** A path inside the mount. */
  at(...names: string[]): string {
    return [this.dir, ...names].join("/");
  }

  logText(): string {
    const { stdout } = spawnSync("sh", ["-c", 'cat "$1"/* 2>/dev/null', "sh", this.scratch.file("log")]);
    return stdout.toString();
  }

  async remove(): Promise<void> {
    for (const mount of await this.statuses().catch(() => [])) {
      for (const pid of [mount.daemonPid, mount.enginePid]) if (pid !== null) kill(pid);
    }
    for (const point of mountPointsBelow(this.scratch.path)) spawnSync("umount", ["-i", "-l", "-d", point]);
    this.scratch.remove();
  }
}

/** Innermost first. */
function mountPointsBelow(dir: string): string[] {
  const points = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "");
  return points.filter((point) => point.startsWith(`${dir}/`)).reverse();
}

/** SIGKILL; a process that is gone already is as good. */
export function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone.
  }
}
