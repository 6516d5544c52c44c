/** Runs native/torture on a mounted volume, remounts and kills for it when it asks, and looks at what is left. */

import { spawn } from "node:child_process";
import { chmodSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { kill, type TestVolume } from "./test-volume.js";
import { until } from "./until.js";

/** Built by `cargo test --workspace`, which runs first in scripts/test.sh. */
const PROGRAM =
  process.env.KMSFS_TORTURE ??
  join(dirname(fileURLToPath(import.meta.url)), "../../../native/target/debug/torture");

/**
 * Runs it. What it asks for on a line of its own, `answer` does and answers; undefined where the line is no question. What
 * was wrong, or else the last that it said.
 */
export async function runTorture(
  args: readonly string[],
  answer: (line: string) => Promise<string | undefined>,
): Promise<{ wrong: string | undefined; summary: string }> {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: cargo test -p kmsfs-torture builds it`);
  // Away from tap's own instruments, and from the program's own working directory's mount.
  const child = spawn("env", ["-i", "RUST_BACKTRACE=1", PROGRAM, ...args], { stdio: "pipe" });
  let said = "";
  let unread = "";
  let summary = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  let answering = Promise.resolve();
  child.stdin.on("error", () => undefined);
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (unread + text).split("\n");
    unread = lines.pop() ?? "";
    for (const line of lines) {
      summary = line;
      answering = answering.then(async () => {
        const answered = await answer(line);
        if (answered !== undefined) child.stdin.write(`${answered}\n`);
      });
    }
  });
  const ended = await new Promise<string>((done) => {
    child.on("close", (status, signal) => done(signal ?? String(status)));
  });
  await answering;
  const wrong = ended === "0" ? undefined : `torture ${args.join(" ")} ended with ${ended}\n${said}`;
  return { wrong, summary };
}

export class Torture {
  readonly #volume: TestVolume;
  readonly #options: readonly string[];

  constructor(volume: TestVolume, options: readonly string[]) {
    this.#volume = volume;
    this.#options = options;
  }

  async mount(): Promise<void> {
    const { code, stderr } = await this.#volume.mount(
      "-o",
      ["allow_other,dev,suid", ...this.#options].join(","),
    );
    if (code !== "Ok") throw new Error(`mount: ${stderr} ${this.#volume.logText()}`);
    chmodSync(this.#volume.dir, 0o755);
  }

  async umount(): Promise<void> {
    const { code, stderr } = await this.#volume.umount();
    if (code !== "Ok") throw new Error(`umount: ${stderr} ${this.#volume.logText()}`);
  }

  /** kill -9 of engine and daemon: nothing gets the chance to write anything. */
  async killBoth(): Promise<void> {
    const { daemonPid, enginePid } = await this.#volume.status();
    for (const pid of [daemonPid, enginePid]) {
      if (pid === null) throw new Error("not served");
      kill(pid);
    }
    await until("engine and daemon are gone", async () => (await this.#volume.status()).condition === "dead");
  }

  /** What the program said on stderr when it failed; undefined when all was well. */
  async run(args: readonly string[]): Promise<string | undefined> {
    const { wrong } = await runTorture(args, (line) => this.#answer(line));
    return wrong === undefined ? undefined : `${wrong}${this.#log()}`;
  }

  async #answer(line: string): Promise<string | undefined> {
    try {
      if (!["remount", "crash", "kill", "mount"].includes(line)) return undefined;
      if (line === "remount") await this.umount();
      if (line === "crash" || line === "kill") await this.killBoth();
      if (line !== "kill") await this.mount();
      return "done";
    } catch (e) {
      return String(e).replaceAll("\n", " ");
    }
  }

  /** Unmounts; every block must open, and nothing may have been called tampering on the way. */
  async endsClean(): Promise<string | undefined> {
    await this.umount();
    const verified = await this.#volume.run(
      "verify",
      this.#volume.backing,
      "--keyfile",
      this.#volume.keyfile,
    );
    if (verified.code !== "Ok") return `verify: ${verified.stdout}${verified.stderr}`;
    return /tamper|panic/i.test(this.#volume.logText()) ? `the log says: ${this.#log()}` : undefined;
  }

  /** The last lines, without what every mount says. */
  #log(): string {
    const lines = this.#volume.logText().split("\n");
    return lines
      .filter((line) => !/PR_SET_IO_FLUSHER| (un)?mounted /.test(line))
      .slice(-12)
      .join("\n");
  }
}
