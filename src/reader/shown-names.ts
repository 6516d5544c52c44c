/** The names of a directory as text: fuse-native knows no other. */

import { createHash } from "node:crypto";

const LONGEST = 255;
const KEPT = 200;

export interface StoredName {
  readonly stored: string;
  /** Undefined where it does not open. */
  readonly name: Buffer | undefined;
}

/**
 * Text to stored name. A name that is UTF-8 is itself. Of one that is not, each byte beyond ASCII and each backslash is
 * written as `\xNN`; one that does not open is its sealed form and `.damaged`. These two give way to names that are so.
 */
export function shownNames(entries: readonly StoredName[]): Map<string, string> {
  const shown = new Map<string, string>();
  const others: { stored: string; text: string }[] = [];
  for (const { stored, name } of entries) {
    const text = name?.toString("utf8");
    if (name === undefined || text === undefined) others.push({ stored, text: `${stored}.damaged` });
    else if (Buffer.from(text).equals(name)) shown.set(text, stored);
    else others.push({ stored, text: escaped(name) });
  }
  for (const { stored, text } of others) {
    let free = text;
    for (let i = 2; shown.has(free); i++) free = `${text}~${i}`;
    shown.set(free, stored);
  }
  return shown;
}

function escaped(name: Buffer): string {
  const text = Array.from(name, (byte) =>
    byte < 0x80 && byte !== 0x5c ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`,
  ).join("");
  if (text.length <= LONGEST) return text;
  return `${text.slice(0, KEPT)}~${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
}
