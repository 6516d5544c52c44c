/** From samples to cells and ratios. */

import type { Cell, Ratio } from "./result.js";

export function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return low === undefined || high === undefined ? null : (low + high) / 2;
}

export function spread(values: readonly number[]): number | null {
  const middle = median(values);
  return middle === null || middle === 0 ? null : (Math.max(...values) - Math.min(...values)) / middle;
}

const isNumber = (value: number | null | undefined): value is number => typeof value === "number";

/**
 * How many times better `ours` is than `theirs`: the median of what each run says, since the runs of one round met the same
 * machine.
 */
export function ratio(ours: Cell, theirs: Cell, better: "higher" | "lower"): number | null {
  const rounds = ours.values.map((our, i): number | null => {
    const their = theirs.values[i];
    if (!isNumber(our) || !isNumber(their) || our <= 0 || their <= 0) return null;
    return better === "higher" ? our / their : their / our;
  });
  return median(rounds.filter(isNumber));
}

/** Ratio to the best of some others; undefined when there is none to compare with. */
export function ratioToBest(
  cells: Readonly<Record<string, Cell>>,
  ours: string,
  others: readonly string[],
  better: "higher" | "lower",
): Ratio | undefined {
  const our = cells[ours];
  if (our === undefined) return undefined;
  const ratios = others.flatMap((to): Ratio[] => {
    const cell = cells[to];
    const found = cell === undefined ? null : ratio(our, cell, better);
    return found === null ? [] : [{ to, ratio: found }];
  });
  return ratios.sort((a, b) => a.ratio - b.ratio)[0];
}
