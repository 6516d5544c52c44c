import { setTimeout as sleep } from "node:timers/promises";
import { isServed, type MountState } from "./state.js";

const DRAIN_MS = 30_000;
const STEP_MS = 50;

/** Waits for the processes of a mount to end, at most `timeoutMs`; false when they have not. */
export async function waitUntilUnserved(state: MountState, timeoutMs: number = DRAIN_MS): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while (isServed(state)) {
    if (Date.now() >= deadline) return false;
    await sleep(STEP_MS);
  }
  return true;
}
