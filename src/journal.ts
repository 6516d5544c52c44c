/** journald's view of standard error: whether it is the journal's, and how a line gets a priority there. */

import { fstatSync } from "node:fs";

/** syslog(3)'s levels, as sd-daemon(3) writes them before a line */
const LEVELS = { error: 3, warning: 4, notice: 5, info: 6 } as const;

export type LogLevel = keyof typeof LEVELS;

let known: boolean | undefined;

/** JOURNAL_STREAM of systemd.exec(5) names the device and inode of the stream that the journal reads. */
export function isJournal(): boolean {
  known ??= matches(process.env.JOURNAL_STREAM);
  return known;
}

function matches(stream: string | undefined): boolean {
  if (!stream) return false;
  try {
    const { dev, ino } = fstatSync(2);
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

/** `text` with its priority where the journal reads it, and as it is elsewhere. */
export function withPriority(level: LogLevel, text: string): string {
  return isJournal() ? `<${LEVELS[level]}>${text}` : text;
}
