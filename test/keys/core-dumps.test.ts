/** Processes that have a key, or are about to: none of them may leave a core dump. */

import { readFileSync } from "node:fs";
import t from "tap";
import { kmsFixture } from "../support/kms-fixture.js";
import { spawnKmsfs } from "../support/run-kmsfs.js";
import { TestVolume } from "../support/test-volume.js";
import { until } from "../support/until.js";

function mayDump(pid: number): boolean {
  const limits = readFileSync(`/proc/${pid}/limits`, "utf8");
  return !/^Max core file size +0 +0 +bytes/m.test(limits);
}

t.test("the daemon and the engine", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const { daemonPid, enginePid } = await volume.status();
  t.notOk(mayDump(daemonPid ?? 0), "the daemon has the key of its lines in the audit chain");
  t.notOk(mayDump(enginePid ?? 0));
  await volume.down(t);
});

t.test("a command that waits for the key", async (t) => {
  const { kms, env, volume } = await kmsFixture(t);
  for (const command of [
    ["key", "check", volume],
    ["init", `${volume}-new`, "--kms-key", "alias/phi"],
  ]) {
    kms.behaviour = { kind: "hang" };
    const before = kms.requests.length;
    const child = spawnKmsfs(command, env);
    t.teardown(() => child.kill("SIGKILL"));
    await until("KMS is asked", () => kms.requests.length > before);
    t.notOk(mayDump(child.pid ?? 0), command.join(" "));
    child.kill("SIGKILL");
  }
});
