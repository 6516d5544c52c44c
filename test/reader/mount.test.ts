/** kmsfs mount --reader, on what the real engine wrote. */

import { spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { smallDisk } from "../support/small-disk.js";
import { kill, TestVolume } from "../support/test-volume.js";
import { describeTree, writeTree } from "../support/tree.js";
import { until } from "../support/until.js";

const skip = process.getuid?.() !== 0 && "needs root";

/** Mounts the unmounted volume through the reader; the place. */
async function mountReader(volume: TestVolume, backing = volume.backing, ...more: string[]): Promise<string> {
  const dir = mkdtempSync(volume.scratch.file("reader-"));
  const outcome = await volume.run("mount", "--reader", backing, dir, "--keyfile", volume.keyfile, ...more);
  if (outcome.code !== "Ok") throw new Error(`${outcome.stderr} ${volume.logText()}`);
  return dir;
}

/** `describeTree`, with times as fuse-native has them: whole milliseconds. */
function described(dir: string): string[] {
  return describeTree(dir).map((line) => line.replace(/(\d+)\.\d+ ([0-9a-f]{64})$/, "$1 $2"));
}

for (const blockSize of ["4096", "16384", "65536"]) {
  t.test(`what was written is read, block size ${blockSize}, recovery included`, { skip }, async (t) => {
    const volume = await TestVolume.make(t, ["--block-size", blockSize]);
    await volume.up(t);
    writeTree(volume.dir);
    const large = randomBytes(9_000_001);
    writeFileSync(volume.at("large"), large);
    linkSync(volume.at("large"), volume.at("another name"));
    writeSparse(volume.at("sparse"));
    spawnSync("setfattr", ["-n", "user.color", "-v", "blue", volume.at("large")]);
    mkdirSync(volume.at("sticky"), { mode: 0o1770 });
    spawnSync("chown", ["1234:4321", volume.at("sticky")]);
    symlinkSync("x/".repeat(1500), volume.at("long link"));
    utimesSync(volume.at("sparse"), 1_000_000_000, 1_234_567_890.5);
    await volume.down(t);
    await volume.up(t);
    // What comes after this stands in the log alone when the engine is killed.
    writeFileSync(volume.at("late"), randomBytes(300_000));
    const fd = openSync(volume.at("large"), "r+");
    writeSync(fd, large.fill(7, 4_000_000, 4_100_000), 4_000_000, 100_000, 4_000_000);
    closeSync(fd);
    truncateSync(volume.at("texts", "n".repeat(255)), 3);
    const written = described(volume.dir);
    await killed(volume);

    const dir = await mountReader(volume);
    t.same(described(dir), written);
    t.equal(readlinkSync(join(dir, "long link")), "x/".repeat(1500));
    const [one, two] = ["large", "another name"].map((name) => lstatSync(join(dir, name)));
    t.equal(one?.ino, two?.ino);
    t.equal(one?.nlink, 2);
    t.not(lstatSync(join(dir, "sparse")).ino, one?.ino);
    const value = spawnSync("getfattr", ["--only-values", "-n", "user.color", join(dir, "large")]).stdout;
    t.equal(value.toString(), "blue");
    t.ok(await randomReads(join(dir, "large"), large, 200), "many readers at once");
    t.ok(lstatSync(join(dir, "sparse")).blocks < 4096, "holes take no room");
    t.throws(() => writeFileSync(join(dir, "new"), ""), { code: /EROFS|EACCES/ });
    t.equal((await volume.run("umount", dir)).code, "Ok");
    t.equal((await volume.run("verify", volume.backing)).code, "Ok");
    await volume.up(t);
    t.same(described(volume.dir), written, "and the engine finds what it left");
    await volume.down(t);
  });
}

t.test("xattrs are whole or refused, whatever buffer a program has", { skip }, async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeFileSync(volume.at("file"), "x");
  spawnSync("setfattr", ["-n", "user.a", "-v", "v".repeat(1000), volume.at("file")]);
  spawnSync("setfattr", ["-n", "user.empty", volume.at("file")]);
  await volume.down(t);
  const dir = await mountReader(volume);
  const script = `
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
path = sys.argv[1].encode()
for name, size in [(b"user.a", 0), (b"user.a", 999), (b"user.a", 1000), (b"user.a", 4000), (b"user.empty", 0), (b"user.empty", 9), (b"user.no", 9)]:
    b = ctypes.create_string_buffer(max(size, 1))
    r = libc.getxattr(path, name, b if size else None, ctypes.c_size_t(size))
    print(name.decode(), size, r if r >= 0 else -ctypes.get_errno())
for size in [0, 5, 18, 100]:
    b = ctypes.create_string_buffer(max(size, 1))
    r = libc.listxattr(path, b if size else None, ctypes.c_size_t(size))
    print(size, r if r >= 0 else -ctypes.get_errno())
`;
  const { stdout, stderr } = spawnSync("python3", ["-c", script, join(dir, "file")], { encoding: "utf8" });
  const expected = ["user.a 0 1000", "user.a 999 -34", "user.a 1000 1000", "user.a 4000 1000"];
  expected.push("user.empty 0 0", "user.empty 9 0", "user.no 9 -61", "0 18", "5 -34", "18 18", "100 18");
  t.same(stdout.trim().split("\n"), expected, stderr);
  t.equal((await volume.run("umount", dir)).code, "Ok");
});

