/** A snapshot back onto a device or into a sparse file, every block proved by its checksum. */

import { UserError } from "../errors.js";
import { digestOf, isZero } from "./blocks.js";
import type { Ebs } from "./ebs.js";
import { readManifest } from "./manifest.js";
import { forEachBlock, listSnapshot } from "./read-digests.js";
import { openTarget } from "./target.js";

export interface RestoreRequest {
  readonly snapshot: string;
  readonly target: string;
  readonly force: boolean;
}

export interface RestoreResult {
  readonly snapshot: string;
  readonly volumeGib: number;
  /** blocks that the snapshot has */
  readonly blocks: number;
  /** whether this host's manifest of the snapshot agreed with every block */
  readonly manifest: boolean;
}

/** Throws UserError; the target is then not valid, and what was there before is kept if it was a file. */
export async function restore(
  ebs: Ebs,
  { snapshot, target: path, force }: RestoreRequest,
  onProgress: (done: number, total: number) => void,
): Promise<RestoreResult> {
  const manifest = await readManifest(snapshot);
  const { volumeGib, blocks } = await listSnapshot(ebs, snapshot);
  if (manifest !== undefined) mustList(snapshot, manifest.digests.entries(), blocks);
  const target = await openTarget({ path, volumeGib, bytes: manifest?.header.bytes ?? undefined, force });
  let done = 0;
  try {
    await forEachBlock(ebs, snapshot, blocks, async (index, data) => {
      const known = manifest?.digests.get(index);
      if (manifest !== undefined && !(known === undefined ? isZero(data) : known.equals(digestOf(data)))) {
        throw new UserError(
          "Damaged",
          `block ${index} of ${snapshot} is not what was pushed`,
          "restore another snapshot",
        );
      }
      await target.write(index, data);
      done += 1;
      onProgress(done, blocks.length);
    });
    await target.finish();
  } catch (error) {
    await target.abandon();
    throw error;
  }
  return { snapshot, volumeGib, blocks: blocks.length, manifest: manifest !== undefined };
}

/** Throws UserError (Damaged) when a block that was pushed is not in the snapshot's list. */
export function mustList(
  snapshot: string,
  pushed: Iterable<[number, Buffer]>,
  listed: readonly { index: number }[],
): void {
  const have = new Set(listed.map(({ index }) => index));
  for (const [index] of pushed) {
    if (!have.has(index))
      throw new UserError("Damaged", `block ${index} of ${snapshot} is missing`, "push it again");
  }
}
