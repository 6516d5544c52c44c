/** The daemon's process as the command that starts it sees it: three channels, and one report. */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { messageOf, UserError } from "../errors.js";
import { logDirectory } from "../host-directories.js";
import { packageRoot } from "../package-root.js";
import type { MountPlaces } from "./checks.js";
import type { DaemonConfig } from "./daemon.js";
import type { Report } from "./daemon-main.js";
import { LineReader } from "./lines.js";
import { isAutomountedByUs } from "./mountinfo.js";

/** Started before the volume is open: until it is configured it waits, and ends when it is left. */
export class DaemonProcess {
  readonly #child: ChildProcess;
  readonly #report: Duplex;
  readonly #key: Duplex;
  readonly #audit: Duplex;

  /** `log`: null for this process's standard error. Throws UserError when the log cannot be opened. */
  constructor({ backing, dir }: MountPlaces, log: string | null) {
    const main = join(packageRoot(), "dist/mount/daemon-main.js");
    const logFd = log === null ? undefined : openLog(log);
    try {
      this.#child = spawn(process.execPath, [main, backing, dir], {
        // A session of its own, unless the kernel lets none but the group of systemd's mount command reach the mount point.
        detached: !isAutomountedByUs(dir),
        cwd: "/",
        env: daemonEnvironment(),
        stdio: ["ignore", logFd ?? 2, logFd ?? 2, "pipe", "pipe", "pipe"],
      });
    } finally {
      if (logFd !== undefined) closeSync(logFd);
    }
    const channel = (fd: number): Duplex => this.#child.stdio[fd] as Duplex;
    [this.#report, this.#key, this.#audit] = [channel(3), channel(4), channel(5)];
    // Why a channel breaks, and the engine's answer on the key channel, are in the daemon's report too.
    for (const each of [this.#report, this.#key, this.#audit]) each.on("error", () => undefined);
    this.#key.resume();
    this.#audit.resume();
    // What became of a process that could not be started is told to who waits for its report.
    this.#child.on("error", () => undefined);
  }

  /** Resolves with the daemon's one line; an error of our own when it ends without. */
  configure(config: DaemonConfig): Promise<Report> {
    const report = new Promise<Report>((done) => {
      const lines = new LineReader();
      const silent = (why: string): void =>
        done({ error: { code: "EngineFailed", message: `the daemon ended before the mount was up${why}` } });
      this.#report.on("data", (chunk: Buffer) => {
        const [line] = lines.push(chunk);
        if (line !== undefined) done(JSON.parse(line) as Report);
      });
      if (this.#report.destroyed || this.#report.readableEnded) silent("");
      this.#report.on("close", () => silent(""));
      this.#child.on("error", (error) => silent(`: ${messageOf(error)}`));
    });
    this.#report.write(`${JSON.stringify(config)}\n`);
    return report;
  }

  sendAuditKey(key: Buffer): Promise<void> {
    return written(this.#audit, key);
  }

  /** The engine's first message and the volume's key, past the daemon; the caller wipes the key afterwards. */
  async sendKey(message: Buffer, dk: Buffer): Promise<void> {
    this.#key.write(message);
    await written(this.#key, dk);
  }

  /** Whether it mounted or not, nothing more is said to it. */
  leave(): void {
    this.#report.destroy();
    this.#key.destroy();
    this.#audit.destroy();
    this.#child.unref();
  }
}

function written(channel: Duplex, bytes: Buffer): Promise<void> {
  return new Promise((done) => channel.write(bytes, () => done()));
}

/** Credentials and the rest of the operator's environment are none of the daemon's business. */
function daemonEnvironment(): NodeJS.ProcessEnv {
  const kept = ["KMSFS_RUN", "KMSFS_LOG", "KMSFS_SYSLOG", "TZ", "JOURNAL_STREAM"].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  });
  return { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...Object.fromEntries(kept) };
}

function openLog(path: string): number {
  try {
    mkdirSync(logDirectory(), { recursive: true, mode: 0o700 });
    return openSync(path, "a", 0o600);
  } catch (error) {
    throw new UserError(
      "Unexpected",
      `the log ${path}: ${messageOf(error)}`,
      "set KMSFS_LOG to another directory",
    );
  }
}
