/** What is mounted, from the daemons that answer and from /proc for those that do not. */

import { liveStatus } from "./control-client.js";
import { FS_TYPE, type MountEntry, mountAt, readMounts } from "./mountinfo.js";
import { isAlive } from "./process-id.js";
import type { Counters, OpenedMessage } from "./protocol.js";
import { isServed, type MountState, readStates } from "./state.js";

/**
 * `mounted`: served and watched. `unwatched`: the daemon is gone, the engine serves on. `detached`: unmounted, still
 * being written or held open. `dead`: mounted with nothing behind it. `unrecorded`: mounted, and nothing here tells by
 * what; its daemon may use another KMSFS_RUN.
 */
export type Condition = "mounted" | "unwatched" | "detached" | "dead" | "unrecorded";

export interface MountStatus {
  readonly backing: string;
  readonly dir: string;
  readonly condition: Condition;
  readonly uuid: string | null;
  readonly since: string | null;
  readonly options: readonly string[];
  readonly daemonPid: number | null;
  readonly enginePid: number | null;
  readonly log: string | null;
  readonly counters: Counters | null;
  readonly recovery: OpenedMessage["recovery"] | null;
  readonly tamperEvents: number | null;
  readonly warnings: readonly string[];
  readonly stopRefused: string | null;
}

/** All kmsfs mounts of this mount namespace, and those that are still being written. */
export async function allStatus(): Promise<MountStatus[]> {
  const states = readStates();
  const recorded = await Promise.all(states.map(statusOf));
  const known = new Set(states.map((state) => state.dir));
  const visible = readMounts().filter(
    (entry) => entry.fsType === FS_TYPE && mountAt(entry.mountPoint) !== undefined,
  );
  const unrecorded = visible.filter((entry) => !known.has(entry.mountPoint)).map(unrecordedStatus);
  return [...recorded.filter((status) => status !== undefined), ...unrecorded];
}

async function statusOf(state: MountState): Promise<MountStatus | undefined> {
  const mounted = mountAt(state.dir)?.fsType === FS_TYPE;
  if (!mounted && !isServed(state)) return undefined;
  const live = isAlive(state.daemon) ? await liveStatus(state.dir) : undefined;
  return {
    backing: state.backing,
    dir: state.dir,
    condition: conditionOf(state, mounted),
    uuid: state.uuid,
    since: state.since,
    options: state.options,
    daemonPid: isAlive(state.daemon) ? state.daemon.pid : null,
    enginePid: isAlive(state.engine) ? state.engine.pid : null,
    log: state.log,
    counters: live?.counters ?? null,
    recovery: live?.recovery ?? null,
    tamperEvents: live?.tamperEvents ?? null,
    warnings: live?.warnings ?? [],
    stopRefused: live?.stopRefused ?? null,
  };
}

function conditionOf(state: MountState, mounted: boolean): Condition {
  if (!mounted) return "detached";
  if (isAlive(state.daemon)) return "mounted";
  return isAlive(state.engine) ? "unwatched" : "dead";
}

/** A mount that left no state. Touching it could hang. */
function unrecordedStatus(entry: MountEntry): MountStatus {
  return {
    backing: entry.source,
    dir: entry.mountPoint,
    condition: "unrecorded",
    uuid: null,
    since: null,
    options: [],
    daemonPid: null,
    enginePid: null,
    log: null,
    counters: null,
    recovery: null,
    tamperEvents: null,
    warnings: [],
    stopRefused: null,
  };
}
