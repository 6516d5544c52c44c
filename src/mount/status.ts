/** What is mounted, from the daemons that answer and from /proc for those that do not. */

import { UserError } from "../errors.js";
import type { LiveStatus } from "./control.js";
import { liveStatus } from "./control-client.js";
import { FS_TYPE, isServedByReader, type MountEntry, mountAt, readMounts } from "./mountinfo.js";
import { resolveMountPoint } from "./places.js";
import { isAlive } from "./process-id.js";
import { type ProcessStats, processStats } from "./process-stats.js";
import type { Counters, EngineStatus, OpenedMessage } from "./protocol.js";
import { readScrub, type ScrubStatus } from "./scrub.js";
import { isServed, type MountState, readStates } from "./state.js";

/**
 * `mounted`: served and watched. `unwatched`: the daemon is gone, the engine serves on. `detached`: unmounted, still
 * being written or held open. `dead`: mounted with nothing behind it. `unrecorded`: mounted, and nothing here tells by
 * what; its daemon may use another KMSFS_RUN. `reader`: of `mount --reader` or `snapshot mount`, which have no engine.
 */
export type Condition = "mounted" | "unwatched" | "detached" | "dead" | "unrecorded" | "reader";

export interface MountStatus {
  readonly backing: string;
  readonly dir: string;
  readonly condition: Condition;
  readonly uuid: string | null;
  readonly since: string | null;
  /** seconds since `since` */
  readonly uptime: number | null;
  readonly options: readonly string[];
  readonly daemonPid: number | null;
  readonly enginePid: number | null;
  readonly log: string | null;
  /** why nothing can be written; null when it can, or when nobody says */
  readonly readOnly: string | null;
  /** whether all memory of the engine is locked; null when nobody says */
  readonly memoryLocked: boolean | null;
  readonly counters: Counters | null;
  /** nanoseconds; the upper bounds of the buckets of every one of `latencies` */
  readonly latencyBounds: EngineStatus["latencyBounds"] | null;
  readonly latencies: EngineStatus["latencies"] | null;
  readonly engine: ProcessStats | null;
  readonly daemon: ProcessStats | null;
  readonly recovery: OpenedMessage["recovery"] | null;
  readonly tamperEvents: number | null;
  /** the last scrub of the volume on this host, or the one that runs */
  readonly scrub: ScrubStatus | null;
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
  const unrecorded = visible.filter((entry) => !known.has(entry.mountPoint));
  return [
    ...recorded.filter((status) => status !== undefined),
    ...unrecorded.map((entry) => withoutState(entry, "unrecorded")),
    ...readMounts()
      .filter(isServedByReader)
      .map((entry) => withoutState(entry, "reader")),
  ];
}

/** Those, or the one at `dir`. Throws UserError (NotMounted). */
export async function chosenMounts(dir: string | undefined): Promise<MountStatus[]> {
  const all = await allStatus();
  if (dir === undefined) return all;
  const found = all.filter((mount) => mount.dir === resolved(dir));
  if (found.length > 0) return found;
  throw new UserError("NotMounted", `no kmsfs mount on ${dir}`, "kmsfs status lists the mounts");
}

function resolved(dir: string): string {
  try {
    return resolveMountPoint(dir);
  } catch {
    return dir;
  }
}

async function statusOf(state: MountState): Promise<MountStatus | undefined> {
  const mounted = mountAt(state.dir)?.fsType === FS_TYPE;
  if (!mounted && !isServed(state)) return undefined;
  const live = isAlive(state.daemon) ? await liveStatus(state.dir) : undefined;
  return mountStatus(state, mounted, live);
}

/** The whole of what is known of a mount: what was recorded when it came up, and what its daemon says now. */
export function mountStatus(state: MountState, mounted: boolean, live: LiveStatus | undefined): MountStatus {
  const { backing, dir, uuid, since, options, log } = state;
  const [daemonPid, enginePid] = [state.daemon, state.engine].map((id) => (isAlive(id) ? id.pid : null));
  const counters = live?.engine?.counters ?? null;
  return {
    backing,
    dir,
    condition: conditionOf(state, mounted),
    uuid,
    since,
    uptime: Math.max(0, Math.floor((Date.now() - Date.parse(since)) / 1000)),
    options,
    daemonPid: daemonPid ?? null,
    enginePid: enginePid ?? null,
    log,
    readOnly: readOnlyReason(live?.engine ?? null),
    memoryLocked: counters === null ? null : counters.memory_locked === 1,
    counters,
    latencyBounds: live?.engine?.latencyBounds ?? null,
    latencies: live?.engine?.latencies ?? null,
    engine: enginePid == null ? null : processStats(enginePid),
    daemon: daemonPid == null ? null : processStats(daemonPid),
    recovery: live?.recovery ?? null,
    tamperEvents: live?.tamperEvents ?? null,
    scrub: live?.scrub ?? readScrub(uuid) ?? null,
    warnings: live?.warnings ?? [],
    stopRefused: live?.stopRefused ?? null,
  };
}

function readOnlyReason(engine: EngineStatus | null): string | null {
  if (engine === null) return null;
  if (engine.failure != null) return engine.failure;
  return engine.counters.read_only === 1 ? "mounted read-only" : null;
}

function conditionOf(state: MountState, mounted: boolean): Condition {
  if (!mounted) return "detached";
  if (isAlive(state.daemon)) return "mounted";
  return isAlive(state.engine) ? "unwatched" : "dead";
}

/** A mount that left no state. Touching it could hang. */
function withoutState(entry: MountEntry, condition: "unrecorded" | "reader"): MountStatus {
  return {
    backing: entry.source,
    dir: entry.mountPoint,
    condition,
    uuid: null,
    since: null,
    uptime: null,
    options: [],
    daemonPid: null,
    enginePid: null,
    log: null,
    readOnly: condition === "reader" ? "served without an engine" : null,
    memoryLocked: null,
    counters: null,
    latencyBounds: null,
    latencies: null,
    engine: null,
    daemon: null,
    recovery: null,
    tamperEvents: null,
    scrub: null,
    warnings: [],
    stopRefused: null,
  };
}
