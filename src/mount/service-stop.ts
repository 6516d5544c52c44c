/** How a service ends its mount: within its manager's patience if it can, and losing nothing if it cannot. */

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { withPriority } from "../journal.js";
import { requestStop } from "./control-client.js";
import { isAlive } from "./process-id.js";
import { run } from "./run.js";
import type { ServiceManager } from "./service-manager.js";
import { type MountState, readState } from "./state.js";

/** Users of the mount are often being stopped at the same time: they get so long. */
const BUSY_SECONDS = 15;
const TICK_MS = 5000;
/** Asked of systemd at every tick at which something was written. */
const EXTENSION_US = 30_000_000;

/**
 * Unmounts; detaches the mount, after everything was given to the engine, when it stays in use. Resolves when the mount is
 * out of the tree and goes on extending the manager's time-out while the engine makes progress.
 */
export async function stopService(mountPoint: string, manager: ServiceManager): Promise<void> {
  const state = readState(mountPoint);
  manager.say("STOPPING=1", "STATUS=unmounting");
  for (let second = 0; second < BUSY_SECONDS; second++) {
    const reply = await requestStop(mountPoint, false);
    if (reply === undefined || reply.stop === "done") return writingOut(state, manager);
    manager.say(`STATUS=not unmounted yet: ${reply.detail}`);
    await sleep(1000);
  }
  // The kernel's pages of it; what users write from here on is theirs to finish before they are killed.
  await run("sync", ["-f", mountPoint]);
  const reply = await requestStop(mountPoint, true);
  const how = reply === undefined || reply.stop === "done" ? "was detached" : `stays: ${reply.detail}`;
  console.error(withPriority("warning", `kmsfs: ${mountPoint} is in use and ${how}`));
  await writingOut(state, manager);
}

async function writingOut(state: MountState | undefined, manager: ServiceManager): Promise<void> {
  manager.say("STATUS=writing out");
  let before = "";
  while (state !== undefined && isAlive(state.engine)) {
    const now = workOf(state.engine.pid);
    // An engine that does nothing must not keep a machine from shutting down.
    if (now !== before) manager.say(`EXTEND_TIMEOUT_USEC=${EXTENSION_US}`);
    before = now;
    await sleep(TICK_MS, undefined, { ref: false });
  }
}

/** Changes when the process has written something; proc_pid_io(5). */
function workOf(pid: number): string {
  try {
    return /^wchar: .*$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[0] ?? "";
  } catch {
    return "";
  }
}
