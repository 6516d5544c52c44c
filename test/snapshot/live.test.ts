/** A mounted volume into a snapshot, and a deleted file out of it again: from end to end, with a disk of its own. */

import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import t from "tap";
import type { PushResult } from "../../src/snapshot/push.js";
import { EbsStandin } from "../support/ebs-standin.js";
import { smallDisk } from "../support/small-disk.js";
import { TestVolume } from "../support/test-volume.js";

const root = process.getuid?.() === 0;

t.test(
  "what was written just before a push is in it, and a deleted file is back without a volume being made",
  { skip: !root && "needs root" },
  async (t) => {
    const ebs = await EbsStandin.start();
    t.teardown(() => ebs.stop());
    const volume = await TestVolume.make(t, [], (v) => smallDisk(v, 96));
    Object.assign(volume.env, ebs.environment(), { KMSFS_STATE: volume.scratch.file("state") });
    const image = volume.scratch.file("disk.img");
    await volume.up(t);
    const kept = randomBytes(3_000_000);
    writeFileSync(volume.at("record"), kept);
    const push = async (...more: string[]): Promise<PushResult> => {
      const outcome = await volume.run("snapshot", "push", image, "--json", ...more);
      if (outcome.code !== "Ok") throw new Error(outcome.stderr);
      return JSON.parse(outcome.stdout) as PushResult;
    };
    const first = await push();

    // A program that goes on writing: it is held for a moment, and loses nothing.
    const written = keepWriting(volume);
    writeFileSync(volume.at("later"), "just before the push");
    const second = await push("--parent", first.snapshot);
    rmSync(volume.at("go"));
    t.equal(await written, 0, "the writer met no error");
    t.type(second.frozenMs, "number", `writers were held for ${second.frozenMs} ms`);
    t.ok(second.sent < second.blocks / 2, `${second.sent} of ${second.blocks} blocks sent`);
    const lines = readFileSync(volume.at("log"), "latin1").trimEnd().split("\n");
    t.ok(
      lines.every((line, i) => line === String(i + 1)),
      "no line is lost",
    );

    rmSync(volume.at("record"));
    const shown = volume.scratch.file("shown");
    const disk = volume.scratch.file("old-disk");
    for (const dir of [shown, disk]) mkdirSync(dir);
    const mounted = await volume.run("snapshot", "mount", second.snapshot, shown);
    t.equal(mounted.code, "Ok", mounted.stderr);
    // Asynchronous: the stand-in has to answer meanwhile.
    await ended("mount", "-o", "ro,noload,loop", `${shown}/image`, disk);
    const old = volume.scratch.file("old");
    mkdirSync(old);
    const read = await volume.run("mount", "--reader", `${disk}/volume`, old, "--keyfile", volume.keyfile);
    t.equal(read.code, "Ok", read.stderr);
    t.equal(await ended("cp", "-a", `${old}/record`, volume.at("record")), 0);
    t.ok((await readFile(volume.at("record"))).equals(kept), "the deleted file, as it was");
    t.equal(await readFile(`${old}/later`, "utf8"), "just before the push");
    t.equal((await volume.run("umount", old)).code, "Ok");
    await ended("umount", disk);
    t.equal((await volume.run("umount", shown)).code, "Ok");
    await volume.down(t);
  },
);

t.test(
  "a frozen file system is thawed when the push is killed",
  { skip: !root && "needs root" },
  async (t) => {
    const ebs = await EbsStandin.start();
    t.teardown(() => ebs.stop());
    const volume = await TestVolume.make(t, [], (v) => smallDisk(v, 96));
    Object.assign(volume.env, ebs.environment(), { KMSFS_STATE: volume.scratch.file("state") });
    const disk = volume.scratch.file("disk");
    t.teardown(() => spawnSync("fsfreeze", ["-u", disk]));
    await volume.up(t);
    const push = volume.start("snapshot", "push", volume.scratch.file("disk.img"));
    const over = new Promise((done) => push.once("close", done));
    // The second pass has something to send, and stays frozen over it.
    let passes = 0;
    ebs.trouble = ({ operation, index }) => {
      if (operation === "PutSnapshotBlock" && index === 0) {
        passes += 1;
        if (passes === 2) push.kill("SIGKILL");
      }
      return undefined;
    };
    const written = keepWriting(volume);
    await over;
    const touched = await ended("timeout", "20", "touch", `${disk}/thawed`);
    t.equal(touched, 0, "the disk takes writes again");
    rmSync(volume.at("go"));
    t.equal(await written, 0);
    await volume.down(t);
  },
);

t.test(
  "state that would be frozen is refused before anything is frozen",
  { skip: !root && "needs root" },
  async (t) => {
    const ebs = await EbsStandin.start();
    t.teardown(() => ebs.stop());
    const volume = await TestVolume.make(t, [], (v) => smallDisk(v, 64));
    Object.assign(volume.env, ebs.environment(), { KMSFS_STATE: volume.scratch.file("disk/state") });
    const image = volume.scratch.file("disk.img");
    const refused = await volume.run("snapshot", "push", image);
    t.equal(refused.code, "Usage", refused.stderr);
    t.match(refused.stderr, /lies on .*disk\.img, which has to be frozen; set KMSFS_STATE/);
    t.equal((await volume.run("snapshot", "push", image, "--no-freeze")).code, "Ok");
  },
);

/**
 * A program that appends numbers to "log" until "go" is gone. This process itself must not write: it would wait for the
 * thaw, and the push for the stand-in that runs in it.
 */
function keepWriting(volume: TestVolume): Promise<number | null> {
  const script = 'i=0; while [ -e "$1/go" ]; do i=$((i+1)); echo "$i" >>"$1/log" || exit 9; done';
  writeFileSync(volume.at("go"), "");
  return ended("sh", "-c", script, "sh", volume.dir);
}

/** Runs a program while this process goes on; its exit status. */
function ended(program: string, ...args: string[]): Promise<number | null> {
  return new Promise((done) => spawn(program, args, { stdio: "inherit" }).once("close", done));
}
