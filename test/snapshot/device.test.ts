/** Block devices as source and as target of a snapshot: loop devices over sparse files. */

import { spawnSync } from "node:child_process";
import { openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import type { PushResult } from "../../src/snapshot/push.js";
import { BLOCK } from "../support/ebs-snapshots.js";
import { SnapshotFixture } from "../support/snapshot-fixture.js";

const root = process.getuid?.() === 0;
const GIB = 1024 ** 3;

/** A loop device of so many bytes, of zeros; gone when the test ends. */
function device(t: Test, fixture: SnapshotFixture, name: string, bytes: number): string {
  const path = fixture.image(name, []);
  run("truncate", "-s", String(bytes), path);
  const loop = run("losetup", "-f", "--show", path).trim();
  t.teardown(() => spawnSync("losetup", ["-d", loop]));
  return loop;
}

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args);
  if (status !== 0) throw new Error(`${program}: ${stderr.toString()}`);
  return stdout.toString();
}

function start(path: string, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  readSync(openSync(path, "r"), bytes, 0, length, 0);
  return bytes;
}

t.test(
  "a device comes back onto another, zeros where the snapshot has nothing",
  { skip: !root && "needs root" },
  async (t) => {
    const fixture = await SnapshotFixture.make(t);
    const source = device(t, fixture, "source", GIB);
    const contents = readFileSync(fixture.image("contents", ["random", "zero", "random"]));
    writeFileSync(source, contents);
    const pushed = await fixture.json<PushResult>("push", source);
    t.match(pushed, { blocks: 2048, sent: 2, zero: 2046, volumeGib: 1 });

    const target = device(t, fixture, "target", GIB);
    await fixture.json("restore", pushed.snapshot, target);
    t.ok(start(target, contents.length).equals(contents));
    t.match(await fixture.json("verify", pushed.snapshot, "--against", target), { problems: [] });

    const again = await fixture.run("restore", pushed.snapshot, target);
    t.equal(again.code, "SnapshotTarget", again.stderr);
    t.match(again.stderr, /is not empty/);
    writeFileSync(target, Buffer.alloc(BLOCK, 7), { flag: "r+" });
    run(
      "dd",
      "if=/dev/urandom",
      `of=${target}`,
      "bs=1M",
      "count=1",
      "seek=500",
      "conv=notrunc",
      "status=none",
    );
    await fixture.json("restore", pushed.snapshot, target, "--force");
    t.match(
      await fixture.json("verify", pushed.snapshot, "--against", target),
      { problems: [] },
      "old data is gone",
    );
  },
);

t.test(
  "a device that is too small or in use is refused and left as it is",
  { skip: !root && "needs root" },
  async (t) => {
    const fixture = await SnapshotFixture.make(t);
    const { snapshot } = await fixture.json<PushResult>("push", fixture.image("disk", ["random"]));
    const small = device(t, fixture, "small", GIB / 2);
    const refused = await fixture.run("restore", snapshot, small);
    t.equal(refused.code, "SnapshotTarget", refused.stderr);
    t.match(refused.stderr, /name a larger device/);

    const used = device(t, fixture, "used", GIB);
    run("mkfs.ext4", "-q", used);
    const dir = fixture.directory("mounted");
    run("mount", used, dir);
    t.teardown(() => spawnSync("umount", [dir]));
    writeFileSync(`${dir}/kept`, "kept");
    const busy = await fixture.run("restore", snapshot, used, "--force");
    t.equal(busy.code, "SnapshotTarget", busy.stderr);
    t.match(busy.stderr, /is in use/);
    t.equal(readFileSync(`${dir}/kept`, "utf8"), "kept");
    run("umount", dir);
    run("e2fsck", "-fn", used);
  },
);

t.test(
  "a restore that is killed leaves a device without its first block",
  { skip: !root && "needs root" },
  async (t) => {
    const fixture = await SnapshotFixture.make(t);
    const many = Array.from({ length: 24 }, () => "random" as const);
    const { snapshot } = await fixture.json<PushResult>("push", fixture.image("disk", many));
    const target = device(t, fixture, "target", GIB);
    const child = fixture.spawn("restore", snapshot, target, "--concurrency", "2");
    const ended = new Promise((done) => child.once("close", done));
    fixture.ebs.trouble = ({ operation }) => {
      if (fixture.ebs.count(operation) >= 15 && operation === "GetSnapshotBlock") child.kill("SIGKILL");
      return undefined;
    };
    await ended;
    t.ok(start(target, BLOCK).equals(Buffer.alloc(BLOCK)), "no superblock and no partition table");
    fixture.ebs.trouble = () => undefined;
    await fixture.json("restore", snapshot, target, "--force");
    t.match(await fixture.json("verify", snapshot, "--against", target), { problems: [] });
  },
);
