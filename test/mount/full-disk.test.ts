/** A backing file system that is full: the writer is told, everything else stays whole. */

import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import t from "tap";
import { errnoOf } from "../../src/errors.js";
import { smallDisk } from "../support/small-disk.js";
import { TestVolume } from "../support/test-volume.js";
import { describeTree, writeTree } from "../support/tree.js";
import { until } from "../support/until.js";

const MIB = 2 ** 20;

/** Bytes that can still be written. */
function free(dir: string): number {
  const { bavail, bsize } = statfsSync(dir);
  return bavail * bsize;
}

/** Writes and syncs until there is no room; the error, and how much went in. */
function fill(path: string, limit: number): { error: string | undefined; written: number } {
  const fd = openSync(path, "w");
  let written = 0;
  let error: string | undefined;
  try {
    while (written < limit) {
      writeSync(fd, randomBytes(MIB));
      fsyncSync(fd);
      written += MIB;
    }
  } catch (caught) {
    error = errnoOf(caught);
  }
  try {
    closeSync(fd);
  } catch (caught) {
    error ??= errnoOf(caught);
  }
  return { error, written };
}

t.test(
  "a full disk gives ENOSPC to the writer, harms nothing, and is usable again after deleting",
  async (t) => {
    const volume = await TestVolume.make(t, [], (v) => smallDisk(v, 96));
    await volume.up(t);
    mkdirSync(volume.at("kept"));
    writeTree(volume.at("kept"));
    const kept = describeTree(volume.at("kept"));

    const { error, written } = fill(volume.at("filler"), 200 * MIB);
    t.equal(error, "ENOSPC");
    t.ok(written >= MIB, `${written} bytes went in`);
    t.same(describeTree(volume.at("kept")), kept, "the rest is intact");
    t.ok(free(volume.dir) < 8 * MIB);

    rmSync(volume.at("filler"));
    // A file that could not be written is let go of at the next timed commit at the latest.
    await until("its room is free", () => free(volume.dir) >= Math.min(written, 16 * MIB));
    const again = fill(volume.at("again"), Math.min(written, 8 * MIB));
    t.same(again, { error: undefined, written: Math.min(written, 8 * MIB) }, "room again");

    await volume.down(t);
    await volume.up(t);
    t.same(describeTree(volume.at("kept")), kept);
    await volume.down(t);
  },
);

t.test("a disk that is full while the volume is unmounted keeps all that was synced", async (t) => {
  const volume = await TestVolume.make(t, [], (v) => smallDisk(v, 96));
  await volume.up(t);
  mkdirSync(volume.at("kept"));
  writeTree(volume.at("kept"));
  const kept = describeTree(volume.at("kept"));
  t.equal(fill(volume.at("filler"), 200 * MIB).error, "ENOSPC");
  await volume.umount();
  await volume.up(t);
  t.same(describeTree(volume.at("kept")), kept);
  rmSync(volume.at("filler"));
  await volume.down(t);
});
