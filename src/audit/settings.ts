/** Where the chains of this host stand, and what happens when one cannot be written: <etc>/audit.json. */

import { readFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { etcDirectory, logDirectory } from "../host-directories.js";
import { isRecord } from "../keys/parse.js";

export interface AuditSettings {
  /** `require`: nothing is unlocked without its line. `try`: it is, with a warning. */
  readonly policy: "require" | "try";
  /** A directory elsewhere that gets the head after every line; undefined: nowhere */
  readonly anchor: string | undefined;
  /** Lines go to the system's log too, where there is one */
  readonly syslog: boolean;
  /** Of the chains, absolute */
  readonly directory: string;
}

/** Throws UserError (Usage) for settings that cannot be understood: they may have said `require`. */
export function auditSettings(): AuditSettings {
  const path = join(etcDirectory(), "audit.json");
  const directory = logDirectory();
  const bad = (why: string): UserError => new UserError("Usage", `${path}: ${why}`, "see docs/audit.md");
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return { policy: "try", anchor: undefined, syslog: true, directory };
    throw bad(messageOf(error));
  }
  if (!isRecord(raw)) throw bad("it is not a JSON object");
  const { policy = "try", anchor, syslog = true, ...others } = raw;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw bad(`there is no setting ${unknown}`);
  if (policy !== "try" && policy !== "require") throw bad('policy is neither "try" nor "require"');
  if (anchor !== undefined && (typeof anchor !== "string" || !isAbsolute(anchor))) {
    throw bad("anchor is not the absolute path of a directory");
  }
  if (typeof syslog !== "boolean") throw bad("syslog is neither true nor false");
  return { policy, anchor, syslog, directory };
}

/** The current file of a volume's chain; rotated ones stand beside it with more after their names. */
export function chainFile(directory: string, uuid: string): string {
  return join(directory, `${uuid}.audit`);
}

/** Where the last line's number and hash are noted, beside the chain or in the anchor's directory. */
export function headFile(directory: string, uuid: string): string {
  return join(directory, `${uuid}.audit-head`);
}

export function lockFile(directory: string, uuid: string): string {
  return join(directory, `${uuid}.audit-lock`);
}
