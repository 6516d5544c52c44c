/** How much a ratio may fall before it counts: noise of a few runs is below that. */
const ALLOWED = 0.15;

export interface Slower {
  readonly row: string;
  readonly was: number;
  readonly is: number;
}

/** Rows whose ratio to the floor fell by more than is allowed, or that are gone. */
export function slower(
  before: Readonly<Record<string, number>>,
  now: Readonly<Record<string, number>>,
): Slower[] {
  const all = Object.entries(before).map(([row, was]) => ({ row, was, is: now[row] ?? 0 }));
  return all.filter(({ was, is }) => is < was * (1 - ALLOWED));
}
