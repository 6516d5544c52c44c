/** The examples of a Markdown page as a script for bash; CONTRIBUTING.md says how they are written. */

interface Example {
  /** Where its first command stands in the page, from 1 */
  readonly line: number;
  readonly commands: readonly string[];
}

/** Blocks fenced as `language`, and for `sh` comments that begin with "run:", in the page's order. */
export function examplesOf(markdown: string, language = "sh"): Example[] {
  const examples: Example[] = [];
  let fence: { readonly language: string; readonly line: number; readonly commands: string[] } | undefined;
  for (const [index, text] of markdown.split("\n").entries()) {
    const mark = /^```(\S*)/.exec(text);
    if (fence === undefined) {
      const hidden = /^<!-- run: (.*) -->$/.exec(text)?.[1];
      if (hidden !== undefined && language === "sh") examples.push({ line: index + 1, commands: [hidden] });
      if (mark !== null) fence = { language: mark[1] ?? "", line: index + 2, commands: [] };
    } else if (mark === null) fence.commands.push(text);
    else {
      if (fence.language === language) examples.push(fence);
      fence = undefined;
    }
  }
  return examples;
}

/** The script: it stops at the first command that does not end as the page says, and tells where that stands. */
export function scriptOf(name: string, examples: readonly Example[]): string {
  const head = `set -euo pipefail
at=
trap 'echo "${name}:$at: $BASH_COMMAND: status $?" >&2' ERR
expect() {
  [ "$1" = "$2" ] || { echo "${name}:$at: exits $2, the page says $1" >&2; exit 1; }
}
`;
  const blocks = examples.map(
    ({ line, commands }) => `at=${line}\n${commands.map(withExpectation).join("\n")}\n`,
  );
  return [head, ...blocks].join("\n");
}

/** `command # exits N`: its failure is the example. */
function withExpectation(command: string): string {
  const match = /^(.*\S)\s+# exits (\d+)\b/.exec(command);
  if (match === null) return command;
  return `status=0; ${match[1]} || status=$?; expect ${match[2]} "$status"`;
}
