import type { Ebs } from "./ebs.js";

export interface SnapshotDiff {
  readonly first: string;
  readonly second: string;
  readonly volumeGib: number;
  /** blocks that differ, and those of them that the first snapshot does not have at all */
  readonly changed: number;
  readonly added: number;
  /** runs of blocks that differ, ascending */
  readonly ranges: readonly { from: number; count: number }[];
}

/** Throws UserError. AWS compares the blocks as they were written: one that was written again unchanged may be listed. */
export async function diffSnapshots(ebs: Ebs, first: string, second: string): Promise<SnapshotDiff> {
  const ranges: { from: number; count: number }[] = [];
  let [volumeGib, changed, added] = [0, 0, 0];
  for await (const page of ebs.changed(first, second)) {
    volumeGib = page.volumeGib;
    for (const { index, inFirst } of page.blocks) {
      changed += 1;
      if (!inFirst) added += 1;
      const last = ranges.at(-1);
      if (last !== undefined && last.from + last.count === index) last.count += 1;
      else ranges.push({ from: index, count: 1 });
    }
  }
  return { first, second, volumeGib, changed, added, ranges };
}
