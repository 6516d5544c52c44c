/** umount.fuse.kmsfs: umount(8) returns when everything is written and the volume is free. */

import { UserError } from "../errors.js";
import { requireRoot } from "../mount/checks.js";
import { parseMountOptions } from "../mount/options.js";
import { remount } from "../mount/remount.js";
import { unmount } from "../mount/unmount.js";
import { umountHelperArguments } from "./arguments.js";
import { rerunInNamespace, runHelper } from "./run.js";

const name = "umount.kmsfs";

/** Resolves with the exit status, of mount(8)'s kind. */
export function umountHelper(args: readonly string[]): Promise<number> {
  return runHelper(name, () => umount(args));
}

async function umount(args: readonly string[]): Promise<void> {
  const { dir, lazy, readOnly, verbose, namespace } = umountHelperArguments(args);
  if (namespace !== undefined) rerunInNamespace(namespace);
  requireRoot("umount");
  try {
    // -f changes nothing: to abort the connection would lose what is not written yet.
    await unmount(dir, lazy, name);
  } catch (error) {
    if (!(readOnly && error instanceof UserError && error.code === "Busy")) throw error;
    await remount(dir, { ...parseMountOptions(["ro"]), kernelFlags: undefined });
    console.error(`${name}: ${dir} is in use and now read-only`);
    return;
  }
  if (verbose) console.log(`${name}: ${dir} unmounted${lazy ? " lazily" : ""}`);
}
