/** A service that throttles, fails and lies: what was promised holds all the same. */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import type { PushResult } from "../../src/snapshot/push.js";
import { BLOCK } from "../support/ebs-snapshots.js";
import { type EbsRequest, overloaded, type Trouble, throttled } from "../support/ebs-standin.js";
import { SnapshotFixture } from "../support/snapshot-fixture.js";

const MANY = Array.from({ length: 24 }, () => "random" as const);

/** Every n-th request of an operation meets the trouble. */
function every(n: number, trouble: () => Trouble, operations: readonly string[]) {
  let count = 0;
  return ({ operation }: EbsRequest) => {
    if (!operations.includes(operation)) return undefined;
    count += 1;
    return count % n === 0 ? trouble() : undefined;
  };
}

const ALL = [
  "StartSnapshot",
  "PutSnapshotBlock",
  "CompleteSnapshot",
  "ListSnapshotBlocks",
  "GetSnapshotBlock",
] as const;

const PASSING: readonly [string, () => Trouble][] = [
  ["throttled requests", throttled],
  ["internal errors", overloaded],
  ["connections that end before the answer", () => "dropped"],
  ["answers that are lost", () => "answer-lost"],
];

for (const [name, trouble] of PASSING) {
  t.test(`${name} are tried again, and the image is whole both ways`, async (t) => {
    const fixture = await SnapshotFixture.make(t);
    const image = fixture.image("disk", MANY);
    fixture.ebs.trouble = every(3, trouble, ALL);
    const { snapshot } = await fixture.json<PushResult>("push", image);
    t.ok(fixture.holds(snapshot, image));
    const out = fixture.scratch.file("out");
    await fixture.json("restore", snapshot, out);
    t.ok(readFileSync(out).equals(readFileSync(image)));
  });
}

t.test("a block that was changed on its way is read again; one that stays so is damage", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random", "random", "random"]);
  const { snapshot } = await fixture.json<PushResult>("push", image);
  fixture.ebs.trouble = every(2, () => "bit-flip", ["GetSnapshotBlock"]);
  t.match(await fixture.json("verify", snapshot), { problems: [] });

  fixture.ebs.snapshots.lost.add(`${snapshot}/1`);
  fixture.ebs.trouble = () => undefined;
  const verdict = await fixture.run("verify", snapshot);
  t.equal(verdict.code, "SnapshotDiffers", verdict.stderr);
  t.match(verdict.stdout, /^block 1: /m);
  const out = fixture.scratch.file("out");
  const restored = await fixture.run("restore", snapshot, out);
  t.equal(restored.code, "NoSuchSnapshot", restored.stderr);
  t.strictSame(
    readdirSync(fixture.scratch.path).filter((entry) => entry.startsWith("out")),
    [],
    "nothing is left",
  );
});

t.test("verify tells an image that is another, and a snapshot that was swapped", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random", "zero", "random"]);
  const { snapshot } = await fixture.json<PushResult>("push", image);
  const bytes = readFileSync(image);
  bytes.write("x", BLOCK + 5);
  bytes.write("x", 5);
  writeFileSync(image, bytes);
  const verdict = await fixture.run("verify", snapshot, "--against", image);
  t.equal(verdict.code, "SnapshotDiffers");
  t.match(verdict.stdout, /^block 0: differs from the image\nblock 1: is not in the snapshot$/m);
  // The service has other, valid data under the id: its own checksums agree, the manifest does not.
  const other = await fixture.json<PushResult>("push", image);
  const [mine, theirs] = [snapshot, other.snapshot].map((id) => fixture.ebs.snapshots.all.get(id));
  for (const [index, stored] of theirs?.written ?? []) mine?.written.set(index, stored);
  const swapped = await fixture.run("verify", snapshot);
  t.equal(swapped.code, "SnapshotDiffers");
  t.match(swapped.stdout, /block 0: is not what was pushed/);
  t.equal((await fixture.run("restore", snapshot, fixture.scratch.file("out"))).code, "Damaged");
});

t.test("a service that takes three requests at once gets the image all the same", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", MANY);
  fixture.ebs.blockDelay = 20;
  fixture.ebs.concurrencyLimit = 3;
  const { snapshot } = await fixture.json<PushResult>("push", image);
  t.ok(fixture.holds(snapshot, image), "whole although most requests were refused at first");
  fixture.ebs.concurrencyLimit = Number.POSITIVE_INFINITY;
  fixture.ebs.mostInFlight = 0;
  await fixture.json("verify", snapshot, "--concurrency", "5");
  t.ok(fixture.ebs.mostInFlight <= 5, "never more than --concurrency");
});

t.test("pages of a listing, however short, are all read; expired block tokens are renewed", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", MANY);
  const { snapshot } = await fixture.json<PushResult>("push", image);
  fixture.ebs.snapshots.pageLimit = 5;
  let reads = 0;
  fixture.ebs.trouble = ({ operation }) => {
    if (operation === "GetSnapshotBlock") {
      reads += 1;
      if (reads === 7) fixture.ebs.snapshots.expireTokens();
    }
    return undefined;
  };
  t.match(await fixture.json("verify", snapshot, "--against", image), { blocks: MANY.length, problems: [] });
});
