/**
 * Loaded with --import into a command under test: kills the process, as with the power gone, right before its nth call
 * of node:fs/promises that changes something (KILL_AT, from 1). Without a number it counts them and writes the count to
 * the file that KILL_COUNT names.
 */

import { constants, writeFileSync } from "node:fs";
import promises, { type FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

const killAt = Number(process.env.KILL_AT ?? 0);
let calls = 0;

function counted(): void {
  calls += 1;
  if (calls === killAt) process.kill(process.pid, "SIGKILL");
}

type Changing = "rename" | "link" | "unlink" | "mkdir" | "open";

for (const name of ["rename", "link", "unlink", "mkdir", "open"] satisfies Changing[]) {
  const real = promises[name] as (...args: unknown[]) => Promise<unknown>;
  const watched = async (...args: unknown[]): Promise<unknown> => {
    if (name !== "open" || isForWriting(args[1])) counted();
    const result = await real(...args);
    if (name === "open") watchHandle(result as FileHandle);
    return result;
  };
  Object.assign(promises, { [name]: watched });
}
syncBuiltinESMExports();

function isForWriting(flags: unknown): boolean {
  return typeof flags === "number"
    ? (flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0
    : flags !== undefined && flags !== "r";
}

function watchHandle(handle: FileHandle): void {
  for (const name of ["writeFile", "write", "truncate"] as const) {
    const real = handle[name].bind(handle) as (...args: unknown[]) => Promise<unknown>;
    Object.assign(handle, {
      [name]: async (...args: unknown[]) => {
        counted();
        return real(...args);
      },
    });
  }
}

const countFile = process.env.KILL_COUNT;
if (countFile !== undefined) process.on("exit", () => writeFileSync(countFile, String(calls)));
