/** From the mount command that a foreground process runs to that process: what it does at the moment, a line each. */

import { writeSync } from "node:fs";

/** Set for that command: its daemon logs to standard error, and its fd 3 is the channel. */
export const FOREGROUND_MARK = "KMSFS_IN_FOREGROUND";
const CHANNEL_FD = 3;

export function isForegroundChild(): boolean {
  return process.env[FOREGROUND_MARK] === "1";
}

/** Does nothing for a command of its own. */
export function tellForeground(what: string): void {
  if (!isForegroundChild()) return;
  try {
    writeSync(CHANNEL_FD, `${what.replaceAll("\n", " ")}\n`);
  } catch {
    // It is gone, and so is whoever wanted to know.
  }
}
