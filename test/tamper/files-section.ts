/** What the attacks on files came to: judged, and as a part of docs/threat-model.md. */

import type { Problem } from "../../src/reader/verify.js";
import type { Attack } from "./attacks.js";
import type { Line } from "./document.js";
import type { Result } from "./stage.js";

export interface Outcome {
  readonly attack: Attack;
  readonly offline: Result | undefined;
  readonly mounted: Result | undefined;
  readonly verified: readonly Problem[];
}

/** Content that was never written there, or a refusal of what was left alone, would be among them. */
export function problemsOf(attack: Attack, { seen, told }: Result, verified: readonly Problem[]): string[] {
  const problems: string[] = [];
  if (new Set(told).size < told.length) problems.push("something is told twice");
  if (attack.harmless) {
    if (told.length > 0 || seen.size > 0 || verified.length > 0) problems.push("it has an effect after all");
    return problems;
  }
  if (attack.unnoticed !== undefined) {
    if (told.length > 0 || [...seen.values()].includes("EIO")) problems.push("it is noticed after all");
    return problems;
  }
  if (told.length === 0) problems.push("nothing is told");
  if (verified.length === 0) problems.push("verify finds nothing");
  for (const [what, is] of seen) {
    if (isOfTheBackingInode(what)) continue;
    // Listings show names, which are verified by themselves.
    if (is === "appeared" && seen.get(what.replace(/ listed$/, " stat")) === "EIO") continue;
    if (is === "other" || is === "appeared") problems.push(`${what} is ${is}`);
  }
  return problems;
}

/** In clear, and by themselves no content: times and links are unverified, a size until the file is opened. */
function isOfTheBackingInode(what: string): boolean {
  return / (mtime|links|size)$/.test(what);
}

const LONG = /(long){20,}/g;

/** "a block 3, 4: EIO": things of one kind in one piece. */
function seenText({ seen }: Result): string {
  const kinds = new Map<string, string[]>();
  for (const [what, is] of seen) {
    if (isOfTheBackingInode(what) && (is === "gone" || seen.size > 1)) continue;
    const block = / block (\d+)$/.exec(what);
    const kind = block ? `${what.slice(0, block.index)} block @: ${is}` : `${what}: ${is}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), block?.[1] ?? ""]);
  }
  return list([...kinds].map(([kind, blocks]) => kind.replace("@", blocks.join(", "))));
}

function list(items: readonly string[]): string {
  return items.map((item) => item.replaceAll(LONG, "long...")).join("; ") || "nothing";
}

function both(offline: string, mounted: string): string {
  return offline === mounted ? offline : `${offline} (mounted: ${mounted})`;
}

export const FILES_HEAD = ["what was done", "what programs see", "events", "`verify`", ""];

export function filesLines(outcomes: readonly Outcome[]): Line[] {
  const none: Result = { seen: new Map(), told: [] };
  return outcomes.map(({ attack, offline = none, mounted = none, verified }) => ({
    row: attack.row,
    cells: [
      attack.does,
      both(seenText(offline), seenText(mounted)),
      both(list([...offline.told].sort()), list([...mounted.told].sort())),
      list([...new Set(verified.map(({ code }) => code))].sort()),
      attack.harmless ? "no effect" : attack.unnoticed === undefined ? "D" : `U: ${attack.unnoticed}`,
    ],
  }));
}
