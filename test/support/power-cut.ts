/**
 * A volume on a file system on a recorded disk (native/crash): what was written to it before a power cut is known in its
 * order, and so which states the cut could leave.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Test } from "tap";
import { remount } from "../../src/mount/remount.js";
import { type Problem, verify } from "../../src/reader/verify.js";
import { Volume } from "../../src/reader/volume.js";
import type { VolumeHeader } from "../../src/volume/header.js";
import { openVolume } from "../../src/volume/open.js";
import { kill, TestVolume } from "./test-volume.js";

/** Built by `cargo test --workspace`, which runs first in scripts/test.sh. */
const PROGRAM =
  process.env.KMSFS_CRASH ??
  join(dirname(fileURLToPath(import.meta.url)), "../../../native/target/debug/crash");

export type FileSystem = "ext4" | "xfs";

const ONLY = process.env.KMSFS_CRASH_FS;
/** Those that are to be tried. */
export const FILE_SYSTEMS = (["ext4", "xfs"] as const).filter((fs) => ONLY === undefined || ONLY === fs);

const MKFS: Record<FileSystem, { readonly size: string; readonly command: readonly string[] }> = {
  ext4: { size: "64M", command: ["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0"] },
  // The least that mkfs.xfs makes. It relies on sectors being written whole, and is told that they have 4096 bytes.
  xfs: { size: "300M", command: ["mkfs.xfs", "-q", "-f", "-K", "-s", "size=4096"] },
};
/** What a disk may tear a write into. */
const TEAR: Record<FileSystem, string> = { ext4: "512", xfs: "4096" };

