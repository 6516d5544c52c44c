/** Key slots of a mounted volume, and a mount without KMS: neither disturbs the other. */

import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import { editHeader } from "../support/headers.js";
import { KmsStandin } from "../support/kms-standin.js";
import { MAIN } from "../support/run-kmsfs.js";
import { TestVolume } from "../support/test-volume.js";

/** A mounted volume with a key in a KMS of its own. */
async function kmsVolume(t: Test) {
  const volume = TestVolume.bare(t);
  const kms = await KmsStandin.start();
  t.teardown(() => kms.stop());
  const key = kms.keys.add("phi");
  Object.assign(volume.env, kms.environment());
  const made = await volume.run("init", volume.backing, "--kms-key", "alias/phi");
  if (made.code !== "Ok") throw new Error(made.stderr);
  return { volume, kms, key };
}

t.test("KMS is gone after the mount: work goes on, and so does a slot that needs no KMS", async (t) => {
  const { volume, kms } = await kmsVolume(t);
  const kept = await volume.run("key", "add", volume.backing, "--new-keyfile", volume.keyfile);
  t.equal(kept.code, "Ok", kept.stderr);
  await volume.up(t);
  await kms.stop();
  writeFileSync(volume.at("file"), "written without KMS");
  t.equal(readFileSync(volume.at("file"), "utf8"), "written without KMS");
  const { enginePid } = await volume.status();
  const rotated = await volume.run("key", "rotate", volume.dir, "2", "--new-keyfile", `${volume.keyfile}2`);
  t.equal(rotated.code, "Ok", rotated.stderr);
  t.equal((await volume.status()).enginePid, enginePid, "the engine is the same");
  t.equal(readFileSync(volume.at("file"), "utf8"), "written without KMS");
  await volume.down(t);
  t.equal((await volume.mount("--kms-timeout", "1")).code, "Ok", "and the other slot opens the next mount");
  t.equal(readFileSync(volume.at("file"), "utf8"), "written without KMS");
  await volume.down(t);
});

t.test("slots change while the volume is mounted and while it is being mounted", async (t) => {
  const { volume, kms, key } = await kmsVolume(t);
  const [mounted, ...added] = await Promise.all([
    volume.mount(),
    ...[1, 2].map((i) =>
      volume.run("key", "add", volume.backing, "--new-kms-key", kms.keys.add(`k${i}`).arn),
    ),
  ]);
  t.equal(mounted.code, "Ok", mounted.stderr);
  for (const { code, stderr } of added) t.equal(code, "Ok", stderr);
  const { header } = editHeader(volume.backing);
  t.equal(header.slots.length, 3);
  const pin = JSON.parse(readFileSync(volume.scratch.file(`etc/${header.uuid}.json`), "utf8"));
  t.equal(pin.keyArns.length, 3, "a mount's own word to the pin took none away");
  t.equal(pin.lowestGeneration, header.generation);
  const removed = await volume.run("key", "remove", volume.dir, "1");
  t.equal(removed.code, "Ok", removed.stderr);
  const listed = await volume.run("key", "list", volume.dir);
  t.notMatch(listed.stdout, key.arn);
  writeFileSync(volume.at("file"), "still here");
  await volume.down(t);
  await volume.up(t);
  t.equal(readFileSync(volume.at("file"), "utf8"), "still here");
  await volume.down(t);
});

t.test("waiting for KMS ends at once when it is told to, and leaves nothing mounted", async (t) => {
  const { volume, kms } = await kmsVolume(t);
  kms.behaviour = { kind: "hang" };
  for (const [signal, foreground] of [
    ["SIGINT", []],
    ["SIGTERM", ["--foreground"]],
  ] as const) {
    const asked = kms.requests.length;
    const settings = Object.entries(volume.env).map(([name, value]) => `${name}=${value}`);
    const args = [
      "-i",
      ...settings,
      process.execPath,
      MAIN,
      "mount",
      volume.backing,
      volume.dir,
      ...foreground,
    ];
    const child = spawn("env", args, { stdio: "ignore" });
    const ended = new Promise<number>((done) => child.once("close", () => done(Date.now())));
    while (kms.requests.length === asked) await new Promise((later) => setTimeout(later, 20));
    const told = Date.now();
    child.kill(signal);
    t.ok((await ended) - told < 300_000, `${signal}: ended long before --kms-timeout`);
    t.same(await volume.statuses(), []);
  }
  kms.behaviour = { kind: "normal" };
  await volume.up(t);
  await volume.down(t);
});
