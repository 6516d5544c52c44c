#!/usr/bin/env node
/**
 * What the snapshot commands do against the tests' stand-in for EBS, each of whose blocks takes 10 ms on its way, on this
 * machine, as root: `npm run build:test && node bench/snapshot.mjs [MiB]`. The stand-in shares the cores with the command
 * and checks every signature and checksum: read the rates against each other.
 */

import { spawn, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { EbsStandin } from "../dist-test/test/support/ebs-standin.js";

const MIB = Number(process.argv[2] ?? 256);
const BLOCK_MS = 10;
const CLI = fileURLToPath(new URL("../dist-test/src/cli/main.js", import.meta.url));
const scratch = mkdtempSync("/var/tmp/kmsfs-bench-");
const ebs = await EbsStandin.start();
ebs.blockDelay = BLOCK_MS;
const env = {
  PATH: process.env.PATH,
  HOME: scratch,
  ...ebs.environment(),
  ...Object.fromEntries(["STATE", "RUN", "LOG", "ETC"].map((name) => [`KMSFS_${name}`, join(scratch, name)])),
};

/** Runs a program while the stand-in answers; throws when it fails. */
function run(program, ...args) {
  return new Promise((done, failed) => {
    const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "inherit"] });
    let out = "";
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    child.once("close", (status) => (status === 0 ? done(out) : failed(new Error(`${program} ${args}: ${status}`))));
  });
}

const kmsfs = (...args) => run(process.execPath, CLI, ...args);
const seconds = async (work) => {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
};
const row = (name, value) => console.log(`${name.padEnd(60)} ${value}`);
const fetched = () => ebs.count("GetSnapshotBlock");

try {
  const image = join(scratch, "image");
  writeFileSync(image, randomFillSync(Buffer.alloc(MIB * 2 ** 20)));
  let snapshot = "";
  const idle = await seconds(() => kmsfs("snapshot", "list"));
  row("start of the command, taken off below", `${idle.toFixed(2)} s`);
  for (const concurrency of [1, 4, 16, 64]) {
    const at = String(concurrency);
    const push = await seconds(async () => {
      snapshot = JSON.parse(await kmsfs("snapshot", "push", image, "--concurrency", at, "--json")).snapshot;
    });
    const out = join(scratch, "out");
    const restore = await seconds(() => kmsfs("snapshot", "restore", snapshot, out, "--concurrency", at));
    rmSync(out);
    const rate = (s) => `${(MIB / (s - idle)).toFixed(0)} MiB/s`;
    row(`${MIB} MiB, at most ${concurrency} requests at once`, `push ${rate(push)}, restore ${rate(restore)}`);
  }

  // A volume with 200 files of 1 MiB on an ext4 of its own, as it is restored from.
  const [disk, shown, old, mnt] = ["disk", "shown", "old", "mnt"].map((name) => join(scratch, name));
  for (const dir of [disk, shown, old, mnt]) mkdirSync(dir);
  const volume = join(scratch, "volume.img");
  await run("truncate", "-s", "512M", volume);
  await run("mkfs.ext4", "-q", volume);
  await run("mount", "-o", "loop", volume, disk);
  const key = join(scratch, "key");
  await kmsfs("init", `${disk}/volume`, "--keyfile", key);
  await kmsfs("mount", `${disk}/volume`, mnt);
  for (let i = 0; i < 200; i++) writeFileSync(`${mnt}/${i}`, randomFillSync(Buffer.alloc(2 ** 20)));
  await kmsfs("umount", mnt);
  await run("umount", disk);
  snapshot = JSON.parse(await kmsfs("snapshot", "push", volume, "--json")).snapshot;
  const blocks = ebs.snapshots.all.get(snapshot).written.size;

  const up = await seconds(() => kmsfs("snapshot", "mount", snapshot, shown));
  const first = await seconds(async () => {
    const handle = await open(`${shown}/image`);
    await handle.read(Buffer.alloc(4096), 0, 4096, 0);
    await handle.close();
  });
  row("snapshot mount", `up after ${up.toFixed(2)} s, first byte ${(first * 1000).toFixed(0)} ms later`);
  let before = fetched();
  const mounts = await seconds(async () => {
    await run("mount", "-o", "ro,noload,loop", `${shown}/image`, disk);
    await kmsfs("mount", "--reader", `${disk}/volume`, old, "--keyfile", key);
  });
  row("ext4 and the reader mounted in it", `${mounts.toFixed(2)} s, ${fetched() - before} of ${blocks} blocks fetched`);
  before = fetched();
  const file = await seconds(() => run("cp", `${old}/100`, join(scratch, "file")));
  row("a file of 1 MiB copied out", `${file.toFixed(2)} s, ${fetched() - before} of ${blocks} blocks fetched`);
} finally {
  for (const dir of ["old", "mnt", "disk", "shown"]) spawnSync("umount", ["-i", "-l", "-q", join(scratch, dir)]);
  await ebs.stop();
  rmSync(scratch, { recursive: true, force: true });
}
