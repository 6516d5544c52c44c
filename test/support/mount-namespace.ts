/**
 * A mount namespace of a test's own, in which mount(8) finds the helpers of this checkout in /sbin and an /etc/fstab of the
 * test's. The machine's own files are not touched, and everything is gone with the last process in it.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Test } from "tap";
import { packageRoot } from "../../src/package-root.js";
import { planFiles } from "../../src/setup/plan.js";
import { kill, type TestVolume } from "./test-volume.js";
import { until } from "./until.js";

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const PREPARE = `set -e
# Copies of the mounts of tests that run at the same time: their umount would wait for this namespace.
findmnt -n -l -o TARGET -t fuse.kmsfs | while read -r copy; do umount -n -i -l "$copy"; done
mount -n -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$1/upper,workdir=$1/work" /usr/sbin
mount -n --bind "$1/fstab" /etc/fstab
mkdir -p /run/mount
mount -n -t tmpfs tmpfs /run/mount
touch "$1/ready"
exec sleep infinity`;

export class MountNamespace {
  readonly #volume: TestVolume;
  readonly #holder: ChildProcess;

  private constructor(volume: TestVolume, holder: ChildProcess) {
    this.#volume = volume;
    this.#holder = holder;
  }

  static async make(t: Test, volume: TestVolume): Promise<MountNamespace> {
    const place = volume.scratch.file("namespace");
    for (const name of ["upper", "work"]) mkdirSync(`${place}/${name}`, { recursive: true });
    writeFileSync(`${place}/fstab`, "");
    for (const file of planFiles({ prefix: "/usr", command: "/usr/bin/kmsfs", packageDir: packageRoot() })) {
      if ("link" in file) symlinkSync(file.link, join(place, "upper", basename(file.path)));
    }
    const args = ["-m", "--propagation", "private", "sh", "-c", PREPARE, "sh", place];
    const holder = spawn("unshare", args, { stdio: ["ignore", "ignore", "inherit"] });
    t.teardown(() => kill(holder.pid ?? 0));
    await until("the namespace is there", () => spawnSync("test", ["-e", `${place}/ready`]).status === 0);
    return new MountNamespace(volume, holder);
  }

  /** Lines for /etc/fstab. */
  fstab(...lines: string[]): void {
    writeFileSync(this.#volume.scratch.file("namespace/fstab"), lines.map((line) => `${line}\n`).join(""));
  }

  /** Runs a program in it, with the volume's environment and nothing else of ours. */
  run(program: string, ...args: string[]): Promise<Ran> {
    return this.#enter([program, ...args], this.#volume.env);
  }

  /** The same for a shell script; `args` are its $1, $2, ... */
  shell(script: string, ...args: string[]): Promise<Ran> {
    return this.run("sh", "-c", script, "sh", ...args);
  }

  #enter(command: readonly string[], environment: Readonly<Record<string, string>>): Promise<Ran> {
    const settings = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    const args = [`--mount=/proc/${this.#holder.pid}/ns/mnt`, "--", "env", "-i", ...settings, ...command];
    return new Promise((done, failed) => {
      const child = spawn("nsenter", args, { stdio: ["ignore", "pipe", "pipe"] });
      const said = { stdout: "", stderr: "" };
      for (const name of ["stdout", "stderr"] as const) {
        child[name].setEncoding("utf8").on("data", (text: string) => {
          said[name] += text;
        });
      }
      child.on("error", failed);
      child.on("close", (status) => done({ status, ...said }));
    });
  }
}
