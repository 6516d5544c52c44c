/** Commands that are killed, interrupted or refused half-way: nothing is lost, and nothing half-done is taken for whole. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import type { PushResult } from "../../src/snapshot/push.js";
import { BLOCK } from "../support/ebs-snapshots.js";
import { denied, throttled } from "../support/ebs-standin.js";
import { SnapshotFixture } from "../support/snapshot-fixture.js";

const MANY = Array.from({ length: 24 }, () => "random" as const);

t.test("a push that is killed at any block goes on where it was", { timeout: 170_000 }, async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", MANY);
  const killed = [1, 9, 20];
  for (const after of killed) {
    // The answer is lost to the process that is killed: the block is there, and its journal does not know.
    const child = fixture.spawn("push", image, "--concurrency", "4");
    const ended = new Promise((done) => child.once("close", done));
    fixture.ebs.trouble = ({ operation }) => {
      if (operation === "PutSnapshotBlock" && fixture.ebs.count(operation) >= after) child.kill("SIGKILL");
      return undefined;
    };
    await ended;
  }
  fixture.ebs.trouble = () => undefined;
  const list = await fixture.run("list");
  t.match(list.stdout, /not done: the push of/);
  const done = await fixture.json<PushResult>("push", image);
  t.ok(done.resumed);
  t.ok(fixture.holds(done.snapshot, image));
  t.equal(fixture.ebs.snapshots.all.size, 1, "one snapshot in all");
  const puts = fixture.ebs.count("PutSnapshotBlock");
  t.ok(puts <= MANY.length + killed.length * 5, `${puts} blocks sent for ${MANY.length}`);
});

t.test("an image that changed while a push was interrupted is pushed as it is now", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random", "random", "random", "random"]);
  fixture.ebs.trouble = ({ operation }) => (operation === "CompleteSnapshot" ? denied() : undefined);
  const refused = await fixture.run("push", image);
  t.equal(refused.code, "EbsDenied", refused.stderr);
  t.match(refused.stderr, /ebs:CompleteSnapshot/);
  fixture.ebs.trouble = () => undefined;
  const bytes = readFileSync(image);
  bytes.fill(0, 0, BLOCK);
  bytes.write("changed", 2 * BLOCK);
  writeFileSync(image, bytes);
  const done = await fixture.json<PushResult>("push", image);
  t.match(done, { sent: 2, resumed: true });
  t.ok(fixture.holds(done.snapshot, image));
  t.match(await fixture.json("verify", done.snapshot, "--against", image), { problems: [] });
});

t.test("a pending snapshot that AWS has cancelled is begun anew", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random", "random"]);
  fixture.ebs.trouble = ({ index }) => (index === 1 ? denied() : undefined);
  t.equal((await fixture.run("push", image)).code, "EbsDenied");
  for (const snapshot of fixture.ebs.snapshots.all.values()) snapshot.status = "error";
  fixture.ebs.trouble = () => undefined;
  const lost = await fixture.run("push", image);
  t.equal(lost.code, "NoSuchSnapshot", lost.stderr);
  t.match(lost.stderr, /run it again: it begins a new snapshot/);
  const done = await fixture.json<PushResult>("push", image);
  t.ok(fixture.holds(done.snapshot, image));
});

t.test(
  "Ctrl-C ends a push and a restore in order, and nothing half-written has the target's name",
  async (t) => {
    const fixture = await SnapshotFixture.make(t);
    const image = fixture.image("disk", MANY);
    const { snapshot } = await fixture.json<PushResult>("push", image);
    const out = fixture.scratch.file("out");
    for (const args of [
      ["restore", snapshot, out],
      ["push", image, "--parent", snapshot],
    ]) {
      if (args[0] === "push") writeFileSync(image, Buffer.from(readFileSync(image).map((byte) => byte ^ 1)));
      const child = fixture.spawn(...args);
      let said = "";
      child.stderr?.on("data", (chunk: Buffer) => {
        said += chunk.toString();
      });
      const ended = new Promise((done) => child.once("close", done));
      fixture.ebs.trouble = ({ index }) => {
        if (index === 5) child.kill("SIGINT");
        return index !== undefined && index >= 5 ? throttled() : undefined;
      };
      t.equal(await ended, 130, said);
      t.match(said, /^kmsfs: interrupted; .*\n$/);
      fixture.ebs.trouble = () => undefined;
    }
    t.notOk(existsSync(out));
    t.notOk(existsSync(`${out}.restoring`));
    const done = await fixture.json<PushResult>("push", image, "--parent", snapshot);
    t.ok(fixture.holds(done.snapshot, image));
  },
);