t.test("damage is EIO on its block and a line in the log, and the mount goes on", { skip }, async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const content = randomBytes(100 * 4096);
  writeFileSync(volume.at("only"), content);
  await volume.down(t);
  const [stored = ""] = readdirSync(volume.backing).filter((name) => name !== ".kmsfs");
  const fd = openSync(join(volume.backing, stored), "r+");
  writeSync(fd, "damage", 4096 + 20 * 4096 + 5);
  closeSync(fd);
  const dir = await mountReader(volume);
  const handle = await open(join(dir, "only"));
  const block = Buffer.alloc(4096);
  for (let i = 0; i < 100; i++) {
    const read = handle.read(block, 0, 4096, i * 4096);
    if (i === 20) await t.rejects(read, { code: "EIO" });
    else {
      await read;
      if (!block.equals(content.subarray(i * 4096, (i + 1) * 4096))) t.fail(`block ${i}`);
    }
  }
  await handle.close();
  const lines = volume.logText().split("\n");
  t.equal(lines.filter((line) => line.includes("/only, block 20")).length, 1, "told once");
  t.equal((await volume.run("umount", dir)).code, "Ok");
});

t.test("a volume on a file system that is read-only, which stays as it is", { skip }, async (t) => {
  const volume = await TestVolume.make(t, [], (v) => smallDisk(v, 64));
  await volume.up(t);
  writeTree(volume.dir);
  const written = described(volume.dir);
  // As a snapshot of a disk in use would have it: neither the volume nor the ext4 was unmounted.
  await killed(volume);
  const image = volume.scratch.file("disk.img");
  const disk = volume.scratch.file("disk");
  spawnSync("fsfreeze", ["-f", disk]);
  const copy = volume.scratch.file("copy.img");
  spawnSync("cp", ["--sparse=always", image, copy]);
  spawnSync("fsfreeze", ["-u", disk]);
  const before = digest(copy);
  const old = volume.scratch.file("old");
  mkdirSync(old);
  t.equal(spawnSync("mount", ["-o", "ro,noload,loop", copy, old]).status, 0);
  const dir = await mountReader(volume, `${old}/volume`);
  t.same(described(dir), written);
  t.equal((await volume.run("umount", dir)).code, "Ok");
  t.equal(spawnSync("umount", [old]).status, 0);
  t.equal(digest(copy), before);
});

