import { writeSync } from "node:fs";
import { isJournal, type LogLevel, withPriority } from "../journal.js";

/**
 * One line to standard error, which is the log file of a daemon, or the journal, which knows time and process itself. A
 * full disk must not end what serves a mount.
 */
export function log(message: string, level: LogLevel = "info"): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  const text = message.replace(/[\u0000-\u001f\u007f]+/g, " ");
  const stamp = isJournal() ? "" : `${new Date().toISOString()} kmsfs daemon[${process.pid}]: `;
  try {
    writeSync(2, `${withPriority(level, stamp + text)}\n`);
  } catch {
    // Nowhere left to say it.
  }
}
