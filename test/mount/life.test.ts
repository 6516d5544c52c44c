/** A mount from beginning to end, with the real engine. */

import { spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import t from "tap";
import { MAIN } from "../support/run-kmsfs.js";
import { kill, TestVolume } from "../support/test-volume.js";
import { describeTree, writeTree } from "../support/tree.js";
import { until } from "../support/until.js";

t.test(
  "what was written is there after unmounting and mounting again, and nothing stays behind",
  async (t) => {
    const volume = await TestVolume.make(t);
    await volume.up(t);
    writeTree(volume.dir);
    const before = describeTree(volume.dir);
    t.ok(before.length > 50);
    await volume.down(t);
    t.same(readdirSync(volume.dir), [], "the mount point is empty");
    t.same(readdirSync(volume.scratch.file("run")), [], "no run files");
    await volume.up(t);
    t.same(describeTree(volume.dir), before);
    await volume.down(t);
  },
);

t.test(
  "umount(8) followed by a mount works at once, a mount waits for one that is still writing",
  async (t) => {
    const volume = await TestVolume.make(t);
    for (const round of [1, 2, 3]) {
      await volume.up(t);
      writeFileSync(volume.at("round"), `${round}`.repeat(2_000_000));
      t.equal(spawnSync("umount", ["-i", volume.dir]).status, 0);
    }
    await volume.up(t);
    t.equal(readFileSync(volume.at("round"), "utf8"), "3".repeat(2_000_000));
    await volume.down(t);
  },
);

t.test("umount returns when the volume is free: its lock can be taken", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeFileSync(volume.at("big"), Buffer.alloc(20_000_000, "x"));
  await volume.down(t);
  const lock = `${volume.backing}/.kmsfs/lock`;
  t.equal(spawnSync("flock", ["-n", lock, "true"]).status, 0);
});

t.test(
  "a second mount of a volume is refused, wherever it would be, and the first one lives on",
  async (t) => {
    const volume = await TestVolume.make(t);
    await volume.up(t);
    writeFileSync(volume.at("file"), "first");
    const again = await volume.mount();
    t.equal(again.code, "MountPoint", again.stderr);
    const elsewhere = volume.scratch.file("elsewhere");
    mkdirSync(elsewhere);
    const second = await volume.run("mount", volume.backing, elsewhere);
    t.equal(second.code, "InUse", second.stderr);
    t.match(second.stderr, new RegExp(`^kmsfs: .*${volume.dir}.*\\n$`), "says where it is mounted");
    const hidden = { ...volume.env, KMSFS_RUN: volume.scratch.file("other-run") };
    const { runKmsfs } = await import("../support/run-kmsfs.js");
    const third = await runKmsfs(["mount", volume.backing, elsewhere], hidden);
    t.equal(third.code, "InUse", "the engine's lock refuses what no run file tells of");
    t.match(third.stderr, /^kmsfs: [^\n]+\n$/);
    t.same(readdirSync(elsewhere), []);
    t.equal(readFileSync(volume.at("file"), "utf8"), "first");
    await volume.down(t);
  },
);

t.test("a mount in use is not unmounted; the refusal names the user and the mount goes on", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const fd = openSync(volume.at("held"), "w");
  const refused = await volume.umount();
  t.equal(refused.code, "Busy", refused.stderr);
  t.match(refused.stderr, new RegExp(`\\(${process.pid}\\)`));
  writeSync(fd, "written after the refusal");
  closeSync(fd);
  await volume.down(t);
  await volume.up(t);
  t.equal(readFileSync(volume.at("held"), "utf8"), "written after the refusal");
  await volume.down(t);
});

t.test("a lazy unmount loses nothing: the mount ends with its last user", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const fd = openSync(volume.at("held"), "w");
  const detached = await volume.umount("--lazy");
  t.equal(detached.code, "Ok", detached.stderr);
  t.notOk(existsSync(volume.at("held")), "out of the tree at once");
  t.equal((await volume.status()).condition, "detached");
  const began = performance.now();
  const refused = await volume.mount();
  t.equal(refused.code, "InUse", refused.stderr);
  t.match(refused.stderr, /detached, still open\); end what still uses it/);
  t.ok(performance.now() - began < 25_000, "without waiting for an end that does not come");
  writeSync(fd, "written after the detachment");
  closeSync(fd);
  await until("the engine is gone", async () => (await volume.statuses()).length === 0);
  await volume.up(t);
  t.equal(readFileSync(volume.at("held"), "utf8"), "written after the detachment");
  await volume.down(t);
});

