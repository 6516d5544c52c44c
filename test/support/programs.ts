/** Other people's programs, run as who a test says, in an environment of their own, and gone when the test ends. */

import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { accessSync, constants, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { delimiter } from "node:path";
import { createInterface, type Interface } from "node:readline";
import type { Test } from "tap";
import { kill } from "./test-volume.js";
import { until } from "./until.js";

/** Whom a program runs as. */
export interface Who {
  readonly uid: number;
  readonly gid: number;
}

/** A service account like those of applications: no rights, no groups, not even a line in /etc/passwd. */
export const APPLICATION: Who = { uid: 20_001, gid: 20_001 };

/** Debian keeps some of what is needed out of the PATH of users. */
const PATH = `${process.env.PATH ?? ""}${delimiter}/usr/sbin${delimiter}/sbin`;

export interface Settings {
  /** Below the test's scratch directory: it is how leftover processes are found. */
  readonly cwd: string;
  readonly who?: Who;
  readonly env?: Record<string, string>;
  readonly input?: string;
}

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Why a test cannot run here, or false: it needs root for its mount, and each of these programs. */
export function cannotRun(...programs: string[]): string | false {
  if (process.getuid?.() !== 0) return "needs root";
  const missing = programs.filter((program) => !isInstalled(program));
  return missing.length > 0 && `${missing.join(", ")} not installed: scripts/setup-tests.sh installs it`;
}

function isInstalled(program: string): boolean {
  return PATH.split(delimiter).some((dir) =>
    isExecutable(program.includes("/") ? program : `${dir}/${program}`),
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** An account of this machine; undefined when there is none of that name. */
export function account(name: string): Who | undefined {
  const [uid, gid] = ["-u", "-g"].map((flag) => {
    const { status, stdout } = spawnSync("id", [flag, name]);
    return status === 0 ? Number(stdout.toString()) : undefined;
  });
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

/** The programs that have been started and have not ended. */
const running = new Set<ChildProcessWithoutNullStreams>();

/** Starts a program. Through env(1), so that tap's own instruments stay out of it. */
export function start(
  argv: readonly string[],
  { cwd, who, env = {} }: Settings,
): ChildProcessWithoutNullStreams {
  const settings = Object.entries({ PATH, HOME: cwd, LC_ALL: "C", TZ: "UTC", ...env });
  const child = spawn("env", ["-i", ...settings.map(([name, value]) => `${name}=${value}`), ...argv], {
    cwd,
    ...(who ?? {}),
  });
  running.add(child);
  child.on("close", () => running.delete(child));
  // A program that ends, or is killed, before it has read all of its input closes the pipe.
  child.stdin.on("error", () => undefined);
  return child;
}

/** Runs a program to its end, whatever that is. */
export function finish(argv: readonly string[], settings: Settings): Promise<Ended> {
  return new Promise((done, failed) => {
    const child = start(argv, settings);
    const out = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      // Names on the mount may be any bytes: latin1 keeps each of them.
      child[name].setEncoding("latin1").on("data", (chunk: string) => {
        out[name] += chunk;
      });
    }
    child.stdin.end(settings.input ?? "");
    child.on("error", failed);
    child.on("close", (status) => done({ status, ...out }));
  });
}

/** Runs a program that must succeed; what it printed. */
export async function run(argv: readonly string[], settings: Settings): Promise<string> {
  const { status, stdout, stderr } = await finish(argv, settings);
  if (status === 0) return stdout;
  throw new Error(`${argv.join(" ")}: status ${status}: ${(stderr || stdout).trim().slice(-2000)}`);
}

/** A program that answers lines: one question at a time. */
export class Dialogue {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;
  #complaints = "";

  constructor(argv: readonly string[], settings: Settings) {
    this.child = start(argv, settings);
    this.#lines = createInterface({ input: this.child.stdout });
    this.#answers = this.#lines[Symbol.asyncIterator]();
    this.child.stderr.on("data", (chunk: Buffer) => {
      this.#complaints += chunk.toString();
    });
  }

  /** What the program printed on its standard error. */
  get complaints(): string {
    return this.#complaints;
  }

  /** Says something, and reads lines up to `last`, which is not returned; undefined when the program ended first. */
  async ask(words: string, last: string): Promise<string[] | undefined> {
    this.child.stdin.write(`${words}\n`);
    const lines: string[] = [];
    for (;;) {
      const { done, value } = await this.#answers.next();
      if (done) return undefined;
      if (value === last) return lines;
      lines.push(value);
    }
  }

  /** Closes the program's input and waits for its end. */
  async end(): Promise<void> {
    const closed = new Promise((done) => this.child.on("close", done));
    const running = this.child.exitCode === null && this.child.signalCode === null;
    this.child.stdin.end();
    if (running) await closed;
  }
}

function processes(those: (pid: number) => boolean): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => {
    try {
      return those(pid);
    } catch {
      // Gone meanwhile, or dead and not yet waited for.
      return false;
    }
  });
}

/** SIGKILL to all processes that work in a directory or below it, until there is none. */
export async function killAllIn(dir: string): Promise<void> {
  await until(`nobody works in ${dir}`, () => {
    const left = processes((pid) => `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${dir}/`));
    left.forEach(kill);
    return left.length === 0;
  });
}

/** SIGKILL to a process and all that descend from it, with no time for any of them to react to another's death. */
export function killTree(pid: number): void {
  try {
    process.kill(pid, "SIGSTOP");
  } catch {
    return;
  }
  // The name in parentheses may hold anything; the parent is the second field behind it.
  const parent = (child: number): number =>
    Number(
      readFileSync(`/proc/${child}/stat`, "latin1")
        .replace(/^.*\) /s, "")
        .split(" ")[1],
    );
  for (const child of processes((child) => parent(child) === pid)) killTree(child);
  kill(pid);
}

/** When a test ends, however it ends: kills the programs that were started, and what they left to work in `dir`. */
export function killAtEnd(t: Test, dir: string): void {
  t.teardown(async () => {
    for (const { pid } of running) if (pid !== undefined) killTree(pid);
    await killAllIn(dir);
  });
}
