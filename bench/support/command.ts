/** Other programs, run to their end or killed at their time limit. */

import { spawn } from "node:child_process";

export interface CommandOptions {
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  readonly input?: string;
  /** Seconds. */
  readonly limit?: number;
}

export class CommandFailed extends Error {
  /** `said`: the end of what it printed as errors. */
  constructor(
    message: string,
    readonly said = "",
  ) {
    super(message);
  }
}

/** Debian keeps some of what is needed out of the PATH of users. */
export const PATH = `${process.env.PATH ?? ""}:/usr/sbin:/sbin`;

/** Runs a program that must succeed; what it printed. Throws CommandFailed. */
export function command(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const [program = "", ...args] = argv;
  return new Promise((done, failed) => {
    // Through env(1): tap adds its own instruments to the environment of every process that a test starts.
    const settings = Object.entries({ PATH, HOME: process.env.HOME ?? "/root", LC_ALL: "C", ...options.env });
    const words = ["-i", ...settings.map(([name, value]) => `${name}=${value}`), program, ...args];
    const child = spawn("env", words, { cwd: options.cwd ?? "/", stdio: "pipe", detached: true });
    let [stdout, stderr, late] = ["", "", false];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-4000);
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.input ?? "");
    const timer = setTimeout(
      () => {
        late = true;
        killGroup(child.pid);
      },
      (options.limit ?? 600) * 1000,
    );
    child.on("error", failed);
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      if (status === 0) return done(stdout);
      const why = late ? `took longer than ${options.limit ?? 600} s` : lastLine(stderr || stdout);
      failed(new CommandFailed(`${program}: ${why || `ended with ${signal ?? status}`}`, stderr));
    });
  });
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)?.slice(0, 300) ?? "";
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}

export async function isInstalled(program: string): Promise<boolean> {
  return command(["sh", "-c", 'command -v "$1"', "sh", program]).then(
    () => true,
    () => false,
  );
}

/** How long a program that must succeed takes, in seconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}

/** Asks until the answer is yes. Throws when that takes more than `seconds`. */
export async function until(what: string, seconds: number, ask: () => boolean): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!ask()) {
    if (performance.now() > end) throw new CommandFailed(`${what}: not within ${seconds} s`);
    await new Promise((done) => setTimeout(done, 5));
  }
}
