/** Quantiles of bucketed counts, as Prometheus's histogram_quantile gives them. */

/**
 * The value below which the share `q` of what was counted lies, in the unit of `bounds`; straight within a bucket, and
 * the highest bound for what is beyond it. NaN when nothing was counted.
 */
export function quantile(bounds: readonly number[], counts: readonly number[], q: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return Number.NaN;
  const rank = q * total;
  let before = 0;
  for (const [i, count] of counts.entries()) {
    if (count > 0 && before + count >= rank) {
      const lower = bounds[i - 1] ?? 0;
      const upper = bounds[i];
      return upper === undefined ? lower : lower + ((upper - lower) * (rank - before)) / count;
    }
    before += count;
  }
  return bounds.at(-1) ?? Number.NaN;
}
