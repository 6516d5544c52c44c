/**
 * Loaded with --import into a command under test: kills the process, as with the power gone, right before the nth call of
 * node:fs/promises (KILL_AT, from 1) that changes a directory, or opens a file for writing. Without a number it counts
 * them and writes the count to the file that KILL_COUNT names. What is below KILL_NOT does not count. KILL_SIGNAL is another
 * signal than SIGKILL; the call is made then. KILL_RUN: runs of the program of that name by execFile count too.
 */

import child from "node:child_process";
import { constants, writeFileSync } from "node:fs";
import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { promisify } from "node:util";

const killAt = Number(process.env.KILL_AT ?? 0);
const signal = process.env.KILL_SIGNAL ?? "SIGKILL";
const apart = process.env.KILL_NOT;
let calls = 0;

for (const name of ["rename", "link", "unlink", "mkdir", "open"] as const) {
  const real = promises[name] as (...args: unknown[]) => Promise<unknown>;
  const watched = (path: unknown, ...more: unknown[]): Promise<unknown> => {
    const counts = apart === undefined || !String(path).startsWith(apart);
    if (counts && (name !== "open" || isForWriting(more[0]))) calls += 1;
    killIfDue();
    return real(path, ...more);
  };
  Object.assign(promises, { [name]: watched });
}

const program = process.env.KILL_RUN;
const execFile = child.execFile as unknown as (...args: unknown[]) => unknown;
const run = promisify(child.execFile) as unknown as (...args: unknown[]) => Promise<unknown>;
if (program !== undefined) {
  const counting =
    <T>(real: (...args: unknown[]) => T) =>
    (file: unknown, ...more: unknown[]): T => {
      if (file === program) calls += 1;
      killIfDue();
      return real(file, ...more);
    };
  const [watched, promised] = [counting(execFile), counting(run)];
  Object.assign(child, { execFile: Object.assign(watched, { [promisify.custom]: promised }) });
}
syncBuiltinESMExports();

function killIfDue(): void {
  if (calls > 0 && calls === killAt) process.kill(process.pid, signal);
}

function isForWriting(flags: unknown): boolean {
  return typeof flags === "number"
    ? (flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0
    : flags !== undefined && flags !== "r";
}

const countFile = process.env.KILL_COUNT;
if (countFile !== undefined) process.on("exit", () => writeFileSync(countFile, String(calls)));
