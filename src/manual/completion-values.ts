/** What a shell may offer for a value, the same in every shell. */

import type { CommandDefinition, OptionDefinition } from "./definitions.js";
import { withSubcommands } from "./definitions.js";

export type ValueKind =
  | { readonly kind: "directory" | "file" | "mount-options" | "mount-point" | "nothing" }
  | { readonly kind: "choice"; readonly choices: readonly string[] };

/** Names of the words after -o, of which those that take a value end in "=". */
export const MOUNT_OPTIONS = [
  "ro",
  "rw",
  "allow_other",
  "nowriteback",
  "cache=",
  "mlock=try",
  "mlock=require",
  "suid",
  "dev",
  "noexec",
  "noatime",
  "relatime",
  "sync",
  "nofail",
  "_netdev",
  "noauto",
  "user",
] as const;

/** The third field of /proc/self/mounts for a mount of kmsfs */
export const MOUNT_TYPE = "fuse.kmsfs";

export function optionValue(command: CommandDefinition, option: OptionDefinition): ValueKind {
  if (option.choices.length > 0) return { kind: "choice", choices: option.choices };
  if (command.path[0] === "mount" && option.name === "options") return { kind: "mount-options" };
  if (option.value === "FILE") return { kind: "file" };
  return option.value === "DIR" ? { kind: "directory" } : { kind: "nothing" };
}

/** Of the place with this index; after the last one, of the last one if it repeats. */
export function positionalValue({ path, positionals }: CommandDefinition, index: number): ValueKind {
  const last = positionals.at(-1);
  const place = positionals[index] ?? (last?.repeated === true ? last : undefined);
  if (place === undefined) return { kind: "nothing" };
  // Every command but mount takes a DIR that is mounted already.
  if (place.name === "dir") return { kind: path[0] === "mount" ? "directory" : "mount-point" };
  if (/^(backing|out|volume)$/.test(place.name)) return { kind: "directory" };
  return { kind: /file$/.test(place.name) ? "file" : "nothing" };
}

/** Every command and subcommand, groups included. */
export function everyCommand(commands: readonly CommandDefinition[]): CommandDefinition[] {
  return commands.flatMap(withSubcommands);
}

/** "-o" and "--options". */
export function spellings({ name, aliases }: OptionDefinition): string[] {
  return [...aliases, name].map((each) => `${each.length === 1 ? "-" : "--"}${each}`);
}
