/** Reads a whole snapshot, block by block, as many at once as the service lets. */

import { forEachAtOnce } from "./adaptive-pool.js";
import { Digests, digestOf, isZero } from "./blocks.js";
import type { Ebs, SnapshotBlock } from "./ebs.js";
import { ebsFailure, isExpiredToken } from "./ebs-errors.js";
import { blocksOfGib, type Manifest } from "./manifest.js";

export interface Listing {
  readonly volumeGib: number;
  readonly blocks: SnapshotBlock[];
}

/** All blocks of a completed snapshot. Throws UserError. */
export async function listSnapshot(ebs: Ebs, snapshot: string): Promise<Listing> {
  const blocks: SnapshotBlock[] = [];
  let volumeGib = 0;
  for await (const page of ebs.list(snapshot)) {
    volumeGib = page.volumeGib;
    for (const block of page.blocks) blocks.push(block);
  }
  return { volumeGib, blocks };
}

/** One block, with a new token when its own has expired. Throws UserError. */
export async function readBlock(ebs: Ebs, snapshot: string, block: SnapshotBlock): Promise<Buffer> {
  try {
    try {
      return await ebs.get(snapshot, block);
    } catch (error) {
      if (!isExpiredToken(error)) throw error;
    }
    for await (const { blocks } of ebs.list(snapshot, block.index)) {
      const [again] = blocks;
      if (again === undefined) continue;
      if (again.index !== block.index) break;
      return await ebs.get(snapshot, again);
    }
    throw new Error("the snapshot does not list it any more");
  } catch (error) {
    throw ebsFailure(error, "GetSnapshotBlock", `block ${block.index} of ${snapshot}`);
  }
}

/** Calls `work` with each block in any order. Throws the first failure, UserError. */
export async function forEachBlock(
  ebs: Ebs,
  snapshot: string,
  blocks: Iterable<SnapshotBlock>,
  work: (index: number, data: Buffer) => Promise<void>,
): Promise<void> {
  await forEachAtOnce(
    blocks,
    () => ebs.pool.limit + 1,
    async (block) => work(block.index, await readBlock(ebs, snapshot, block)),
  );
}

/** A manifest of a snapshot that this host has not pushed, from its blocks; progress begins at 0. Throws UserError. */
export async function readSnapshotDigests(
  ebs: Ebs,
  snapshot: string,
  onProgress: (done: number, total: number) => void,
): Promise<Manifest> {
  const { volumeGib, blocks } = await listSnapshot(ebs, snapshot);
  const digests = new Digests(blocksOfGib(volumeGib));
  let done = 0;
  onProgress(done, blocks.length);
  await forEachBlock(ebs, snapshot, blocks, async (index, data) => {
    if (!isZero(data)) digests.set(index, digestOf(data));
    done += 1;
    onProgress(done, blocks.length);
  });
  return {
    header: {
      kind: "kmsfs snapshot manifest",
      version: 1,
      snapshot,
      region: "",
      bytes: null,
      volumeGib,
      source: null,
      parent: null,
      created: new Date().toISOString(),
      written: 0,
    },
    digests,
  };
}
