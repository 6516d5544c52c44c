import type { Finding } from "./facts.js";

/** What a rule says; which volume it is of is added by who asks it. */
export type Said = Omit<Finding, "volume">;

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** "2026-11-24 03:57 UTC", within a sentence. */
export function minute(time: string): string {
  return `${time.slice(0, 16).replace("T", " ")} UTC`;
}
