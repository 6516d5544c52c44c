/**
 * A command that mounts and serves in its own process, and yet returns when the mount is up: it is run once more as a
 * process of its own, which reports on descriptor 3.
 */

import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import type { Readable } from "node:stream";
import { isExitCodeName } from "../cli/exit-codes.js";
import { messageOf, UserError } from "../errors.js";

const MARK = "KMSFS_SERVES_IN_BACKGROUND";
const REPORT_FD = 3;

interface Report {
  /** A line for whoever runs the command; the last report is one without. */
  readonly say?: string;
  readonly error?: { code: string; message: string; hint?: string | undefined };
}

/** Whether this process was started by `runInBackground`. */
export function isBackground(): boolean {
  return process.env[MARK] === "1";
}

/**
 * Runs this command again in the background, with `env` besides. Resolves when it serves; throws the UserError that kept
 * it from it.
 */
export async function runInBackground(env: Readonly<Record<string, string>> = {}): Promise<void> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    env: { ...process.env, ...env, [MARK]: "1" },
    stdio: ["inherit", "ignore", "ignore", "pipe"],
  });
  const pipe = child.stdio[REPORT_FD] as Readable;
  let text = "";
  let report: Report | undefined;
  const onSignal = () => child.kill("SIGTERM");
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  await new Promise<void>((done, failed) => {
    child.once("error", failed);
    pipe.on("data", (chunk: Buffer) => {
      const lines = (text + chunk.toString()).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const heard = parse(line);
        if (heard?.say !== undefined) console.error(heard.say);
        else report = heard;
      }
      if (report !== undefined) done();
    });
    pipe.once("close", () => done());
  });
  process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  pipe.destroy();
  child.unref();
  if (report === undefined) {
    throw new UserError(
      "Unexpected",
      "the serving process ended before the mount was up",
      "try it with --foreground",
    );
  }
  if (report.error === undefined) return;
  const { code, message, hint } = report.error;
  throw new UserError(isExitCodeName(code) ? code : "Unexpected", message, hint);
}

/** Shows a line to whoever runs the command: by way of the process in front, or on standard error. */
export function tell(line: string): void {
  if (isBackground()) send({ say: line });
  else console.error(line);
}

/** Says that the mount is up, or why not. Nobody may be listening any more. */
export function reportUp(error?: unknown): void {
  if (!isBackground()) return;
  const what =
    error instanceof UserError
      ? { code: error.code, message: error.message, hint: error.hint }
      : { code: "Unexpected", message: messageOf(error) };
  send(error === undefined ? {} : { error: what });
  try {
    closeSync(REPORT_FD);
  } catch {
    // It was closed by an earlier report.
  }
}

function send(report: Report): void {
  try {
    writeSync(REPORT_FD, `${JSON.stringify(report)}\n`);
  } catch {
    // The command was interrupted, or has what it waited for.
  }
}

/** Lines to the log at `path`, or to standard error in the foreground. Throws UserError when it cannot be opened. */
export function openLog(path: string): (line: string) => void {
  let fd = 2;
  if (isBackground()) {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      fd = openSync(path, "a", 0o600);
    } catch (error) {
      throw new UserError(
        "Unexpected",
        `the log ${path}: ${messageOf(error)}`,
        "set KMSFS_LOG to another directory",
      );
    }
  }
  return (line) => {
    try {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
      writeSync(fd, `${new Date().toISOString()} ${line.replace(/[\u0000-\u001f\u007f]+/g, " ")}\n`);
    } catch {
      // A full disk must not end what serves a mount.
    }
  };
}

function parse(text: string): Report | undefined {
  try {
    return JSON.parse(text) as Report;
  } catch {
    return undefined;
  }
}
