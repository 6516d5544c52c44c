/** A report's file: whole at any moment, and never in the place of something else. */

import {
  chmodSync,
  closeSync,
  fsyncSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { PAGE_BEGINNING } from "./html/page.js";

/** What `--json` begins with, as the page begins with `PAGE_BEGINNING`. */
const JSON_BEGINNING = '{\n  "kmsfsReport": ';
const BEGINNINGS = [PAGE_BEGINNING, JSON_BEGINNING];

/**
 * Writes it beside the file and renames it. Mode 0600, or that of the report that it replaces: it tells who opens what,
 * and is its owner's to give. Throws UserError; a file that is no report stays, unless `force`.
 */
export function writeReport(path: string, text: string, force: boolean): void {
  const target = resolved(path);
  const mode = modeOfReplaced(target, path, force);
  const fresh = join(dirname(target), `.${basename(target)}.${process.pid}.new`);
  try {
    const fd = openSync(fresh, "wx", 0o600);
    try {
      writeFileSync(fd, text);
      if (mode !== undefined) chmodSync(fresh, mode);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(fresh, target);
  } catch (error) {
    rmSync(fresh, { force: true });
    const code = errnoOf(error) === "ENOSPC" ? "NoSpace" : "Usage";
    throw new UserError(
      code,
      `${path} cannot be written: ${messageOf(error)}`,
      "name a file in a directory that is there",
    );
  }
}

/** Through symbolic links, so that they stay. */
function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

function modeOfReplaced(target: string, path: string, force: boolean): number | undefined {
  const stat = statSync(target, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  if (!stat.isFile())
    throw new UserError("Usage", `${path} is not a regular file`, "name a file, or - for standard output");
  if (!force && stat.size > 0 && !isReport(target)) {
    throw new UserError(
      "Usage",
      `${path} is there already and is no report of kmsfs`,
      "name another file, or give --force",
    );
  }
  return stat.mode & 0o777;
}

function isReport(path: string): boolean {
  const bytes = Buffer.alloc(Math.max(...BEGINNINGS.map((text) => text.length)));
  const fd = openSync(path, "r");
  try {
    const length = readSync(fd, bytes, 0, bytes.length, 0);
    const beginning = bytes.toString("latin1", 0, length);
    return BEGINNINGS.some((text) => beginning.startsWith(text));
  } finally {
    closeSync(fd);
  }
}
