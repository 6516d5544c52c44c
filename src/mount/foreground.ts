/** `kmsfs mount --foreground`: a process that stays as long as the mount does, and never holds a key itself. */

import { type ChildProcess, spawn } from "node:child_process";
import { messageOf, UserError } from "../errors.js";
import { requestStop, type Watch, watchMount } from "./control-client.js";
import { resolveMountPoint } from "./places.js";

/** Set for the mount command that the foreground process runs: its daemon logs to standard error. */
const MARK = "KMSFS_IN_FOREGROUND";

export function isForegroundChild(): boolean {
  return process.env[MARK] === "1";
}

/**
 * Runs this same command once more, as a child that brings the mount up and ends with all that it knew, and then
 * waits for the end of the mount. Resolves with the exit status.
 */
export async function mountInForeground(dir: string): Promise<number> {
  let stopAsked = 0;
  let onStop = (): void => undefined;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      stopAsked += 1;
      onStop();
    });
  }
  const status = await runSelf((child) => {
    onStop = () => child.kill("SIGTERM");
    if (stopAsked > 0) onStop();
  });
  onStop = () => undefined;
  if (status !== 0) return stopAsked > 0 ? endAsTold() : status;
  const mountPoint = resolveMountPoint(dir);
  const watch = await watchMount(mountPoint);
  if (watch === undefined) throw daemonGone(dir);
  onStop = () => void stop(mountPoint, stopAsked > 1);
  if (stopAsked > 0) onStop();
  return ended(watch, dir);
}

/** Ends by SIGTERM itself, which a shell and systemd tell from a failure. */
function endAsTold(): Promise<never> {
  process.removeAllListeners("SIGTERM");
  process.kill(process.pid, "SIGTERM");
  return new Promise(() => undefined);
}

function runSelf(onStart: (child: ChildProcess) => void): Promise<number> {
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, process.argv.slice(1), {
      stdio: "inherit",
      env: { ...process.env, [MARK]: "1" },
    });
    child.once("error", failed);
    child.once("close", (status) => done(status ?? 1));
    // Whoever waits for KMS or for recovery waits in the child; its daemon takes down what is not up yet.
    onStart(child);
  });
}

async function ended(watch: Watch, dir: string): Promise<number> {
  const outcome = await watch.ended;
  if (outcome === undefined) throw daemonGone(dir);
  if (outcome.code !== "Ok") throw new UserError(outcome.code, outcome.message);
  return 0;
}

async function stop(mountPoint: string, lazy: boolean): Promise<void> {
  try {
    const reply = await requestStop(mountPoint, lazy);
    if (reply === undefined || reply.stop === "done") return;
    console.error(`kmsfs: not unmounted: ${reply.detail}; a second signal detaches the mount`);
  } catch (error) {
    console.error(`kmsfs: not unmounted: ${messageOf(error)}`);
  }
}

function daemonGone(dir: string): UserError {
  return new UserError(
    "EngineFailed",
    `the daemon of ${dir} is gone`,
    `kmsfs umount ${dir} ends what is left`,
  );
}
