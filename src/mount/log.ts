import { writeSync } from "node:fs";

/** One line to standard error, which is the log file of a daemon. A full disk must not end what serves a mount. */
export function log(message: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  const text = message.replace(/[\u0000-\u001f\u007f]+/g, " ");
  try {
    writeSync(2, `${new Date().toISOString()} kmsfs daemon[${process.pid}]: ${text}\n`);
  } catch {
    // Nowhere left to say it.
  }
}
