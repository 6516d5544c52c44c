/** The commands that there are: each a file of its own in this directory, which is loaded when it is needed. */

import type { CommandModule } from "yargs";
import type { CommandName } from "./command-names.js";

type Loader = () => Promise<{ command: CommandModule }>;

// A command knows the types of its own options, which the list of all commands does not.
const load = (loaded: Promise<{ command: unknown }>) => loaded as ReturnType<Loader>;

/** Each file exports `command`, a yargs module whose handler imports what is heavy by itself. */
const LOADERS = {
  init: () => load(import("./init.js")),
  mount: () => load(import("./mount.js")),
  umount: () => load(import("./umount.js")),
  status: () => load(import("./status.js")),
  metrics: () => load(import("./metrics.js")),
  verify: () => load(import("./verify.js")),
  fsck: () => load(import("./fsck.js")),
  scrub: () => load(import("./scrub.js")),
  export: () => load(import("./export.js")),
  key: () => load(import("./key.js")),
  audit: () => load(import("./audit.js")),
  report: () => load(import("./report.js")),
  snapshot: () => load(import("./snapshot.js")),
  setup: () => load(import("./setup.js")),
} satisfies Record<CommandName, Loader>;

export async function loadCommand(name: CommandName): Promise<CommandModule> {
  return (await LOADERS[name]()).command;
}
