/** The commands that there are: each a file of its own in this directory, which is loaded when it is needed. */

import type { CommandModule } from "yargs";

type Loader = () => Promise<{ command: CommandModule }>;

// A command knows the types of its own options, which the list of all commands does not.
const load = (loaded: Promise<{ command: unknown }>) => loaded as ReturnType<Loader>;

/**
 * In the order of an operator's first day; help, manual and completion keep it. Each file exports `command`, a yargs module
 * whose handler imports what is heavy by itself.
 */
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
} satisfies Record<string, Loader>;

export type CommandName = keyof typeof LOADERS;

export const COMMANDS = Object.keys(LOADERS) as CommandName[];

export async function loadCommand(name: CommandName): Promise<CommandModule> {
  return (await LOADERS[name]()).command;
}

export function isCommandName(name: string | undefined): name is CommandName {
  return COMMANDS.some((command) => command === name);
}
