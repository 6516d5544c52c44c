/** Completion for bash, with or without the package bash-completion. */

import {
  everyCommand,
  MOUNT_OPTIONS,
  MOUNT_TYPE,
  optionValue,
  positionalValue,
  spellings,
  type ValueKind,
} from "./completion-values.js";
import type { CommandDefinition } from "./definitions.js";

export function bashCompletion(commands: readonly CommandDefinition[]): string {
  const all = everyCommand(commands);
  const names = [...commands.map(({ path }) => path.join(" ")), "help"];
  const groups = all.filter(({ subcommands }) => subcommands.length > 0);
  return `# bash completion for kmsfs, generated from the definitions of its commands.

_kmsfs_values() {
  case $1 in
    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    directory) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    mount-point)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -W "$(awk '$3 == "${MOUNT_TYPE}" { print $2 }' /proc/self/mounts)" -- "$cur")
      ;;
    mount-options)
      local before= last=$cur
      [[ $cur == *,* ]] && before=\${cur%,*}, last=\${cur##*,}
      compopt -o nospace 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -P "$before" -W "${MOUNT_OPTIONS.join(" ")}" -- "$last")
      # readline replaces what stands behind the last "=" alone
      [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]] && COMPREPLY=("\${COMPREPLY[@]#"\${cur%=*}="}")
      ;;
    choice) mapfile -t COMPREPLY < <(compgen -W "$2" -- "$cur") ;;
  esac
}

_kmsfs() {
  local cur prev words cword
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n =: cur prev words cword
  else
    # bash itself also splits at "=" and ":".
    read -ra words <<<"\${COMP_LINE:0:COMP_POINT}"
    [[ \${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=("")
    cword=$((\${#words[@]} - 1))
    cur=\${words[cword]} prev=\${words[cword - 1]}
  fi
  COMPREPLY=()

  # The command that the words before name, and how many places are filled.
  local command= places=0 i word
  for ((i = 1; i < cword; i++)); do
    word=\${words[i]}
    case "$command:$word" in
${valueSkips(all)}
      *:-*) ;;
${[...groups.map(groupCase)].join("\n")}
      :help) ;;
      :*) command=$word ;;
      *) places=$((places + 1)) ;;
    esac
  done

  case "$command:$prev" in
${all.flatMap(optionCases).join("\n")}
  esac
  if [[ $cur == -* ]]; then
    local options
    case $command in
${all.map(optionsCase).join("\n")}
      *) options='--help --version' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    return
  fi
  case "$command:$places" in
    :*) _kmsfs_values choice '${names.join(" ")}' ;;
${all.flatMap(placeCases).join("\n")}
  esac
}

complete -F _kmsfs kmsfs
`;
}

/** The word after an option with a value is none of the command's. */
function valueSkips(all: readonly CommandDefinition[]): string {
  const taking = all.flatMap((command) =>
    command.options
      .filter(({ value }) => value !== undefined)
      .flatMap((option) => spellings(option).map((spelling) => pattern(command, spelling))),
  );
  return `      ${taking.join(" | ")}) i=$((i + 1)) ;;`;
}

function groupCase({ path, subcommands }: CommandDefinition): string {
  const name = quote(path.join(" "));
  const patterns = subcommands.map((sub) => `${name}:${sub.path.at(-1)}`);
  return `      ${patterns.join(" | ")}) command="$command $word" ;;`;
}

function optionCases(command: CommandDefinition): string[] {
  return command.options.flatMap((option) => {
    if (option.value === undefined) return [];
    const patterns = spellings(option).map((spelling) => pattern(command, spelling));
    const call = valueCall(optionValue(command, option));
    return [`    ${patterns.join(" | ")}) ${call}return ;;`];
  });
}

function optionsCase(command: CommandDefinition): string {
  const words = [...command.options.flatMap(spellings), "--help"];
  return `      ${quote(command.path.join(" "))}) options='${words.join(" ")}' ;;`;
}

function placeCases(command: CommandDefinition): string[] {
  const name = quote(command.path.join(" "));
  if (command.subcommands.length > 0) {
    const words = command.subcommands.map((sub) => sub.path.at(-1) ?? "");
    return [`    ${name}:0) _kmsfs_values choice '${words.join(" ")}' ;;`];
  }
  return command.positionals.flatMap((place, index) => {
    const call = valueCall(positionalValue(command, index)).trim();
    return call === "" ? [] : [`    ${name}:${place.repeated ? "*" : index}) ${call.replace(/;$/, "")} ;;`];
  });
}

function valueCall(value: ValueKind): string {
  if (value.kind === "nothing") return "";
  const choices = value.kind === "choice" ? ` '${value.choices.join(" ")}'` : "";
  return `_kmsfs_values ${value.kind}${choices}; `;
}

function pattern(command: CommandDefinition, option: string): string {
  return `${quote(command.path.join(" "))}:${option}`;
}

function quote(text: string): string {
  return text.includes(" ") ? `'${text}'` : text;
}
