/** What is mounted where: one file for each mount, written by its daemon, read by status and umount. */

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, UserError } from "../errors.js";
import { runBase, runDirectory } from "./places.js";
import { isAlive, type ProcessId } from "./process-id.js";

export interface MountState {
  readonly version: 1;
  readonly backing: string;
  readonly dir: string;
  readonly uuid: string;
  /** RFC 3339 UTC */
  readonly since: string;
  readonly options: readonly string[];
  /** as mounted, or as last remounted */
  readonly readOnly: boolean;
  readonly daemon: ProcessId;
  readonly engine: ProcessId;
  /** the log file; null when the log goes to standard error */
  readonly log: string | null;
}

const FILE = "state.json";

/** Makes the run directory of a mount, private to root. */
export function makeRunDirectory(mountPoint: string): string {
  const dir = runDirectory(mountPoint);
  mkdirSync(runBase(), { recursive: true, mode: 0o700 });
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  return dir;
}

export function writeState(state: MountState): void {
  const dir = runDirectory(state.dir);
  const fresh = join(dir, `${FILE}.new`);
  writeFileSync(fresh, `${JSON.stringify(state)}\n`, { mode: 0o600 });
  renameSync(fresh, join(dir, FILE));
}

export function removeRunDirectory(mountPoint: string): void {
  rmSync(runDirectory(mountPoint), { recursive: true, force: true });
}

/** The state of the mount at this mount point; undefined when none is recorded. */
export function readState(mountPoint: string): MountState | undefined {
  return readStateIn(runDirectory(mountPoint));
}

/** All recorded mounts, by mount point. */
export function readStates(): MountState[] {
  let names: string[];
  try {
    names = readdirSync(runBase());
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    if (errnoOf(error) !== "EACCES") throw error;
    throw new UserError("Privilege", `${runBase()} tells of mounts and is root's alone`, "run it as root");
  }
  const states = names.flatMap((name) => readStateIn(join(runBase(), name)) ?? []);
  return states.sort((a, b) => (a.dir < b.dir ? -1 : 1));
}

/** Whether any process of the mount still runs. */
export function isServed(state: MountState): boolean {
  return isAlive(state.daemon) || isAlive(state.engine);
}

/** A half-written or foreign file counts as none: it is a cache of facts that /proc knows better. */
function readStateIn(dir: string): MountState | undefined {
  try {
    const state: unknown = JSON.parse(readFileSync(join(dir, FILE), "utf8"));
    return isMountState(state) ? state : undefined;
  } catch {
    return undefined;
  }
}

function isMountState(value: unknown): value is MountState {
  const state = value as MountState;
  return (
    typeof value === "object" &&
    value !== null &&
    state.version === 1 &&
    [state.backing, state.dir, state.uuid, state.since].every((text) => typeof text === "string") &&
    Array.isArray(state.options) &&
    [state.daemon, state.engine].every((id) => typeof id?.pid === "number" && typeof id.started === "string")
  );
}
