/** Which process is named of another mount namespace: its first. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import t, { type Test } from "tap";
import { oldestFirst } from "../../src/mount/elsewhere.js";

/** The number last given (proc_sys_kernel(5)); those in use are passed over. */
const LAST = "/proc/sys/kernel/ns_last_pid";

const canChoose = process.getuid?.() === 0 && existsSync(LAST);
const skip = canChoose ? false : "needs root, and a kernel that lets numbers be chosen";

async function started(t: Test): Promise<string> {
  const child: ChildProcess = spawn("sleep", ["600"], { stdio: "ignore" });
  t.teardown(() => child.kill("SIGKILL"));
  await once(child, "spawn");
  return String(child.pid);
}

t.test("the one that started first comes first, whatever the numbers", { skip }, async (t) => {
  const first = await started(t);
  let second = first;
  // Others may take the low number in between; and two that start in one clock tick (10 ms) are of one age.
  for (let tries = 0; tries < 50 && Number(second) >= Number(first); tries++) {
    await wait(20);
    const last = readFileSync(LAST, "utf8");
    writeFileSync(LAST, "300");
    second = await started(t);
    writeFileSync(LAST, last);
  }
  t.ok(Number(second) < Number(first), `${second} started after ${first}`);
  t.same(oldestFirst([second, first]), [first, second]);
});

t.test("one that has ended comes last", async (t) => {
  t.same(oldestFirst(["999999999", String(process.pid)]), [String(process.pid), "999999999"]);
});
