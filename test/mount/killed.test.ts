/** Processes that are killed: closed files are there at the next mount, and nobody hangs on what is left. */

import { randomBytes } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import t, { type Test } from "tap";
import { kill, TestVolume } from "../support/test-volume.js";
import { describeTree, writeTree } from "../support/tree.js";
import { until } from "../support/until.js";

async function pids(volume: TestVolume): Promise<{ daemon: number; engine: number }> {
  const { daemonPid, enginePid } = await volume.status();
  if (daemonPid === null || enginePid === null) throw new Error("not served");
  return { daemon: daemonPid, engine: enginePid };
}

/** A mounted volume with a tree of closed files in it, and what that looks like. */
async function filled(t: Test): Promise<{ volume: TestVolume; tree: string[] }> {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeTree(volume.dir);
  return { volume, tree: describeTree(volume.dir) };
}

t.test("kill -9 of the daemon: the engine serves on, umount waits for it, all files are there", async (t) => {
  const { volume, tree } = await filled(t);
  kill((await pids(volume)).daemon);
  await until("the daemon is gone", async () => (await volume.status()).condition === "unwatched");
  t.same(describeTree(volume.dir), tree, "served without its daemon");
  writeFileSync(volume.at("written without a daemon"), "content");
  await volume.down(t);
  t.same(await volume.statuses(), []);
  await volume.up(t);
  t.equal(readFileSync(volume.at("written without a daemon"), "utf8"), "content");
  t.same(
    describeTree(volume.dir).filter((line) => !line.startsWith("written without")),
    tree,
  );
  await volume.down(t);
});

t.test(
  "kill -9 of the engine: the daemon takes the mount away, all closed files are there again",
  async (t) => {
    const { volume, tree } = await filled(t);
    const { daemon, engine } = await pids(volume);
    kill(engine);
    await until("the daemon has cleaned up", async () => (await volume.statuses()).length === 0);
    await until("the daemon is gone", () => !exists(daemon));
    t.match(volume.logText(), /killed by SIGKILL/);
    await volume.up(t);
    t.same(describeTree(volume.dir), tree);
    t.ok((await volume.status()).recovery?.commits !== undefined);
    await volume.down(t);
    await volume.up(t);
    t.same(describeTree(volume.dir), tree, "and after a clean unmount of what was recovered");
    await volume.down(t);
  },
);

t.test("kill -9 of both: umount clears what is left, and so does the next mount", async (t) => {
  const { volume, tree } = await filled(t);
  for (const clear of [true, false]) {
    const { daemon, engine } = await pids(volume);
    kill(daemon);
    kill(engine);
    await until("both are gone", async () => (await volume.status()).condition === "dead");
    // Not stat(2), which the kernel may answer from its cache.
    t.throws(() => readdirSync(volume.dir), { code: "ENOTCONN" }, "nobody hangs");
    if (clear) await volume.down(t);
    await volume.up(t);
    t.same(describeTree(volume.dir), tree);
  }
  await volume.down(t);
});

t.test("a dead mount is cleared although the kernel still answers stat(2) from its cache", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  statSync(volume.dir);
  const { daemon, engine } = await pids(volume);
  kill(daemon);
  kill(engine);
  await until("both are gone", async () => (await volume.status()).condition === "dead");
  await volume.up(t);
  await volume.down(t);
});

t.test(
  "kill -9 of both while a file is open: what was synced is there, the rest of the volume intact",
  async (t) => {
    const { volume, tree } = await filled(t);
    const fd = openSync(volume.at("open file"), "w");
    const synced = randomBytes(1_500_000);
    writeSync(fd, synced);
    fsyncSync(fd);
    writeSync(fd, randomBytes(500_000));
    const { daemon, engine } = await pids(volume);
    kill(daemon);
    kill(engine);
    await until("both are gone", async () => (await volume.status()).condition === "dead");
    t.throws(() => fsyncSync(fd));
    try {
      closeSync(fd);
    } catch {
      // ENOTCONN; the descriptor is closed all the same.
    }
    await volume.up(t);
    t.ok(readFileSync(volume.at("open file")).subarray(0, synced.length).equals(synced));
    t.same(
      describeTree(volume.dir).filter((line) => !line.startsWith("open file")),
      tree,
    );
    await volume.down(t);
  },
);

t.test("a reader that waits for an engine that was killed gets an error", async (t) => {
  const { volume } = await filled(t);
  const { engine } = await pids(volume);
  process.kill(engine, "SIGSTOP");
  const { spawn } = await import("node:child_process");
  // Nothing that the kernel could answer from what it keeps.
  const reader = spawn("stat", [volume.at("no such file")], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { LC_ALL: "C" },
  });
  let said = "";
  reader.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const ended = new Promise<number | null>((done) => reader.on("close", done));
  kill(engine);
  t.equal(await ended, 1, said);
  await until("the mount is gone", async () => (await volume.statuses()).length === 0);
});

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
