/** Proves that every block of a snapshot is there and intact, and with an image, that the snapshot is that image. */

import { UserError } from "../errors.js";
import { forEachAtOnce } from "./adaptive-pool.js";
import { digestOf, isZero } from "./blocks.js";
import type { Ebs } from "./ebs.js";
import { Image } from "./image.js";
import { readManifest } from "./manifest.js";
import { listSnapshot, readBlock } from "./read-digests.js";

export interface SnapshotProblem {
  readonly block: number;
  readonly message: string;
}

export interface SnapshotVerdict {
  readonly snapshot: string;
  readonly volumeGib: number;
  readonly blocks: number;
  /** what the blocks were compared with, beside their own checksums */
  readonly manifest: boolean;
  readonly against: string | null;
  readonly problems: readonly SnapshotProblem[];
}

/** Throws UserError when the snapshot or the image cannot be read at all; what is wrong with blocks is in the verdict. */
export async function verifySnapshot(
  ebs: Ebs,
  snapshot: string,
  against: string | undefined,
  onProgress: (done: number, total: number) => void,
): Promise<SnapshotVerdict> {
  const manifest = await readManifest(snapshot);
  const image = against === undefined ? undefined : await Image.open(against);
  try {
    const { volumeGib, blocks } = await listSnapshot(ebs, snapshot);
    const problems: SnapshotProblem[] = [];
    const listed = new Map(blocks.map((block) => [block.index, block]));
    for (const [index] of manifest?.digests.entries() ?? []) {
      if (!listed.has(index)) problems.push({ block: index, message: "is missing" });
    }
    const last = blocks.at(-1)?.index ?? -1;
    const total = Math.max(image?.blocks ?? 0, last + 1);
    let done = 0;
    const check = async (index: number): Promise<void> => {
      const block = listed.get(index);
      const expected = await image?.block(index);
      if (block === undefined) {
        if (expected !== undefined && !isZero(expected))
          problems.push({ block: index, message: "is not in the snapshot" });
      } else {
        const data = await readBlock(ebs, snapshot, block).catch((error: unknown) => {
          if (!(error instanceof UserError) || !BLOCK_DAMAGE.has(error.code)) throw error;
          problems.push({ block: index, message: error.message });
          return undefined;
        });
        if (data !== undefined)
          problems.push(...compare(index, data, manifest?.digests.get(index), manifest, expected));
      }
      done += 1;
      onProgress(done, image === undefined ? blocks.length : total);
    };
    const all = image === undefined ? listed.keys() : numbers(total);
    await forEachAtOnce(all, () => ebs.pool.limit + 1, check);
    problems.sort((a, b) => a.block - b.block);
    return {
      snapshot,
      volumeGib,
      blocks: blocks.length,
      manifest: manifest !== undefined,
      against: image?.path ?? null,
      problems,
    };
  } finally {
    await image?.close();
  }
}

/** What is one block's own trouble; the rest ends the command. */
const BLOCK_DAMAGE = new Set(["Damaged", "NoSuchSnapshot"]);

function compare(
  block: number,
  data: Buffer,
  known: Buffer | undefined,
  manifest: object | undefined,
  expected: Buffer | undefined,
): SnapshotProblem[] {
  const problems: SnapshotProblem[] = [];
  if (manifest !== undefined && !(known === undefined ? isZero(data) : known.equals(digestOf(data)))) {
    problems.push({ block, message: "is not what was pushed" });
  }
  if (expected !== undefined && !expected.equals(data))
    problems.push({ block, message: "differs from the image" });
  return problems;
}

function* numbers(count: number): Generator<number> {
  for (let index = 0; index < count; index++) yield index;
}
