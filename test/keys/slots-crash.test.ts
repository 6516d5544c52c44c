/** Killed before any call that changes a file, a change of slots leaves a volume that opens, and can be done again. */

import { cpSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { openVolume } from "../../src/volume/open.js";
import { editHeader } from "../support/headers.js";
import { KmsStandin } from "../support/kms-standin.js";
import { type Outcome, runKmsfs, Scratch } from "../support/run-kmsfs.js";

const HOOK = join(dirname(fileURLToPath(import.meta.url)), "../support/kill-at-call.js");
const scratch = new Scratch();
t.teardown(() => scratch.remove());
const kms = await KmsStandin.start();
t.teardown(() => kms.stop());
const key = kms.keys.add("phi");
const next = kms.keys.add("next");
const env = { ...scratch.environment(), ...kms.environment() };
Object.assign(process.env, env);

const volume = scratch.file("volume");
const etc = scratch.file("etc");
const made = await runKmsfs(["init", volume, "--kms-key", "alias/phi"], env);
if (made.code !== "Ok") throw new Error(made.stderr);
const second = await runKmsfs(["key", "add", volume, "--new-keyfile", scratch.file("key")], env);
if (second.code !== "Ok") throw new Error(second.stderr);
cpSync(volume, scratch.file("before/volume"), { recursive: true });
cpSync(etc, scratch.file("before/etc"), { recursive: true });

function putBack(): void {
  for (const name of ["volume", "etc"]) {
    rmSync(scratch.file(name), { recursive: true });
    cpSync(scratch.file(`before/${name}`), scratch.file(name), { recursive: true });
  }
}

function run(args: readonly string[], more: Record<string, string>): Promise<Outcome> {
  // The audit chain has its own test of crashes.
  return runKmsfs(args, { ...env, KILL_NOT: scratch.file("log"), ...more }, "", ["--import", HOOK]);
}

/** Opens it as this host would, by its header and by the previous one. */
async function opens(t: Test, what: string): Promise<void> {
  for (const usePreviousHeader of [false, true]) {
    const { dk } = await openVolume(volume, { purpose: "read", kmsTimeoutMs: 5000, usePreviousHeader });
    dk.fill(0);
  }
  t.pass(what);
}

const ids = () => editHeader(volume).header.slots.map((slot) => slot.id);
const COMMANDS: [string, string[], (t: Test) => void][] = [
  [
    "add",
    ["key", "add", volume, "--new-keyfile", scratch.file("another")],
    (t) => t.equal(ids().length, 3, "the slot is there once"),
  ],
  ["remove", ["key", "remove", volume, "2"], (t) => t.same(ids(), [1])],
  [
    "rotate to another KMS key",
    ["key", "rotate", volume, "1", "--new-kms-key", "alias/next"],
    (t) => {
      t.match(editHeader(volume).header.slots[0], { id: 1, keyArn: next.arn });
      t.notMatch(readFileSync(join(volume, ".kmsfs/volume.json.bak"), "utf8"), key.arn);
    },
  ],
];

for (const [what, args, done] of COMMANDS) {
  t.test(`${what}, killed at each step`, async (t) => {
    putBack();
    const countFile = scratch.file("count");
    const whole = await run(args, { KILL_COUNT: countFile });
    t.equal(whole.code, "Ok", whole.stderr);
    const calls = Number(readFileSync(countFile, "utf8"));
    t.ok(calls > 3, `${calls} calls`);
    for (let at = 1; at <= calls; at++) {
      putBack();
      rmSync(scratch.file("another"), { force: true });
      const killed = await run(args, { KILL_AT: String(at) });
      t.equal(killed.status, null, `killed at ${at}`);
      await opens(t, `opens after a kill at ${at}`);
      // To do it again starts from what the kill left: a few places are enough.
      if (at % 5 !== 0) continue;
      const again = await runKmsfs(args, env);
      t.ok(["Ok", "Usage"].includes(again.code), again.stderr);
      if (again.code === "Ok" && what !== "add") done(t);
      await opens(t, "and so after the same once more");
    }
    putBack();
    rmSync(scratch.file("another"), { force: true });
    t.equal((await run(args, {})).code, "Ok");
    done(t);
  });
}
