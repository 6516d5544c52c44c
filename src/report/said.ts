import type { Finding } from "./facts.js";

/** What a rule says; which volume it is of is added by who asks it. */
export type Said = Omit<Finding, "volume">;

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
