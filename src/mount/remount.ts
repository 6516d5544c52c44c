/** `mount -o remount,ro DIR` and `remount,rw`. */

import { UserError } from "../errors.js";
import { requestRemount } from "./control-client.js";
import { FS_TYPE, mountAt } from "./mountinfo.js";
import type { MountOptions } from "./options.js";
import { resolveMountPoint } from "./places.js";

export interface Remount {
  readonly readOnly: MountOptions["readOnly"];
  /** undefined leaves them as they are */
  readonly kernelFlags: MountOptions["kernelFlags"] | undefined;
}

/**
 * Read-only: resolves when everything is home and the engine writes no more. Throws UserError: Busy while files are
 * open for writing, NotMounted, EngineFailed.
 */
export async function remount(path: string, { readOnly, kernelFlags }: Remount): Promise<void> {
  const dir = resolveMountPoint(path);
  if (mountAt(dir)?.fsType !== FS_TYPE) {
    throw new UserError("NotMounted", `no kmsfs mount on ${path}`, "kmsfs status lists the mounts");
  }
  const reply = await requestRemount(dir, readOnly, kernelFlags);
  if (reply === undefined) {
    throw new UserError(
      "EngineFailed",
      `the daemon of ${path} is gone`,
      `umount ${path}, and mount it again`,
    );
  }
  if (reply.remount === "busy") {
    throw new UserError("Busy", reply.detail, "close what is open for writing");
  }
  if (reply.remount === "failed") {
    throw new UserError("EngineFailed", `${path}: ${reply.detail}`, "unmount it and mount it as wanted");
  }
}
