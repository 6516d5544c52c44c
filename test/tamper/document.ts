/**
 * The generated parts of docs/threat-model.md: each stands between two comments that name it. What tests found is a table
 * for each row of the threat table, below a heading of its own; the summary at the top is read from those.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { packageRoot } from "../../src/package-root.js";
import { summaryOf, UNTESTED } from "./summary.js";

const DOCUMENT = join(packageRoot(), "docs/threat-model.md");
export const SECTIONS = ["files", "header", "log", "handles", "volume"] as const;
export type Section = (typeof SECTIONS)[number];

export interface Line {
  /** Of the threat table */
  readonly row: string;
  /** What was done, what came of it, and last the verdict */
  readonly cells: readonly string[];
}

/** The part is what the tests found; UPDATE_THREAT_MODEL=1 in the environment writes it, and the summary. */
export function sectionIs(t: Test, name: Section, head: readonly string[], lines: readonly Line[]): void {
  const rows = [...new Set(lines.map(({ row }) => row))];
  const fresh = rows
    .map((row) => {
      const cells = lines.filter((line) => line.row === row).map((line) => line.cells);
      return `\n#### ${row[0]?.toUpperCase()}${row.slice(1)}\n\n${table(head, cells)}`;
    })
    .join("");
  const text = readFileSync(DOCUMENT, "utf8");
  if (process.env.UPDATE_THREAT_MODEL) {
    const updated = replaced(text, name, `${fresh}\n`);
    writeFileSync(DOCUMENT, replaced(updated, "summary", summaryText(updated)));
    return;
  }
  const stale = "docs/threat-model.md is stale: run with UPDATE_THREAT_MODEL=1";
  t.equal(part(text, name), `${fresh}\n`, stale);
  t.equal(part(text, "summary"), summaryText(text), `${stale}: its summary`);
  t.notMatch(summaryText(text), `| ${UNTESTED} |`, "each row of the threat table has its tests");
}

function summaryText(text: string): string {
  const found = SECTIONS.flatMap((name) => linesIn(part(text, name)));
  return table(["tampering", "kmsfs", "in part: what, or why not"], summaryOf(found));
}

function bounds(text: string, name: string): [number, number] {
  const [begin, end] = [`<!-- begin ${name} -->\n`, `<!-- end ${name} -->`];
  const from = text.indexOf(begin) + begin.length;
  const to = text.indexOf(end);
  if (from < begin.length || to < from) throw new Error(`${DOCUMENT} has no part ${name}`);
  return [from, to];
}

function part(text: string, name: string): string {
  return text.slice(...bounds(text, name));
}

function replaced(text: string, name: string, fresh: string): string {
  const [from, to] = bounds(text, name);
  return text.slice(0, from) + fresh + text.slice(to);
}

/** The lines of a section as `sectionIs` wrote it; rows as their headings say them. */
function linesIn(section: string): Line[] {
  const lines: Line[] = [];
  for (const block of section.split("\n#### ").slice(1)) {
    const [heading = "", , , , ...rest] = block.split("\n");
    for (const line of rest.filter((line) => line.startsWith("| "))) {
      lines.push({ row: heading, cells: line.slice(2, -2).split(" | ") });
    }
  }
  return lines;
}

function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
  return line(head) + line(head.map(() => "---")) + lines.map(line).join("");
}
