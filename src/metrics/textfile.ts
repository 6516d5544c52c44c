/** Metrics in a file that others read at any moment: always whole, never half of the next. */

import { chmodSync, closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { messageOf, UserError } from "../errors.js";

/** Replaces the file. Readable by all: node_exporter does not run as root. Throws UserError. */
export function replaceTextfile(path: string, text: string): void {
  const target = resolve(path);
  // The collector reads *.prom only, so that it passes this one by.
  const fresh = join(dirname(target), `.${basename(target)}.${process.pid}.new`);
  try {
    const fd = openSync(fresh, "wx", 0o644);
    try {
      // What the umask took away.
      chmodSync(fresh, 0o644);
      writeSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(fresh, target);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw new UserError(
      "Unexpected",
      `${path}: ${messageOf(error)}`,
      "name a file in a directory that is there",
    );
  }
}