t.test("two readers, no writer; options that need the engine are refused", { skip }, async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const dir = volume.scratch.file("reader");
  mkdirSync(dir);
  const reader = (...more: string[]) => volume.run("mount", "--reader", volume.backing, dir, ...more);
  const inUse = await reader();
  t.equal(inUse.code, "InUse", inUse.stderr);
  await volume.down(t);
  for (const option of ["rw", "mlock=require", "bogus", "cache=1"]) {
    const refused = await reader("-o", option);
    t.equal(refused.code, "Usage", refused.stderr);
    t.equal(refused.stderr.trimEnd().split("\n").length, 1);
  }
  t.match((await reader("-o", "rw")).stderr, /--reader cannot write/);
  const wrong = volume.scratch.file("wrong");
  writeFileSync(wrong, randomBytes(32), { mode: 0o600 });
  t.equal((await reader("--keyfile", wrong)).code, "WrongKey");
  t.same(readdirSync(dir), [], "nothing is mounted");
  t.equal((await reader("-o", "ro,allow_other,noatime,nofail,cache=8M")).code, "Ok");
  const second = await mountReader(volume);
  t.equal((await volume.mount()).code, "InUse");
  const conditions = (await volume.statuses()).map((mount) => [mount.backing, mount.condition]);
  t.same(conditions, [
    [volume.backing, "reader"],
    [volume.backing, "reader"],
  ]);
  t.equal((await volume.run("umount", second, "--lazy")).code, "Ok");
  const busy = openSync(join(dir, "."), "r");
  t.equal((await volume.run("umount", dir)).code, "Busy");
  closeSync(busy);
  t.equal((await volume.run("umount", dir)).code, "Ok");
  await volume.up(t);
  await volume.down(t);
});

t.test("--foreground stays until SIGTERM unmounts", { skip }, async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeFileSync(volume.at("file"), "text");
  await volume.down(t);
  const dir = volume.scratch.file("reader");
  mkdirSync(dir);
  const child = volume.start("mount", "--reader", "--foreground", volume.backing, dir);
  const ended = new Promise((done) => child.once("close", done));
  await until("it is mounted", () => spawnSync("mountpoint", ["-q", dir]).status === 0);
  t.equal(await readFile(join(dir, "file"), "utf8"), "text");
  child.kill("SIGTERM");
  t.equal(await ended, 0);
  t.not(spawnSync("mountpoint", ["-q", dir]).status, 0);
  await volume.up(t);
  await volume.down(t);
});

t.test("reading it all at once by many programs", { skip }, async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeTree(volume.dir);
  writeFileSync(volume.at("large"), randomBytes(20_000_000));
  const script = 'cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum';
  const sums = (dir: string) =>
    new Promise<string>((done) => {
      const child = spawn("sh", ["-c", script, "sh", dir]);
      let text = "";
      child.stdout.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      child.once("close", () => done(text));
    });
  const wanted = await sums(volume.dir);
  await volume.down(t);
  const dir = await mountReader(volume, volume.backing, "-o", "cache=1M");
  const all = await Promise.all(Array.from({ length: 8 }, () => sums(dir)));
  t.ok(all.every((text) => text === wanted));
  t.equal((await volume.run("umount", dir)).code, "Ok");
});

/** SIGKILL for the engine, and no mount left. */
async function killed(volume: TestVolume): Promise<void> {
  const { enginePid } = await volume.status();
  if (enginePid === null) throw new Error("not served");
  kill(enginePid);
  await until("the daemon has cleaned up", async () => (await volume.statuses()).length === 0);
}

/** 3 MiB of holes with data on both sides of borders. */
function writeSparse(path: string): void {
  const fd = openSync(path, "w");
  for (const at of [0, 458_750, 1_000_000, 3_000_000]) writeSync(fd, randomBytes(5), 0, 5, at);
  closeSync(fd);
  truncateSync(path, 6_000_000);
}

async function randomReads(path: string, content: Buffer, count: number): Promise<boolean> {
  const handles = await Promise.all([open(path), open(path), open(path)]);
  const reads = Array.from({ length: count }, async (_, i) => {
    const at = randomBytes(4).readUInt32LE() % content.length;
    const length = 1 + (randomBytes(4).readUInt32LE() % 200_000);
    const wanted = content.subarray(at, at + length);
    const result = await handles[i % 3]?.read(Buffer.alloc(wanted.length), 0, wanted.length, at);
    return result?.buffer.equals(wanted) === true;
  });
  const right = await Promise.all(reads);
  for (const handle of handles) await handle.close();
  return right.every(Boolean);
}

function digest(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}
