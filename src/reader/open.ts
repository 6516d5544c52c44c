import type { Auditor } from "../audit/auditor.js";
import { messageOf, UserError } from "../errors.js";
import { type OpenOptions, openVolume } from "../volume/open.js";
import { systemCode } from "./errors.js";
import { lockForReading } from "./lock.js";
import { Volume } from "./volume.js";

/**
 * Runs `work` on the volume in `backing`, which cannot be mounted meanwhile. Throws the UserErrors of finding,
 * unlocking and authenticating it, and InUse when it is mounted.
 */
export async function withVolume<T>(
  backing: string,
  options: OpenOptions,
  work: (volume: Volume, uuid: string, audit: Auditor) => Promise<T>,
): Promise<T> {
  const { header, dk, audit } = await openVolume(backing, options);
  try {
    const unlock = await lockForReading(backing);
    try {
      const volume = new Volume(backing, header, dk);
      dk.fill(0);
      return await work(volume, header.uuid, audit).finally(() => volume.close());
    } catch (error) {
      throw systemCode(error) === undefined ? error : unreadable(backing, error);
    } finally {
      await unlock();
    }
  } finally {
    dk.fill(0);
    await audit.close();
  }
}

function unreadable(backing: string, error: unknown): UserError {
  const denied = systemCode(error) === "EACCES" || systemCode(error) === "EPERM";
  const hint = denied ? "run it as root" : "check the backing file system";
  const what = `the volume in ${backing} cannot be read: ${messageOf(error)}`;
  return new UserError(denied ? "Privilege" : "Backing", what, hint, { cause: error });
}
