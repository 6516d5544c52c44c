/** mount.kmsfs: `mount -t kmsfs BACKING DIR` and fstab, through mount(8). */

import { splitUnlockOptions, unlockDefaults } from "../cli/unlock-mount-options.js";
import { openOptions } from "../cli/unlock-options.js";
import { checkPlaces, requireRoot } from "../mount/checks.js";
import { listedOptions } from "../mount/option-list.js";
import { knownOptions, parseMountOptions } from "../mount/options.js";
import { remount } from "../mount/remount.js";
import { mountHelperArguments } from "./arguments.js";
import { rerunInNamespace, runHelper } from "./run.js";

const name = "mount.kmsfs";

/** Resolves with the exit status, of mount(8)'s kind. */
export function mountHelper(args: readonly string[]): Promise<number> {
  return runHelper(name, () => mount(args));
}

async function mount(args: readonly string[]): Promise<void> {
  const { source, dir, options, sloppy, fake, verbose, namespace } = mountHelperArguments(args);
  if (namespace !== undefined) rerunInNamespace(namespace);
  requireRoot("mount");
  const isRemount = options.flatMap(listedOptions).some(({ text }) => text === "remount");
  const split = splitUnlockOptions(options, unlockDefaults());
  // On a remount, mount(8) repeats what the kernel says of the mount, in FUSE's words.
  const wanted = sloppy || isRemount ? knownOptions(split.mount) : split.mount;
  const parsed = parseMountOptions(wanted);
  const say = (text: string): void => {
    if (verbose) console.log(`${name}: ${text}`);
  };
  if (isRemount) {
    if (!fake) await remount(dir, parsed);
    say(`${dir} remounted ${parsed.readOnly ? "read-only" : "read-write"}`);
    return;
  }
  const open = openOptions(split.unlock, "mount");
  if (fake) {
    await checkPlaces(source, dir);
    say(`${source} could be mounted on ${dir}`);
    return;
  }
  const { startMount } = await import("../mount/start.js");
  const warnings = await startMount({
    backing: source,
    dir,
    options: wanted,
    open,
    logToStderr: false,
    onProgress: () => undefined,
  });
  for (const warning of warnings) console.error(`${name}: ${warning}`);
  say(`${source} mounted on ${dir}`);
}
