/** `kmsfs status` for people. */

import { errnoName } from "../metrics/definitions.js";
import { quantile } from "../metrics/quantile.js";
import type { Latency } from "../mount/protocol.js";
import type { MountStatus } from "../mount/status.js";
import { findingLine, scrubText } from "./scrub-text.js";
import { durationText, latencyText, percentText, sizeText } from "./units.js";

const CONDITIONS: Readonly<Record<MountStatus["condition"], string>> = {
  mounted: "mounted",
  unwatched: "mounted, its daemon is gone, the engine serves on",
  detached: "detached, still written or held open",
  dead: "dead: kmsfs umount clears it",
  reader: "mounted by the reference reader",
  unrecorded: "mounted, nothing in the run directory tells of it",
};

/** kmsfs status --json has more of them. */
const FINDINGS_SHOWN = 20;

type Row = readonly [string, string | number | null];

export function describe(mount: MountStatus): string {
  const rows: Row[] = [
    ["state", CONDITIONS[mount.condition]],
    ["read-only", mount.readOnly],
    ["volume", mount.uuid],
    ["since", since(mount)],
    ["options", mount.options.join(",") || null],
    ["daemon", mount.daemonPid],
    ["engine", engineText(mount)],
    ["log", mount.log],
    ...counted(mount),
    ["recovered", recoveredText(mount)],
    ["scrub", mount.scrub === null ? null : scrubText(mount.scrub)],
    ...(mount.scrub?.findings ?? [])
      .slice(0, FINDINGS_SHOWN)
      .map((finding): Row => ["damaged", findingLine(mount.dir, finding)]),
    ["tampering", tamperText(mount.tamperEvents)],
    ["not stopped", mount.stopRefused],
    ...mount.warnings.map((warning): Row => ["warning", warning]),
  ];
  const lines = rows.flatMap(([name, value]) => (value === null ? [] : [`  ${name.padEnd(12)} ${value}`]));
  return [`${mount.backing} on ${mount.dir}`, ...lines].join("\n");
}

function since({ since, uptime }: MountStatus): string | null {
  return since === null ? null : `${since}${uptime === null ? "" : `, for ${durationText(uptime)}`}`;
}

function engineText({ enginePid, engine, memoryLocked }: MountStatus): string | null {
  if (enginePid === null) return null;
  const memory = engine === null ? [] : [`${sizeText(engine.residentBytes)} of memory`];
  const locked = memoryLocked === null ? [] : [memoryLocked ? "locked" : "not locked"];
  return [String(enginePid), ...memory, ...locked].join(", ");
}

function recoveredText({ recovery }: MountStatus): string | null {
  if (recovery === null || (recovery.commits === 0 && !recovery.droppedTail)) return null;
  return `${recovery.commits} commits of ${recovery.files} files when it came up`;
}

function tamperText(events: number | null): string | null {
  return events === null || events === 0 ? null : `${events} found: see the log`;
}

function counted(mount: MountStatus): Row[] {
  const { counters } = mount;
  if (counters === null) return [];
  const get = (name: string): number => counters[name] ?? 0;
  const lookups = get("cache_hits") + get("cache_misses");
  return [
    ["requests", byCount(counters, "requests_", (name) => name)],
    ["errors", byCount(counters, "errors_", errnoName)],
    ["moved", `${sizeText(get("bytes_read"))} read, ${sizeText(get("bytes_written"))} written`],
    ["latency", latencyRow(mount)],
    [
      "cache",
      `${sizeText(get("cache_used_bytes"))} of ${sizeText(get("cache_capacity_bytes"))}, ` +
        `${percentText(lookups === 0 ? Number.NaN : get("cache_hits") / lookups)} hits, ` +
        `${get("cache_evictions")} evictions, ${get("cache_locked") === 1 ? "locked" : "not locked"}`,
    ],
    [
      "commit log",
      `${sizeText(get("log_used_bytes"))} of ${sizeText(get("log_capacity_bytes"))}, ` +
        `${get("commits")} commits, ${get("log_flushes")} flushes, ${get("checkpoints")} checkpoints`,
    ],
    ["not home", `${sizeText(get("dirty_bytes"))} uncommitted, ${get("pending_files")} files waiting`],
    [
      "open",
      `${get("open_files")} files, ${get("open_directories")} directories, ${get("nodes")} inodes known`,
    ],
  ];
}

/** The sum, and the largest few. */
function byCount(
  counters: Readonly<Record<string, number>>,
  prefix: string,
  nameOf: (rest: string) => string,
): string | null {
  const found = Object.entries(counters).filter(([name]) => name.startsWith(prefix));
  if (found.length === 0) return null;
  const sum = found.reduce((total, [, count]) => total + count, 0);
  const most = found.sort(([, a], [, b]) => b - a).slice(0, 6);
  const parts = most.map(([name, count]) => `${nameOf(name.slice(prefix.length))} ${count}`);
  return `${sum}: ${parts.join(", ")}${found.length > most.length ? ", ..." : ""}`;
}

/** The groups of requests that a user waits for, beside the disk's own part. */
export const SHOWN_LATENCIES = ["read", "write", "sync", "lookup", "change"] as const;

function latencyRow({ latencies, latencyBounds }: MountStatus): string | null {
  const parts = SHOWN_LATENCIES.flatMap((name) => {
    const text = quantilesText(latencyBounds ?? [], latencies?.[name]);
    return text === null ? [] : [`${name} ${text}`];
  });
  return parts.length === 0 ? null : `p50/p99: ${parts.join(", ")}`;
}

/** "12 us/340 us": median and 99th percentile; null when nothing was counted. */
export function quantilesText(bounds: readonly number[], latency: Latency | undefined): string | null {
  if (latency === undefined || latency.counts.every((count) => count === 0)) return null;
  return [0.5, 0.99].map((q) => latencyText(quantile(bounds, latency.counts, q))).join("/");
}
