/**
 * Every metric of kmsfs: name, type, unit, help, stability, and where its value comes from. docs/metrics.md is written
 * from here. A `stable` name and its meaning stay for all of a major version; an `experimental` one may change.
 */

import { getSystemErrorName } from "node:util";
import { progressOf } from "../mount/scrub.js";
import type { MountStatus } from "../mount/status.js";
import { packageVersion } from "../version.js";

export type Labels = Readonly<Record<string, string>>;

export interface Buckets {
  /** seconds, rising */
  readonly bounds: readonly number[];
  /** one for each bound and one for what is beyond; not cumulative */
  readonly counts: readonly number[];
  readonly sum: number;
}

export interface Sample {
  readonly labels?: Labels;
  readonly value: number | Buckets;
}

interface Described {
  /** without the suffixes that the exposition adds: _total, _info, _bucket, _sum, _count */
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram" | "info";
  /** the name ends in it */
  readonly unit?: "bytes" | "seconds" | "ratio";
  readonly help: string;
  readonly stability: "stable" | "experimental";
  /** beside `volume` and `mountpoint`, which all but kmsfs_build have */
  readonly labels?: readonly string[];
}

/** Of each mount; no samples where nobody knows. */
export interface MountFamily extends Described {
  readonly read: (mount: MountStatus) => readonly Sample[];
}

/** Of the program that answers. */
export interface ProgramFamily extends Described {
  readonly readProgram: () => readonly Sample[];
}

export type Family = MountFamily | ProgramFamily;

type Value = number | boolean | null | undefined;

function sample(value: Value): Sample[] {
  return value === null || value === undefined ? [] : [{ value: Number(value) }];
}

/** A counter of the engine's; one that it has not told of, though it tells of others, is zero. */
function counter(mount: MountStatus, name: string): Sample[] {
  return sample(mount.counters === null ? null : (mount.counters[name] ?? 0));
}

/** A sample for each of the engine's counters that begin with `prefix`. */
function each(mount: MountStatus, prefix: string, labels: (rest: string) => Labels): Sample[] {
  return Object.entries(mount.counters ?? {}).flatMap(([name, value]) =>
    name.startsWith(prefix) ? [{ labels: labels(name.slice(prefix.length)), value }] : [],
  );
}

/** The name of an errno value of Linux ("ENOENT"). */
export function errnoName(errno: string): string {
  return errno === "0" ? "other" : getSystemErrorName(-Number(errno));
}

function latency(mount: MountStatus, name: string, labels: Labels = {}): Sample[] {
  const [found, bounds] = [mount.latencies?.[name], mount.latencyBounds];
  if (found === undefined || bounds == null) return [];
  return [
    {
      labels,
      value: { bounds: bounds.map((nanos) => nanos / 1e9), counts: found.counts, sum: found.nanos / 1e9 },
    },
  ];
}

/** Latencies that are not of requests. */
const INNER_LATENCIES = new Set(["log_flush", "checkpoint"]);

function unixSeconds(time: string | null | undefined): Value {
  return time == null ? null : Date.parse(time) / 1000;
}

