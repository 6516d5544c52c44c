/** A volume that nobody else has, opened for fsck. */

import type { Auditor } from "../audit/auditor.js";
import { messageOf, UserError } from "../errors.js";
import { systemCode } from "../reader/errors.js";
import { lockForChange, lockForReading } from "../reader/lock.js";
import { Volume } from "../reader/volume.js";
import { type OpenedVolume, type OpenOptions, openVolume, putBackPrevious } from "../volume/open.js";
import { findVolume } from "../volume/store.js";
import type { ControlFacts } from "./control.js";

export type KeyOptions = Omit<OpenOptions, "purpose" | "usePreviousHeader">;

export interface SessionOptions extends KeyOptions {
  readonly repair: boolean;
  /** Take volume.json.bak where volume.json does not open. */
  readonly headerFromBackup: boolean;
}

/** What opens no volume and may come from a volume.json that was damaged. */
const HEADER_AT_FAULT = ["Damaged", "WrongKey", "KmsIncorrectKey", "KmsCiphertext"];

/** A repair is `done` with volume.json once it is put back: it is the header from then on. */
export interface Session {
  readonly audit: Auditor;
  readonly uuid: string;
  readonly facts: ControlFacts;
  /** The volume as it is now; the caller closes it. */
  volume(): Volume;
  /** Puts volume.json.bak back. Warnings, one line each. */
  putHeaderBack(): Promise<readonly string[]>;
}

/** Runs `work`; the volume can neither be mounted nor, for a repair, be read meanwhile. Throws UserErrors. */
export async function withSession<T>(
  backing: string,
  options: SessionOptions,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  await findVolume(backing);
  const unlock = await (options.repair ? lockForChange(backing) : lockForReading(backing));
  try {
    const { opened, headerDamage } = await open(backing, options);
    try {
      return await work(sessionOf(backing, opened, headerDamage));
    } catch (error) {
      throw systemCode(error) === undefined ? error : failed(backing, error);
    } finally {
      opened.dk.fill(0);
      await opened.audit.close();
    }
  } finally {
    await unlock();
  }
}

async function open(backing: string, options: SessionOptions) {
  const { repair, headerFromBackup, ...keys } = options;
  try {
    // Nothing of a header that is to be put back is taken over before it is.
    const purpose = repair && !headerFromBackup ? "change" : "read";
    const opened = await openVolume(backing, { ...keys, purpose });
    if (!headerFromBackup) return { opened, headerDamage: undefined };
    opened.dk.fill(0);
    await opened.audit.close();
  } catch (error) {
    if (!(error instanceof UserError) || !HEADER_AT_FAULT.includes(error.code)) throw error;
    if (!headerFromBackup) throw pointed(error);
    const opened = await openVolume(backing, { ...keys, purpose: "read", usePreviousHeader: true });
    return { opened, headerDamage: error.message };
  }
  throw new UserError("Usage", "volume.json is whole and opens", "leave --header-from-backup away");
}

/** The hint of whoever opens a volume names another option. */
function pointed(error: UserError): UserError {
  const hint = error.hint?.replace(
    "take that with --use-previous-header",
    "kmsfs fsck --repair --header-from-backup takes it",
  );
  return new UserError(error.code, error.message, hint, { cause: error });
}

function sessionOf(backing: string, opened: OpenedVolume, headerDamage: string | undefined): Session {
  let facts: ControlFacts = { header: opened.header, headerDamage };
  return {
    audit: opened.audit,
    uuid: opened.header.uuid,
    get facts() {
      return facts;
    },
    volume: () => new Volume(backing, facts.header, opened.dk),
    putHeaderBack: async () => {
      const { header, warnings } = await putBackPrevious(backing, opened);
      facts = { header, headerDamage: undefined };
      return warnings;
    },
  };
}

function failed(backing: string, error: unknown): UserError {
  const code = systemCode(error);
  const what = `the volume in ${backing} cannot be worked on: ${messageOf(error)}`;
  if (code === "ENOSPC" || code === "EDQUOT")
    return new UserError("NoSpace", what, "make room, and run it again");
  const denied = code === "EACCES" || code === "EPERM";
  const hint = denied ? "run it as root" : "check the backing file system, and run it again";
  return new UserError(denied ? "Privilege" : "Backing", what, hint, { cause: error });
}
