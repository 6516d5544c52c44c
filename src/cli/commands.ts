/** The commands that there are: each a file of its own in this directory, which is loaded when it is needed. */

import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { CommandModule } from "yargs";

/** In the order of an operator's first day; help, manual and completion keep it. */
export const COMMANDS = [
  "init",
  "mount",
  "umount",
  "status",
  "metrics",
  "verify",
  "fsck",
  "scrub",
  "export",
  "key",
  "audit",
  "report",
  "snapshot",
  "setup",
] as const;

export type CommandName = (typeof COMMANDS)[number];

/** Each command's file exports `command`, a yargs module whose handler imports what is heavy by itself. */
export async function loadCommand(name: CommandName): Promise<CommandModule> {
  const file = join(dirname(fileURLToPath(import.meta.url)), `${name}.js`);
  const loaded = (await import(pathToFileURL(file).href)) as { command: CommandModule };
  return loaded.command;
}

export function isCommandName(name: string | undefined): name is CommandName {
  return COMMANDS.some((command) => command === name);
}
