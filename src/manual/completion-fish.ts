/** Completion for fish. */

import {
  everyCommand,
  MOUNT_OPTIONS,
  MOUNT_TYPE,
  optionValue,
  positionalValue,
  type ValueKind,
} from "./completion-values.js";
import type { CommandDefinition, OptionDefinition } from "./definitions.js";

export function fishCompletion(commands: readonly CommandDefinition[]): string {
  const names = commands.map(({ path }) => path[0]).join(" ");
  const first = `not __fish_seen_subcommand_from ${names} help`;
  return `# Completion for kmsfs, generated from the definitions of its commands.

function __kmsfs_mount_points
    awk '$3 == "${MOUNT_TYPE}" { print $2 }' /proc/self/mounts
end

complete -c kmsfs -f
complete -c kmsfs -l help -d 'show help'
complete -c kmsfs -n ${quote(first)} -l version -d 'show the version'
complete -c kmsfs -n ${quote(first)} -a help -d 'tells of a command'
complete -c kmsfs -n '__fish_seen_subcommand_from help' -a ${quote(names)}
${commands.map((command) => wordLine(command, first)).join("\n")}
${everyCommand(commands).flatMap(commandLines).join("\n")}
`;
}

function wordLine({ path, describe }: CommandDefinition, condition: string): string {
  return `complete -c kmsfs -n ${quote(condition)} -a ${path.at(-1)} -d ${quote(describe)}`;
}

function seen(path: readonly string[]): string {
  return path.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
}

function commandLines(command: CommandDefinition): string[] {
  const condition = seen(command.path);
  const start = `complete -c kmsfs -n ${quote(condition)}`;
  const words = command.subcommands.map((sub) => sub.path.at(-1)).join(" ");
  const subcommands = command.subcommands.map((sub) =>
    wordLine(sub, `${condition}; and not __fish_seen_subcommand_from ${words}`),
  );
  const options = command.options.map((option) => `${start} ${optionFlags(command, option)}`);
  // fish offers the same for every place: what any of them takes.
  const places = new Set(command.positionals.map((_, index) => argument(positionalValue(command, index))));
  return [
    ...subcommands,
    ...options,
    ...[...places].filter((flags) => flags !== "").map((flags) => `${start} ${flags}`),
  ];
}

function optionFlags(command: CommandDefinition, option: OptionDefinition): string {
  const names = [...option.aliases, option.name].map((name) => `${name.length === 1 ? "-s" : "-l"} ${name}`);
  const value = option.value === undefined ? "" : ` -r ${argument(optionValue(command, option))}`;
  return `${names.join(" ")}${value.trimEnd()} -d ${quote(option.describe)}`;
}

function argument(value: ValueKind): string {
  switch (value.kind) {
    case "choice":
      return `-a ${quote(value.choices.join(" "))}`;
    case "directory":
      return "-a '(__fish_complete_directories)'";
    case "file":
      return "-F";
    case "mount-options":
      return `-a ${quote(`(__fish_append , ${MOUNT_OPTIONS.join(" ")})`)}`;
    case "mount-point":
      return "-a '(__kmsfs_mount_points)'";
    case "nothing":
      return "";
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
