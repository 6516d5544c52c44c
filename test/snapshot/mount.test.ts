/**
 * A snapshot as an image file: blocks come when they are read, few of them, each proved. The stand-in runs in this very
 * process: a read of the mount must never be a synchronous one.
 */

import { randomFillSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import t from "tap";
import type { PushResult } from "../../src/snapshot/push.js";
import { BLOCK } from "../support/ebs-snapshots.js";
import { denied } from "../support/ebs-standin.js";
import { SnapshotFixture } from "../support/snapshot-fixture.js";

const root = process.getuid?.() === 0;

t.test("only what is read is fetched, and it is the image's", { skip: !root && "needs root" }, async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image(
    "disk",
    Array.from({ length: 64 }, (_, i) => (i % 8 === 7 ? "zero" : "random")),
  );
  const bytes = readFileSync(image);
  const { snapshot } = await fixture.json<PushResult>("push", image);
  const shown = await fixture.mount(t, snapshot);
  t.strictSame(fixture.listed(shown.dir), ["image"]);
  const handle = await open(`${shown.dir}/image`);
  t.teardown(() => handle.close());
  const part = Buffer.alloc(100);
  await handle.read(part, 0, 100, 30 * BLOCK + 77);
  t.ok(part.equals(bytes.subarray(30 * BLOCK + 77, 30 * BLOCK + 177)));
  t.ok(fixture.ebs.count("GetSnapshotBlock") <= 2, "one block, and perhaps the one ahead");
  const across = Buffer.alloc(3 * BLOCK);
  await handle.read(across, 0, across.length, 5 * BLOCK - 99);
  t.ok(across.equals(bytes.subarray(5 * BLOCK - 99, 8 * BLOCK - 99)), "over edges and holes");
  const whole = Buffer.alloc(bytes.length);
  for (let at = 0; at < whole.length; ) at += (await handle.read(whole, at, 1 << 20, at)).bytesRead;
  t.ok(whole.equals(bytes));
  t.ok(fixture.ebs.count("GetSnapshotBlock") <= 64, "no block was fetched twice");
  t.throws(() => writeFileSync(`${shown.dir}/image`, "x"), { code: /EROFS|EACCES|EPERM/ });
});

t.test(
  "a block that cannot be had is EIO there alone, and a line in the log",
  { skip: !root && "needs root" },
  async (t) => {
    const fixture = await SnapshotFixture.make(t);
    const image = fixture.image("disk", ["random", "random", "random", "random"]);
    const bytes = readFileSync(image);
    const { snapshot } = await fixture.json<PushResult>("push", image);
    const shown = await fixture.mount(t, snapshot);
    let lost = true;
    fixture.ebs.trouble = ({ operation, index }) =>
      operation === "GetSnapshotBlock" && index === 2 && lost ? denied() : undefined;
    const handle = await open(`${shown.dir}/image`);
    t.teardown(() => handle.close());
    const block = Buffer.alloc(4096);
    await t.rejects(handle.read(block, 0, 4096, 2 * BLOCK + 8192), { code: "EIO" });
    await handle.read(block, 0, 4096, 3 * BLOCK);
    t.ok(block.equals(bytes.subarray(3 * BLOCK, 3 * BLOCK + 4096)), "the mount goes on");
    t.match(shown.log(), /block 2: .*access denied/);
    lost = false;
    await handle.read(block, 0, 4096, 2 * BLOCK);
    t.ok(
      block.equals(bytes.subarray(2 * BLOCK, 2 * BLOCK + 4096)),
      "and has the block when it is there again",
    );
  },
);

t.test(
  "many readers at once, a cache smaller than the image, tokens that expire",
  { skip: !root && "needs root" },
  async (t) => {
    const fixture = await SnapshotFixture.make(t);
    const image = fixture.image(
      "disk",
      Array.from({ length: 60 }, () => "random" as const),
    );
    const bytes = readFileSync(image);
    const { snapshot } = await fixture.json<PushResult>("push", image);
    fixture.ebs.snapshots.pageLimit = 7;
    const shown = await fixture.mount(t, snapshot, "--cache", "4M");
    const handle = await open(`${shown.dir}/image`);
    const places = Array.from(
      { length: 200 },
      () => randomFillSync(Buffer.alloc(4)).readUInt32LE() % (bytes.length - 9000),
    );
    const check = async (at: number) => {
      const { buffer } = await handle.read(Buffer.alloc(9000), 0, 9000, at);
      return buffer.equals(bytes.subarray(at, at + 9000));
    };
    const right = await Promise.all(places.slice(0, 100).map(check));
    fixture.ebs.snapshots.expireTokens();
    right.push(...(await Promise.all(places.slice(100).map(check))));
    await handle.close();
    t.equal(right.filter(Boolean).length, 200);
  },
);

t.test("bad input leaves nothing mounted", { skip: !root && "needs root" }, async (t) => {
  const fixture = await SnapshotFixture.make(t);
  const image = fixture.image("disk", ["random"]);
  const { snapshot } = await fixture.json<PushResult>("push", image);
  const none = fixture.scratch.file("none");
  t.equal((await fixture.run("mount", snapshot, none)).code, "MountPoint");
  t.equal((await fixture.run("mount", snapshot, fixture.scratch.path)).code, "MountPoint");
  const dir = fixture.directory("mnt");
  const missing = await fixture.run("mount", "snap-00000000000000000", dir);
  t.equal(missing.code, "NoSuchSnapshot", missing.stderr);
  t.equal((await fixture.run("mount", snapshot, dir, "--cache", "x")).code, "Usage");
  t.strictSame(fixture.listed(dir), []);
});