export const FAMILIES: readonly Family[] = [
  {
    name: "kmsfs_build",
    type: "info",
    help: "The version of kmsfs that answers.",
    stability: "stable",
    labels: ["version"],
    readProgram: () => [{ labels: { version: packageVersion() }, value: 1 }],
  },
  {
    name: "kmsfs_mount_up",
    type: "gauge",
    help: "1 while the mount is served and watched by its daemon, else 0.",
    stability: "stable",
    read: (m) => sample(m.condition === "mounted" && m.counters !== null),
  },
  {
    name: "kmsfs_mount_start_time_seconds",
    type: "gauge",
    unit: "seconds",
    help: "When the mount came up, in seconds since 1970.",
    stability: "stable",
    read: (m) => sample(unixSeconds(m.since)),
  },
  {
    name: "kmsfs_mount_read_only",
    type: "gauge",
    help: "1 when nothing can be written: mounted read-only, or after a failure.",
    stability: "stable",
    read: (m) => counter(m, "read_only"),
  },
  {
    name: "kmsfs_mount_failed",
    type: "gauge",
    help: "1 after the log or a file could not be written: nothing is written any more until the volume is mounted anew.",
    stability: "stable",
    read: (m) =>
      sample(m.counters === null ? null : m.readOnly !== null && m.readOnly !== "mounted read-only"),
  },
  {
    name: "kmsfs_mount_warnings",
    type: "gauge",
    help: "Warnings that kmsfs status shows, the last 20 at most.",
    stability: "experimental",
    read: (m) => sample(m.counters === null ? null : m.warnings.length),
  },
  {
    name: "kmsfs_tamper_events",
    type: "counter",
    help: "Things found that do not authenticate, each counted once a mount.",
    stability: "stable",
    read: (m) => counter(m, "tamper_events"),
  },
  {
    name: "kmsfs_requests",
    type: "counter",
    help: "Requests of the kernel, by FUSE opcode.",
    stability: "stable",
    labels: ["opcode"],
    read: (m) => each(m, "requests_", (opcode) => ({ opcode })),
  },
  {
    name: "kmsfs_request_errors",
    type: "counter",
    help: "Requests answered with an error, by errno. Many are ordinary: ENODATA, ENOENT, ENOSYS.",
    stability: "stable",
    labels: ["errno"],
    read: (m) => each(m, "errors_", (errno) => ({ errno: errnoName(errno) })),
  },
  {
    name: "kmsfs_request_duration_seconds",
    type: "histogram",
    unit: "seconds",
    help: "Time from a request's receipt to its reply. close is flush(2) at close, lookup also stat, open and getxattr, change all changes of names and attributes.",
    stability: "stable",
    labels: ["operation"],
    read: (m) =>
      Object.keys(m.latencies ?? {})
        .filter((name) => !INNER_LATENCIES.has(name))
        .flatMap((operation) => latency(m, operation, { operation })),
  },
  {
    name: "kmsfs_malformed_requests",
    type: "counter",
    help: "Requests that no kernel should send.",
    stability: "experimental",
    read: (m) => counter(m, "malformed"),
  },
  {
    name: "kmsfs_panics",
    type: "counter",
    help: "Requests that met a fault in the engine itself and were answered with EIO.",
    stability: "experimental",
    read: (m) => counter(m, "panics"),
  },
  {
    name: "kmsfs_read_bytes",
    type: "counter",
    unit: "bytes",
    help: "Plaintext given to the kernel. What its page cache serves is not in it.",
    stability: "stable",
    read: (m) => counter(m, "bytes_read"),
  },
  {
    name: "kmsfs_written_bytes",
    type: "counter",
    unit: "bytes",
    help: "Plaintext taken from the kernel.",
    stability: "stable",
    read: (m) => counter(m, "bytes_written"),
  },
  {
    name: "kmsfs_cache_hits",
    type: "counter",
    help: "Blocks and nodes found in the sector cache.",
    stability: "stable",
    read: (m) => counter(m, "cache_hits"),
  },
  {
    name: "kmsfs_cache_misses",
    type: "counter",
    help: "Blocks and nodes not found in the sector cache. Only nodes are looked for by reads into the kernel's page cache and above 32 KiB.",
    stability: "stable",
    read: (m) => counter(m, "cache_misses"),
  },
  {
    name: "kmsfs_cache_evictions",
    type: "counter",
    help: "Blocks and nodes put out of the sector cache, and wiped, to make room.",
    stability: "stable",
    read: (m) => counter(m, "cache_evictions"),
  },
  {
    name: "kmsfs_cache_capacity_bytes",
    type: "gauge",
    unit: "bytes",
    help: "What the sector cache holds when it is full.",
    stability: "stable",
    read: (m) => counter(m, "cache_capacity_bytes"),
  },
  {
    name: "kmsfs_cache_used_bytes",
    type: "gauge",
    unit: "bytes",
    help: "What the sector cache holds.",
    stability: "stable",
    read: (m) => counter(m, "cache_used_bytes"),
  },
  {
    name: "kmsfs_cache_locked",
    type: "gauge",
    help: "1 when the sector cache cannot be swapped out.",
    stability: "stable",
    read: (m) => counter(m, "cache_locked"),
  },
  {
    name: "kmsfs_commits",
    type: "counter",
    help: "Commits appended to the log, each of one file.",
    stability: "stable",
    read: (m) => counter(m, "commits"),
  },
  {
    name: "kmsfs_checkpoints",
    type: "counter",
    help: "Times that all that was committed was written home.",
    stability: "stable",
    read: (m) => counter(m, "checkpoints"),
  },
  {
    name: "kmsfs_checkpoint_duration_seconds",
    type: "histogram",
    unit: "seconds",
    help: "How long they took.",
    stability: "experimental",
    read: (m) => latency(m, "checkpoint"),
  },
  {
    name: "kmsfs_log_flushes",
    type: "counter",
    help: "Flushes of the log; one serves all who wait for one.",
    stability: "stable",
    read: (m) => counter(m, "log_flushes"),
  },
  {
    name: "kmsfs_log_flush_duration_seconds",
    type: "histogram",
    unit: "seconds",
    help: "How long they took: the disk's part of fsync(2).",
    stability: "stable",
    read: (m) => latency(m, "log_flush"),
  },
  {
    name: "kmsfs_log_written_bytes",
    type: "counter",
    unit: "bytes",
    help: "Bytes of records appended to the log.",
    stability: "stable",
    read: (m) => counter(m, "logged_bytes"),
  },
  {
    name: "kmsfs_straight_written_bytes",
    type: "counter",
    unit: "bytes",
    help: "Bytes of new runs of blocks written straight home, past the log.",
    stability: "stable",
    read: (m) => counter(m, "straight_bytes"),
  },
  {
    name: "kmsfs_log_segments",
    type: "gauge",
    help: "Segments of the log.",
    stability: "stable",
    read: (m) => counter(m, "log_segments"),
  },
  {
    name: "kmsfs_log_segments_used",
    type: "gauge",
    help: "Segments that hold commits which may not be home yet, with the one that is written to.",
    stability: "stable",
    read: (m) => counter(m, "log_segments_used"),
  },
  {
    name: "kmsfs_log_capacity_bytes",
    type: "gauge",
    unit: "bytes",
    help: "Records that fit in the log.",
    stability: "stable",
    read: (m) => counter(m, "log_capacity_bytes"),
  },
  {
    name: "kmsfs_log_used_bytes",
    type: "gauge",
    unit: "bytes",
    help: "Records since the last checkpoint, which comes when half of the log is used.",
    stability: "stable",
    read: (m) => counter(m, "log_used_bytes"),
  },
  {
    name: "kmsfs_dirty_bytes",
    type: "gauge",
    unit: "bytes",
    help: "Plaintext in the engine that is in no commit yet.",
    stability: "stable",
    read: (m) => counter(m, "dirty_bytes"),
  },
  {
    name: "kmsfs_pending_files",
    type: "gauge",
    help: "Files with changes that are not home yet.",
    stability: "stable",
    read: (m) => counter(m, "pending_files"),
  },
  {
    name: "kmsfs_recovered_commits",
    type: "gauge",
    help: "Commits that this mount found in the log when it came up; above zero after a crash.",
    stability: "stable",
    read: (m) => sample(m.recovery?.commits),
  },
  {
    name: "kmsfs_recovered_files",
    type: "gauge",
    help: "Files that these commits brought up to date.",
    stability: "stable",
    read: (m) => sample(m.recovery?.files),
  },
  {
    name: "kmsfs_scrub_running",
    type: "gauge",
    help: "1 while a scrub runs.",
    stability: "stable",
    read: (m) => sample(m.counters === null ? null : m.scrub?.state === "running"),
  },
  {
    name: "kmsfs_scrub_progress_ratio",
    type: "gauge",
    unit: "ratio",
    help: "Share of the last scrub, or of the running one, that is done; an estimate.",
    stability: "experimental",
    read: (m) => sample(m.scrub === null ? null : progressOf(m.scrub)),
  },
  {
    name: "kmsfs_scrub_checked_bytes",
    type: "gauge",
    unit: "bytes",
    help: "Sealed bytes that the last scrub, or the running one, has verified.",
    stability: "experimental",
    read: (m) => sample(m.scrub?.counts.bytes),
  },
  {
    name: "kmsfs_scrub_findings",
    type: "gauge",
    help: "Problems that the last scrub, or the running one, has found.",
    stability: "stable",
    read: (m) => sample(m.scrub?.findingCount),
  },
  {
    name: "kmsfs_scrub_last_done_time_seconds",
    type: "gauge",
    unit: "seconds",
    help: "When a scrub last went to its end, in seconds since 1970.",
    stability: "stable",
    read: (m) => sample(unixSeconds(m.scrub?.lastDone?.ended)),
  },
  {
    name: "kmsfs_scrub_last_done_findings",
    type: "gauge",
    help: "Problems that it found.",
    stability: "stable",
    read: (m) => sample(m.scrub?.lastDone?.findingCount),
  },
  {
    name: "kmsfs_nodes",
    type: "gauge",
    help: "Inodes in the engine's table.",
    stability: "experimental",
    read: (m) => counter(m, "nodes"),
  },
  {
    name: "kmsfs_cached_descriptors",
    type: "gauge",
    help: "Descriptors of backing files that the engine keeps open.",
    stability: "experimental",
    read: (m) => counter(m, "descriptors"),
  },
  {
    name: "kmsfs_open_files",
    type: "gauge",
    help: "Open file descriptions of the mount.",
    stability: "stable",
    read: (m) => counter(m, "open_files"),
  },
  {
    name: "kmsfs_open_directories",
    type: "gauge",
    help: "Open directories of the mount.",
    stability: "stable",
    read: (m) => counter(m, "open_directories"),
  },
  {
    name: "kmsfs_engine_memory_locked",
    type: "gauge",
    help: "1 when no memory of the engine can be swapped out.",
    stability: "stable",
    read: (m) => counter(m, "memory_locked"),
  },
  {
    name: "kmsfs_engine_resident_memory_bytes",
    type: "gauge",
    unit: "bytes",
    help: "Resident memory of the engine.",
    stability: "stable",
    read: (m) => sample(m.engine?.residentBytes),
  },
  {
    name: "kmsfs_engine_locked_memory_bytes",
    type: "gauge",
    unit: "bytes",
    help: "Address space of the engine that is locked; pages count when they are first used.",
    stability: "experimental",
    read: (m) => sample(m.engine?.lockedBytes),
  },
  {
    name: "kmsfs_engine_cpu_seconds",
    type: "counter",
    unit: "seconds",
    help: "User and system time of the engine.",
    stability: "stable",
    read: (m) => sample(m.engine?.cpuSeconds),
  },
  {
    name: "kmsfs_engine_open_fds",
    type: "gauge",
    help: "Open descriptors of the engine.",
    stability: "stable",
    read: (m) => sample(m.engine?.descriptors),
  },
  {
    name: "kmsfs_engine_threads",
    type: "gauge",
    help: "Threads of the engine.",
    stability: "experimental",
    read: (m) => sample(m.engine?.threads),
  },
  {
    name: "kmsfs_engine_events_dropped",
    type: "counter",
    help: "Messages of the engine that its daemon was too slow to take.",
    stability: "experimental",
    read: (m) => counter(m, "events_dropped"),
  },
  {
    name: "kmsfs_daemon_resident_memory_bytes",
    type: "gauge",
    unit: "bytes",
    help: "Resident memory of the daemon.",
    stability: "experimental",
    read: (m) => sample(m.daemon?.residentBytes),
  },
];
