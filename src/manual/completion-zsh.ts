/** Completion for zsh: a function for each command, over _arguments. */

import {
  everyCommand,
  MOUNT_OPTIONS,
  MOUNT_TYPE,
  optionValue,
  positionalValue,
  spellings,
  type ValueKind,
} from "./completion-values.js";
import type { CommandDefinition, OptionDefinition } from "./definitions.js";

export function zshCompletion(commands: readonly CommandDefinition[]): string {
  return `#compdef kmsfs
# Generated from the definitions of the commands of kmsfs.

_kmsfs_mount_points() {
  local -a points
  points=(\${(f)"$(awk '$3 == "${MOUNT_TYPE}" { print $2 }' /proc/self/mounts)"})
  compadd -a points
}

_kmsfs_mount_options() {
  _values -s , option ${MOUNT_OPTIONS.map((option) => `'${option.replace(/=$/, "")}'`).join(" ")}
}

${everyCommand(commands).map(commandFunction).join("\n\n")}

_kmsfs() {
  local curcontext=$curcontext state line
  _arguments -C '(- *)--help[show help]' '(- *)--version[show the version]' '1:command:->command' '*::argument:->argument'
  case $state in
    command) ${describeCall([...commands.map(asWord), ["help", "tells of a command"]])} ;;
    argument)
      case $line[1] in
${commands.map(({ path }) => `        ${path[0]}) ${functionName(path)} ;;`).join("\n")}
        help) ${describeCall(commands.map(asWord))} ;;
      esac
      ;;
  esac
}

_kmsfs "$@"
`;
}

function asWord({ path, describe }: CommandDefinition): [string, string] {
  return [path.at(-1) ?? "", describe];
}

function describeCall(words: readonly (readonly [string, string])[]): string {
  const list = words.map(([word, text]) => quote(`${word}:${text}`)).join(" ");
  return `local -a words_of=(${list}); _describe command words_of`;
}

function functionName(path: readonly string[]): string {
  return `_kmsfs_${path.join("_").replaceAll("-", "_")}`;
}

function commandFunction(command: CommandDefinition): string {
  const lines = ["'(- *)--help[show help]'", ...command.options.flatMap(optionSpecs)];
  if (command.subcommands.length > 0) {
    const cases = command.subcommands.map(({ path }) => `        ${path.at(-1)}) ${functionName(path)} ;;`);
    return `${functionName(command.path)}() {
  local curcontext=$curcontext state line
  _arguments -C '1:command:->command' '*::argument:->argument'
  case $state in
    command) ${describeCall(command.subcommands.map(asWord))} ;;
    argument)
      case $line[1] in
${cases.join("\n")}
      esac
      ;;
  esac
}`;
  }
  const places = command.positionals.map((place, index) => {
    const at = place.repeated ? "*" : String(index + 1);
    return quote(`${at}:${bracketed(place.name)}:${action(positionalValue(command, index))}`);
  });
  return `${functionName(command.path)}() {\n  _arguments ${[...lines, ...places].join(" \\\n    ")}\n}`;

  function optionSpecs(option: OptionDefinition): string[] {
    const value =
      option.value === undefined ? "" : `:${bracketed(option.value)}:${action(optionValue(command, option))}`;
    const names = spellings(option);
    return names.map((name) => {
      const guard = option.repeated ? "*" : names.length > 1 ? `(${names.join(" ")})` : "";
      return quote(`${guard}${name}[${bracketed(option.describe)}]${value}`);
    });
  }
}

function action(value: ValueKind): string {
  switch (value.kind) {
    case "choice":
      return `(${value.choices.join(" ")})`;
    case "directory":
      return "_files -/";
    case "file":
      return "_files";
    case "mount-options":
      return "_kmsfs_mount_options";
    case "mount-point":
      return "_kmsfs_mount_points";
    case "nothing":
      return " ";
  }
}

/** For _arguments, which takes brackets and colons for its own. */
function bracketed(text: string): string {
  return text.replace(/[\\[\]:]/g, (character) => `\\${character}`);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
