/** The generated parts of docs/threat-model.md: each stands between two comments that name it. */

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Test } from "tap";

const DOCUMENT = join(dirname(fileURLToPath(import.meta.url)), "../../../docs/threat-model.md");

/** The part is what the tests found; UPDATE_THREAT_MODEL=1 in the environment writes it. */
export function sectionIs(t: Test, name: string, fresh: string): void {
  const [begin, end] = [`<!-- begin ${name} -->\n`, `<!-- end ${name} -->`];
  const text = readFileSync(DOCUMENT, "utf8");
  const from = text.indexOf(begin) + begin.length;
  const to = text.indexOf(end);
  if (from < begin.length || to < from) throw new Error(`${DOCUMENT} has no part ${name}`);
  if (process.env.UPDATE_THREAT_MODEL) writeFileSync(DOCUMENT, text.slice(0, from) + fresh + text.slice(to));
  else t.equal(text.slice(from, to), fresh, "docs/threat-model.md is stale: run with UPDATE_THREAT_MODEL=1");
}

export function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
  return line(head) + line(head.map(() => "---")) + lines.map(line).join("");
}
