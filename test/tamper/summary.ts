/** The threat table itself: each of its rows, as the tests of that row came out. */

import type { Line } from "./document.js";

/** The rows of the project's threat table that are about tampering, in its order; what is not among them follows. */
const ROWS = [
  "block swapped in a file, or between files",
  "one block rolled back",
  "block zeroed, hole punched",
  "truncated at a block border, or extended",
  "truncated to nothing",
  "file or directory put in another's place",
  "entry or directory moved",
  "directory relabelled to another key domain",
  "name changed",
  "type changed (file to fifo, device, symlink)",
  "volume parameters, key slots changed",
  "xattr value swapped",
  "xattr removed, or an old one of the same name put back",
  "symlink or node exchanged for another",
  "file deleted, or a deleted one put back",
  "mode, owner, ACL changed",
  "times changed",
  "whole file rolled back, or taken from a clone",
  "log cut at its tail, or all of it put back",
  "whole volume rolled back",
];

/** Rows that nothing can be done to. */
const NOT_YET: Readonly<Record<string, string>> = {
  "directory relabelled to another key domain": "there are no key domains yet: a volume has one key",
};

export const UNTESTED = "no test";

/** The cells of the summary: row, verdict, what it is that goes unnoticed. */
export function summaryOf(lines: readonly Line[]): string[][] {
  const headings = [...new Set(lines.map(({ row }) => row))];
  const known = ROWS.map(
    (row) => headings.find((heading) => heading.toLowerCase() === row.toLowerCase()) ?? row,
  );
  return [...known, ...headings.filter((heading) => !known.includes(heading))].map((row) => {
    const of = lines.filter((line) => line.row === row);
    const why = NOT_YET[row];
    if (why !== undefined && of.length === 0) return [row, "-", why];
    if (of.length === 0) return [row, UNTESTED, ""];
    return [`[${row}](#${anchor(row)})`, ...verdictOf(of)];
  });
}

function verdictOf(lines: readonly Line[]): [string, string] {
  const verdicts = lines.map(({ cells }) => ({ does: cells[0] ?? "", is: cells.at(-1) ?? "" }));
  const starting = (word: string) => verdicts.filter(({ is }) => is.startsWith(word));
  const [unnoticed, pinned, detected] = [starting("U"), starting("D with"), starting("D")];
  if (detected.length === 0) return ["U", unnoticed[0]?.is.replace(/^U: /, "") ?? ""];
  const named = (what: string, of: typeof verdicts) =>
    of.length === 0 ? [] : [`${what}: ${of.map(({ does }) => does).join("; ")}`];
  const conditions = [...named("not", unnoticed), ...named("with the host's pin only", pinned)];
  return [unnoticed.length === 0 ? "D" : "~", conditions.join(". ")];
}

/** As GitHub makes it of a heading. */
function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^a-z0-9 _-]/g, "")
    .replaceAll(" ", "-");
}