/** Debian keeps what is needed out of the PATH of some shells. */
const ROOT_PATH = { env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` } };

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Settings {
  readonly fs: FileSystem;
  readonly init: readonly string[];
  readonly writeback: boolean;
}

/** How many workloads of up to three operations there are. */
export function workloads(): number {
  return Number(spawnSync(PROGRAM, ["count"]).stdout.toString());
}

export class PowerCut {
  readonly fs: FileSystem;
  readonly #writeback: boolean;
  #volume!: TestVolume;
  #loop = "";
  #recorder: ChildProcess | undefined;
  #header!: VolumeHeader;
  #key!: Buffer;

  private constructor({ fs, writeback }: Settings) {
    this.fs = fs;
    this.#writeback = writeback;
  }

  /** A volume, made and mounted on a disk that is recorded from before its file system was first mounted. */
  static async make(t: Test, settings: Settings): Promise<PowerCut> {
    const cut = new PowerCut(settings);
    cut.#volume = await TestVolume.make(t, settings.init, (volume) => {
      cut.#volume = volume;
      return cut.#prepare();
    });
    t.teardown(() => cut.remove());
    const { backing, keyfile } = cut.#volume;
    const opened = await openVolume(backing, { purpose: "read", keyfile, kmsTimeoutMs: 10_000 });
    cut.#header = opened.header;
    cut.#key = opened.dk;
    writeFileSync(cut.file("dk"), opened.dk);
    await opened.audit.close();
    cut.mark("made");
    await cut.mount();
    return cut;
  }

  get volume(): TestVolume {
    return this.#volume;
  }

  /** In memory, where images are made and gone in no time. */
  file(name: string): string {
    return this.#volume.scratch.file(`ram/${name}`);
  }

  get marks(): string {
    return this.#volume.scratch.file("recorded/marks");
  }

  #prepare(): string {
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: cargo test -p kmsfs-crash builds it`);
    const { scratch, env } = this.#volume;
    Object.assign(process.env, {
      KMSFS_RUN: env.KMSFS_RUN,
      KMSFS_ETC: env.KMSFS_ETC,
      KMSFS_LOG: env.KMSFS_LOG,
    });
    for (const dir of ["ram", "recorded", "disk", "state"]) mkdirSync(scratch.file(dir));
    must("mount", "-t", "tmpfs", "-o", "size=4g", "kmsfs-crash", scratch.file("ram"));
    const { size, command } = MKFS[this.fs];
    must("truncate", "-s", size, this.file("base"));
    must(...(command as [string, ...string[]]), this.file("base"));
    this.#record();
    must("mount", "-t", this.fs, this.#loop, scratch.file("disk"));
    return `${scratch.file("disk")}/volume`;
  }

  #record(): void {
    const { scratch } = this.#volume;
    const args = ["--base", this.file("base"), "--disk", this.file("disk"), "--record", this.file("record")];
    const log = this.file("recorder");
    const command = `exec "$@" >"${log}" 2>&1`;
    const at = scratch.file("recorded");
    this.#recorder = spawn("env", ["-i", "sh", "-c", command, "sh", PROGRAM, "record", ...args, "--at", at], {
      stdio: "ignore",
    });
    must(
      "sh",
      "-c",
      'for i in $(seq 3000); do grep -qs ready "$1" && exit; sleep 0.02; done; cat "$1" >&2; exit 1',
      "sh",
      log,
    );
    const disk = join(at, "disk");
    // Some kernels have no direct I/O to a file of FUSE: then its pages are written through.
    const direct = spawnSync("losetup", ["--direct-io=on", "--show", "-f", disk], ROOT_PATH);
    this.#loop =
      direct.status === 0 ? direct.stdout.toString().trim() : must("losetup", "--show", "-f", disk);
  }

  /** Something to find in the record, after what happened before. */
  mark(text: string): void {
    writeFileSync(this.marks, text);
  }

  async mount(): Promise<void> {
    const option = this.#writeback ? "writeback" : "nowriteback";
    const { code, stderr } = await this.#volume.mount("-o", option);
    if (code !== "Ok") throw new Error(`mount: ${stderr} ${this.#volume.logText()}`);
  }

  async umount(): Promise<void> {
    const { code, stderr } = await this.#volume.umount();
    if (code !== "Ok") throw new Error(`umount: ${stderr} ${this.#volume.logText()}`);
  }

  /** Does workloads in the mount. */
  async work(args: readonly string[]): Promise<Ran> {
    const places = [
      "--mount",
      this.#volume.dir,
      "--below",
      this.#volume.scratch.file("disk"),
      "--marks",
      this.marks,
    ];
    return this.#run(["work", ...places, ...args]);
  }

  /** Ends the recording. */
  async stop(): Promise<void> {
    await this.umount();
    must("umount", this.#volume.scratch.file("disk"));
    must("losetup", "-d", this.#loop);
    // Freed by the last who looks at it, udev for one.
    must(
      "sh",
      "-c",
      'for i in $(seq 3000); do umount "$1" && exit; sleep 0.02; done; exit 1',
      "sh",
      this.#volume.scratch.file("recorded"),
    );
    const recorder = this.#recorder;
    if (recorder !== undefined && recorder.exitCode === null) {
      await new Promise((done) => recorder.once("close", done));
    }
    if (recorder?.exitCode !== 0) throw new Error(`the recorder ended with ${recorder?.exitCode}`);
  }

  /** Goes through states that a power cut could have left. */
  async check(args: readonly string[]): Promise<Ran> {
    const { uuid, blockSize, log } = this.#header;
    const places = [
      "--record",
      this.file("record"),
      "--base",
      this.file("base"),
      "--image",
      this.file("state"),
    ];
    const volume = ["--key", this.file("dk"), "--uuid", uuid, "--shift", `${Math.log2(blockSize)}`];
    const segments = ["--segment-size", `${log.segmentSize}`, "--segments", `${log.segments}`];
    const mode = this.#writeback ? ["--writeback"] : [];
    const at = ["--at", this.#volume.scratch.file("state"), "--loop", this.#loop, "--fs", this.fs];
    return this.#run([
      "check",
      ...places,
      ...volume,
      ...segments,
      ...mode,
      ...at,
      "--tear",
      TEAR[this.fs],
      ...args,
    ]);
  }

  /**
   * Brings a disk into one state that a cut could have left, and its file system to where it was. `work` is told the
   * marks from before the cut, and how the state was made.
   */
  async inState(
    args: readonly string[],
    work: (marks: readonly string[], how: string) => Promise<void>,
  ): Promise<void> {
    const image = this.file("state");
    const places = ["--record", this.file("record"), "--base", this.file("base"), "--image", image];
    const { status, stdout, stderr } = await this.#run([
      "state",
      ...places,
      "--tear",
      TEAR[this.fs],
      ...args,
    ]);
    if (status !== 0) throw new Error(stderr);
    // The device that was recorded, unless somebody has taken it.
    const same = spawnSync("losetup", [this.#loop, image], ROOT_PATH).status === 0;
    const device = same ? this.#loop : must("losetup", "--show", "-f", image);
    const disk = this.#volume.scratch.file("disk");
    must("mount", "-t", this.fs, device, disk);
    await work(stdout.trim().split("\n"), stderr.trim());
    must("umount", disk);
    must("losetup", "-d", device);
  }

  async #run(args: readonly string[]): Promise<Ran> {
    // Away from tap's own instruments.
    const child = spawn("env", ["-i", `PATH=${ROOT_PATH.env.PATH}`, "RUST_BACKTRACE=1", PROGRAM, ...args], {
      stdio: "pipe",
    });
    let stderr = "";
    let stdout = "";
    child.stdin.on("error", () => undefined);
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const ended = new Promise<number | null>((done) => child.once("close", done));
    for await (const line of createInterface({ input: child.stdout })) {
      const answer = await this.#answer(line);
      if (answer === undefined) stdout += `${line}\n`;
      else child.stdin.write(`${answer}\n`);
    }
    return { status: await ended, stdout, stderr };
  }

  async #answer(line: string): Promise<string | undefined> {
    try {
      if (line === "verify") return await this.#verify();
      if (line === "checkpoint") {
        await remount(this.#volume.dir, { readOnly: true, kernelFlags: undefined });
        await remount(this.#volume.dir, { readOnly: false, kernelFlags: undefined });
      } else if (line === "remount") {
        await this.umount();
        await this.mount();
      } else return undefined;
      return "done";
    } catch (e) {
      return String(e).replaceAll("\n", " ");
    }
  }

  /** What the reference reader says of the state that is mounted. */
  async #verify(): Promise<string> {
    const problems: string[] = [];
    const volume = new Volume(`${this.#volume.scratch.file("state")}/volume`, this.#header, this.#key);
    try {
      const onProblem = ({ place, message }: Problem) => problems.push(`${place}: ${message}`);
      await verify(volume, { onProblem });
    } finally {
      volume.close();
    }
    return problems.length === 0 ? "done" : problems.join("; ");
  }

  /** All that is left of a run, however it ended. */
  async remove(): Promise<void> {
    await this.#volume.remove();
    for (const file of ["recorded/disk", "ram/state"]) detach(this.#volume.scratch.file(file));
    if (this.#recorder?.pid !== undefined && this.#recorder.exitCode === null) kill(this.#recorder.pid);
  }
}

function detach(file: string): void {
  const { stdout } = spawnSync("losetup", ["-n", "-O", "NAME", "-j", file], ROOT_PATH);
  for (const device of stdout.toString().split("\n").filter(Boolean))
    spawnSync("losetup", ["-d", device.trim()], ROOT_PATH);
}

/** What it printed. */
function must(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, ROOT_PATH);
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: ${stderr.toString()}`);
  return stdout.toString().trim();
}
