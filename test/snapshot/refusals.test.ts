/** Bad input, and a machine that is not set up for AWS: one line, and a code of its own. */

import t from "tap";
import type { PushResult } from "../../src/snapshot/push.js";
import { denied } from "../support/ebs-standin.js";
import { SnapshotFixture } from "../support/snapshot-fixture.js";

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
