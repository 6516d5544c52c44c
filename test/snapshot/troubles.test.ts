/** A service that throttles, fails and lies, commands that are killed: what was promised holds all the same. */

import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import type { PushResult } from "../../src/snapshot/push.js";
import { BLOCK } from "../support/ebs-snapshots.js";
import { denied, type EbsRequest, overloaded, type Trouble, throttled } from "../support/ebs-standin.js";
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

t.test("bad input is one line and a code of its own", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random", "random"]);
  const { snapshot } = await fixture.json<PushResult>("push", image);
  const missing = "snap-00000000000000000";
  const empty = fixture.image("empty", []);
  const full = fixture.image("full", ["random"]);
  const out = fixture.scratch.file("out");
  const cases: readonly [string, readonly string[]][] = [
    ["NoSuchSnapshot", ["verify", missing]],
    ["NoSuchSnapshot", ["restore", missing, out]],
    ["NoSuchSnapshot", ["diff", missing, snapshot]],
    ["NoSuchSnapshot", ["push", image, "--parent", missing]],
    ["Usage", ["verify", "vol-1"]],
    ["Usage", ["push", empty]],
    ["Usage", ["push", fixture.scratch.path]],
    ["Usage", ["push", fixture.scratch.file("none")]],
    ["Usage", ["push", image, "--tag", "novalue"]],
    ["Usage", ["push", image, "--concurrency", "0"]],
    ["SnapshotTarget", ["restore", snapshot, full]],
    ["SnapshotTarget", ["restore", snapshot, fixture.scratch.path]],
    ["SnapshotTarget", ["restore", snapshot, fixture.scratch.file("no/dir")]],
  ];
  for (const [code, args] of cases) {
    const outcome = await fixture.run(...args);
    t.equal(outcome.code, code, `${args.join(" ")}: ${outcome.stderr}`);
    t.equal(outcome.stderr.trim().split("\n").length, 1);
  }
  fixture.ebs.trouble = ({ operation }) => (operation === "StartSnapshot" ? denied() : undefined);
  t.equal((await fixture.run("push", image)).code, "EbsDenied");
  fixture.ebs.trouble = () => undefined;
  const pending = [...fixture.ebs.snapshots.all.values()][0];
  if (pending !== undefined) pending.status = "pending";
  const outcome = await fixture.run("verify", snapshot);
  t.equal(outcome.code, "NoSuchSnapshot");
  t.match(outcome.stderr, /not in the 'completed' state/);
  await fixture.ebs.stop();
});

t.test("no endpoint, no credentials, no region: each is said", async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random"]);
  const { AWS_REGION: _region, ...noRegion } = fixture.env;
  const { AWS_ACCESS_KEY_ID: _key, ...noCredentials } = fixture.env;
  for (const [code, env] of [
    ["NoRegion", noRegion],
    ["NoCredentials", noCredentials],
  ] as const) {
    const outcome = await fixture.runWith(env, "push", image);
    t.equal(outcome.code, code, outcome.stderr);
  }
  const wrong = { ...fixture.env, AWS_SECRET_ACCESS_KEY: "other" };
  t.equal((await fixture.runWith(wrong, "push", image)).code, "NoCredentials");
});
