/** `kmsfs mount --foreground`: a process that stays as long as the mount does, and never holds a key itself. */

import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";

import { messageOf, UserError } from "../errors.js";
import { withPriority } from "../journal.js";
import { requestStop, type Watch, watchMount } from "./control-client.js";
import { FOREGROUND_MARK } from "./foreground-channel.js";
import { LineReader } from "./lines.js";
import { resolveMountPoint } from "./places.js";
import { ServiceManager } from "./service-manager.js";
import { stopService } from "./service-stop.js";

/**
 * Runs this same command once more, as a child that brings the mount up and ends with all that it knew, and then
 * waits for the end of the mount. Resolves with the exit status. A service manager is kept informed.
 */
export async function mountInForeground(backing: string, dir: string): Promise<number> {
  const manager = ServiceManager.fromEnvironment();
  try {
    return await mountAndWait(backing, dir, manager);
  } finally {
    await manager?.flushed();
  }
}

async function mountAndWait(
  backing: string,
  dir: string,
  manager: ServiceManager | undefined,
): Promise<number> {
  let stopAsked = 0;
  let onStop = (): void => undefined;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      stopAsked += 1;
      onStop();
    });
  }
  // A mount that was there before is not ours to stop.
  const before = await isServed(dir);
  const status = await runSelf(
    (child) => {
      onStop = () => child.kill("SIGTERM");
      if (stopAsked > 0) onStop();
    },
    (what) => manager?.say(`STATUS=${what}`),
  );
  onStop = () => undefined;
  if (status !== 0) {
    if (stopAsked === 0) return status;
    // Stopped as it came up: the daemon may have mounted it before the command ended.
    if (before || !(await isServed(dir))) return endAsTold();
  }
  const mountPoint = resolveMountPoint(dir);
  const watch = await watchMount(mountPoint);
  if (watch === undefined) throw daemonGone(dir);
  manager?.say("READY=1", `STATUS=serving ${backing} on ${dir}`);
  onStop = () => void stop(mountPoint, stopAsked, manager);
  if (stopAsked > 0) onStop();
  return ended(watch, dir);
}

async function isServed(dir: string): Promise<boolean> {
  try {
    const watch = await watchMount(resolveMountPoint(dir));
    watch?.cancel();
    return watch !== undefined;
  } catch {
    // No such directory: the command says so.
    return false;
  }
}

/** Ends by SIGTERM itself, which a shell and systemd tell from a failure. */
function endAsTold(): Promise<never> {
  process.removeAllListeners("SIGTERM");
  process.kill(process.pid, "SIGTERM");
  return new Promise(() => undefined);
}

function runSelf(
  onStart: (child: ChildProcess) => void,
  onProgress: (what: string) => void,
): Promise<number> {
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, process.argv.slice(1), {
      stdio: ["inherit", "inherit", "inherit", "pipe"],
      env: { ...process.env, [FOREGROUND_MARK]: "1" },
    });
    const lines = new LineReader();
    (child.stdio[3] as Readable).on("data", (chunk: Buffer) => lines.push(chunk).forEach(onProgress));
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

/** A service's manager asks once; a terminal's user may insist. */
async function stop(mountPoint: string, asked: number, manager: ServiceManager | undefined): Promise<void> {
  try {
    if (manager !== undefined) {
      if (asked === 1) await stopService(mountPoint, manager);
      return;
    }
    const reply = await requestStop(mountPoint, asked > 1);
    if (reply === undefined || reply.stop === "done") return;
    complain(`${reply.detail}; a second signal detaches the mount`);
  } catch (error) {
    complain(messageOf(error));
  }
}

function complain(why: string): void {
  console.error(withPriority("warning", `kmsfs: not unmounted: ${why}`));
}

function daemonGone(dir: string): UserError {
  return new UserError(
    "EngineFailed",
    `the daemon of ${dir} is gone`,
    `kmsfs umount ${dir} ends what is left`,
  );
}
