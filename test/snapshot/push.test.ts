/** Pushing images: what is sent, what is left out, and what comes back. */

import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import t from "tap";
import type { PushResult } from "../../src/snapshot/push.js";
import { BLOCK } from "../support/ebs-snapshots.js";
import { SnapshotFixture } from "../support/snapshot-fixture.js";

t.test("an image of odd size comes back as it was, sparse, its zeros never sent", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random", "zero", "random", "zero", "zero", "random"], 1000);
  const pushed = await fixture.json<PushResult>(
    "push",
    image,
    "--tag",
    "app=records",
    "--description",
    "a test",
  );
  t.match(pushed, { blocks: 6, sent: 3, zero: 3, volumeGib: 1, resumed: false });
  t.ok(fixture.holds(pushed.snapshot, image), "the service has the image");
  const stored = fixture.ebs.snapshots.all.get(pushed.snapshot);
  t.equal(stored?.status, "completed");
  t.equal(stored?.description, "a test");
  t.strictSame(stored?.tags, [{ Key: "app", Value: "records" }]);

  const out = fixture.scratch.file("out");
  await fixture.json("restore", pushed.snapshot, out);
  t.ok(readFileSync(out).equals(readFileSync(image)), "the same bytes and the same length");
  t.ok(statSync(out).blocks * 512 <= 3 * BLOCK + 65_536, "holes where zeros were");
  t.match(await fixture.json("verify", pushed.snapshot, "--against", image), {
    problems: [],
    manifest: true,
  });
});

t.test("a child snapshot sends what has changed, zeros over old data included", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random", "random", "random", "zero", "random"]);
  const first = await fixture.json<PushResult>("push", image);
  const bytes = readFileSync(image);
  bytes.fill(0, BLOCK, 2 * BLOCK);
  bytes.write("new", 3 * BLOCK + 100);
  writeFileSync(image, bytes);
  truncateSync(image, 4 * BLOCK + 10);
  const second = await fixture.json<PushResult>("push", image, "--parent", first.snapshot);
  t.match(second, { sent: 3, unchanged: 2 });
  t.ok(fixture.holds(second.snapshot, image));
  t.notOk(fixture.holds(first.snapshot, image), "the parent stays as it was");
  t.match(await fixture.json("diff", first.snapshot, second.snapshot), {
    changed: 3,
    added: 1,
    ranges: [
      { from: 1, count: 1 },
      { from: 3, count: 2 },
    ],
  });
  t.match(await fixture.json("verify", second.snapshot, "--against", image), { problems: [] });
  const list = await fixture.run("list");
  t.match(list.stdout, new RegExp(`${second.snapshot} .*parent ${first.snapshot}`));
});

t.test("a parent that another host pushed is read and compared", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random", "random", "random"]);
  const { snapshot } = await fixture.json<PushResult>("push", image);
  const state = fixture.scratch.file("state/snapshots");
  writeFileSync(`${state}/${snapshot}.manifest`, "");
  const damaged = await fixture.run("push", image, "--parent", snapshot);
  t.equal(damaged.code, "SnapshotManifest", damaged.stderr);
  fixture.env.KMSFS_STATE = fixture.scratch.file("other");
  const child = await fixture.json<PushResult>("push", image, "--parent", snapshot);
  t.match(child, { sent: 0, unchanged: 3 });
  t.match(await fixture.json("verify", child.snapshot), { problems: [], manifest: true });
});

t.test("a manifest that is cut anywhere, or altered, is not believed", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random", "random"]);
  const { snapshot } = await fixture.json<PushResult>("push", image);
  const path = fixture.scratch.file(`state/snapshots/${snapshot}.manifest`);
  const whole = readFileSync(path);
  // The line end after the last line proves nothing: a cut of 1 is no damage.
  for (const cut of [2, 40, whole.length >> 1, whole.length - 10, whole.length]) {
    writeFileSync(path, whole.subarray(0, whole.length - cut));
    const outcome = await fixture.run("verify", snapshot);
    t.equal(outcome.code, "SnapshotManifest", `cut by ${cut}: ${outcome.stderr}`);
    t.match(outcome.stderr, path);
  }
  const altered = Buffer.from(whole);
  const at = whole.indexOf("\n0 ") + 5;
  altered.write(altered.toString("latin1", at, at + 1) === "A" ? "B" : "A", at);
  writeFileSync(path, altered);
  t.equal((await fixture.run("verify", snapshot)).code, "SnapshotManifest");
  writeFileSync(path, whole);
  appendFileSync(path, "3 x\n");
  t.equal((await fixture.run("restore", snapshot, fixture.scratch.file("out"))).code, "SnapshotManifest");
  t.notOk(existsSync(fixture.scratch.file("out")));
});

t.test("nothing is left behind but the manifest", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random"]);
  const { snapshot } = await fixture.json<PushResult>("push", image);
  const left = readdirSync(fixture.scratch.file("state/snapshots")).filter((name) => !name.endsWith(".lock"));
  t.strictSame(left, [`${snapshot}.manifest`]);
});