t.test("umount says which mount namespace and which other place it waits for", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const other = volume.scratch.file("other");
  const ready = volume.scratch.file("ready");
  mkdirSync(other);
  t.equal(spawnSync("mount", ["--bind", volume.dir, other]).status, 0);
  const script = 'umount "$1" && touch "$2" && exec sleep 300';
  const args = ["-m", "--propagation", "private", "sh", "-c", script, "sh", other, ready];
  const holder = spawn("unshare", args, { stdio: "ignore" });
  t.teardown(() => kill(holder.pid ?? 0));
  await until("the namespace is there", () => existsSync(ready));
  const umount = volume.start("umount", volume.dir);
  t.teardown(() => kill(umount.pid ?? 0));
  const ended = new Promise<number | null>((done) => umount.on("close", done));
  let said = "";
  umount.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const still = `kmsfs: ${volume.dir} is unmounted here and waits: its volume is still mounted on`;
  const due = [
    `${still} ${other}\n`,
    `${still} ${volume.dir} in the mount namespace of sleep (${holder.pid})\n`,
  ];
  // A namespace that another test makes at this moment has a copy as well.
  await until("it says what it waits for", () => due.every((line) => said.includes(line)));
  t.equal(umount.exitCode, null, "it goes on waiting");
  t.equal(spawnSync("umount", [other]).status, 0);
  kill(holder.pid ?? 0);
  t.equal(await ended, 0, said);
  t.equal(spawnSync("flock", ["-n", `${volume.backing}/.kmsfs/lock`, "true"]).status, 0);
});

t.test("status tells of a mount what an operator and a program need", async (t) => {
  const volume = await TestVolume.make(t);
  t.same(await volume.statuses(), []);
  await volume.up(t, "-o", "allow_other,cache=8M,x-test");
  const status = await volume.status();
  t.match(status, {
    backing: volume.backing,
    dir: volume.dir,
    condition: "mounted",
    uuid: /^[0-9a-f-]{36}$/,
    since: /^\d{4}-\d\d-\d\dT/,
    options: ["allow_other", "cache=8M", "x-test"],
    tamperEvents: 0,
    stopRefused: null,
  });
  t.ok(Number.isInteger(status.daemonPid) && Number.isInteger(status.enginePid));
  t.ok(Object.keys(status.counters ?? {}).length > 0, "the engine's counters");
  const text = await volume.run("status", volume.dir);
  t.match(text.stdout, new RegExp(`^${volume.backing} on ${volume.dir}\\n`));
  const other = await volume.run("status", "/");
  t.equal(other.code, "NotMounted", other.stderr);
  await volume.down(t);
});

t.test("control socket, state and log are root's alone", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const run = volume.scratch.file("run");
  const [key = ""] = readdirSync(run);
  for (const path of [run, `${run}/${key}`, `${run}/${key}/control.sock`, `${run}/${key}/state.json`]) {
    t.equal(statSync(path).mode & 0o077, 0, path);
  }
  t.equal(statSync((await volume.status()).log ?? "").mode & 0o077, 0);
  await volume.down(t);
});

t.test("a read-only mount reads and refuses to write", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeFileSync(volume.at("file"), "content");
  await volume.down(t);
  await volume.up(t, "-o", "ro");
  t.equal(readFileSync(volume.at("file"), "utf8"), "content");
  t.throws(() => writeFileSync(volume.at("file"), "other"), { code: "EROFS" });
  await volume.down(t);
});

t.test("in the foreground the command stays until a signal, and leaves a whole volume", async (t) => {
  const volume = await TestVolume.make(t);
  const child = spawn(process.execPath, [MAIN, "mount", volume.backing, volume.dir, "--foreground"], {
    env: volume.env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const exited = new Promise<number | null>((done) => child.on("close", done));
  t.teardown(() => child.kill("SIGKILL"));
  await until("it is mounted", async () => (await volume.statuses())[0]?.condition === "mounted");
  writeFileSync(volume.at("file"), "content");
  child.kill("SIGTERM");
  t.equal(await exited, 0, said);
  t.match(said, /mounted .* on /, "the log goes to standard error");
  t.same(readdirSync(volume.dir), []);
  await volume.up(t);
  t.equal(readFileSync(volume.at("file"), "utf8"), "content");
  await volume.down(t);
});
