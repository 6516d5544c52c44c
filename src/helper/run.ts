/** What both helpers have in common: one line for a failure, and a status that mount(8) understands. */

import { spawnSync } from "node:child_process";
import { refuseOtherEncodings } from "../cli/encodings.js";
import type { ExitCodeName } from "../cli/exit-codes.js";
import { messageOf, UserError } from "../errors.js";

/** Bits of the exit status of mount(8) and umount(8). */
export const ExitBit = { Ok: 0, Usage: 1, System: 2, Failed: 32 } as const;

const USAGE: readonly ExitCodeName[] = ["Usage", "Privilege"];
const SYSTEM: readonly ExitCodeName[] = ["Unexpected", "EngineFailed", "MemoryLock", "NoSpace"];

/** The status of mount(8) for one of ours; docs/exit-codes.md has the table. */
export function exitBitOf(code: ExitCodeName): number {
  if (code === "Ok") return ExitBit.Ok;
  if (USAGE.includes(code)) return ExitBit.Usage;
  return SYSTEM.includes(code) ? ExitBit.System : ExitBit.Failed;
}

/** Runs a helper that calls itself `name`; resolves with the exit status. */
export async function runHelper(name: string, helper: () => Promise<void>): Promise<number> {
  try {
    refuseOtherEncodings();
    await helper();
    return ExitBit.Ok;
  } catch (error) {
    if (process.env.KMSFS_DEBUG) console.error(error);
    const known = error instanceof UserError ? error : new UserError("Unexpected", messageOf(error));
    console.error(`${name}: ${known.line} (${known.code}, exit code ${known.exitCode} of kmsfs)`);
    return exitBitOf(known.code);
  }
}

/** Runs this helper once more within the mount namespace that -N named, and ends the process with its status. */
export function rerunInNamespace(namespace: string): never {
  const path = /^\d+$/.test(namespace) ? `/proc/${namespace}/ns/mnt` : namespace;
  const command = process.argv.slice(1);
  const at = command.findIndex((arg) => /^-N/.test(arg));
  command.splice(at, command[at] === "-N" ? 2 : 1);
  const args = [`--mount=${path}`, "--", process.execPath, ...command];
  const { status, error } = spawnSync("nsenter", args, { stdio: "inherit" });
  if (error !== undefined) throw error;
  process.exit(status ?? ExitBit.System);
}
