/** `kmsfs status --watch`: what happened between two looks, in place on a terminal, a line each elsewhere. */

import type { Latency } from "../mount/protocol.js";
import type { MountStatus } from "../mount/status.js";
import { quantilesText, SHOWN_LATENCIES } from "./status-text.js";
import { percentText, sizeText } from "./units.js";

/** Per second, between two looks at one mount. */
export interface Rates {
  readonly requests: number;
  readonly errors: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly flushes: number;
  /** share of the cache's look-ups that found something; NaN without any */
  readonly hitRatio: number;
  /** counts of this interval alone */
  readonly latencies: Readonly<Record<string, Latency>>;
}

/** undefined when there is nothing to compare: no counters, or another mount than before. */
export function ratesBetween(
  before: MountStatus | undefined,
  after: MountStatus,
  seconds: number,
): Rates | undefined {
  if (before?.counters == null || after.counters === null || before.since !== after.since) return undefined;
  const [old, now] = [before.counters, after.counters];
  const grown = (name: string): number => (now[name] ?? 0) - (old[name] ?? 0);
  const grownAll = (prefix: string): number =>
    Object.keys(now).reduce((sum, name) => sum + (name.startsWith(prefix) ? grown(name) : 0), 0);
  const [hits, misses] = [grown("cache_hits"), grown("cache_misses")];
  return {
    requests: grownAll("requests_") / seconds,
    errors: grownAll("errors_") / seconds,
    readBytes: grown("bytes_read") / seconds,
    writtenBytes: grown("bytes_written") / seconds,
    flushes: grown("log_flushes") / seconds,
    hitRatio: hits + misses === 0 ? Number.NaN : hits / (hits + misses),
    latencies: Object.fromEntries(
      Object.entries(after.latencies ?? {}).map(([name, latency]) => [
        name,
        difference(before.latencies?.[name], latency),
      ]),
    ),
  };
}

function difference(before: Latency | undefined, after: Latency): Latency {
  return {
    counts: after.counts.map((count, i) => count - (before?.counts[i] ?? 0)),
    nanos: after.nanos - (before?.nanos ?? 0),
  };
}

/** One line: for a pipe or a file. */
export function watchLine(mount: MountStatus, rates: Rates | undefined): string {
  if (rates === undefined) return `${mount.dir} ${mount.condition}`;
  const { requests, errors, readBytes, writtenBytes, hitRatio } = rates;
  return [
    mount.dir,
    `${requests.toFixed(0)} requests/s`,
    `${errors.toFixed(0)} errors/s`,
    `${sizeText(readBytes)}/s read`,
    `${sizeText(writtenBytes)}/s written`,
    `hits ${percentText(hitRatio)}`,
    ...latencyParts(mount, rates),
  ].join(", ");
}

/** Some lines: for a terminal. */
export function watchBlock(mount: MountStatus, rates: Rates | undefined): string[] {
  const head = `${mount.backing} on ${mount.dir}${mount.condition === "mounted" ? "" : `: ${mount.condition}`}`;
  const { counters } = mount;
  if (counters === null) return [head];
  const get = (name: string): number => counters[name] ?? 0;
  const notes = [
    ...(mount.readOnly === null ? [] : [`  read-only: ${mount.readOnly}`]),
    ...(mount.tamperEvents ? [`  tampering: ${mount.tamperEvents} found`] : []),
  ];
  const held =
    `  cache ${sizeText(get("cache_used_bytes"))} of ${sizeText(get("cache_capacity_bytes"))}, ` +
    `log ${sizeText(get("log_used_bytes"))} of ${sizeText(get("log_capacity_bytes"))}, ` +
    `${sizeText(get("dirty_bytes"))} uncommitted, ${get("open_files")} files open`;
  if (rates === undefined) return [head, held, ...notes];
  const latency = latencyParts(mount, rates);
  return [
    head,
    `  ${rates.requests.toFixed(0)} requests/s, ${rates.errors.toFixed(0)} errors/s, ${rates.flushes.toFixed(1)} flushes/s`,
    `  ${sizeText(rates.readBytes)}/s read, ${sizeText(rates.writtenBytes)}/s written, hits ${percentText(rates.hitRatio)}`,
    `  p50/p99: ${latency.length === 0 ? "-" : latency.join(", ")}`,
    held,
    ...notes,
  ];
}

function latencyParts({ latencyBounds }: MountStatus, { latencies }: Rates): string[] {
  return SHOWN_LATENCIES.flatMap((name) => {
    const text = quantilesText(latencyBounds ?? [], latencies[name]);
    return text === null ? [] : [`${name} ${text}`];
  });
}

export interface WatchOptions {
  readonly seconds: number;
  readonly json: boolean;
  look(): Promise<readonly MountStatus[]>;
}

/** Until SIGINT or SIGTERM, or nobody reads any more. */
export async function watch({ seconds, json, look }: WatchOptions): Promise<void> {
  const interval = new Interval();
  const inPlace = process.stdout.isTTY === true && !json;
  // Whoever closes the pipe has seen enough; of what cannot be written, main.ts tells.
  process.stdout.on("error", () => interval.stop());
  let before: readonly MountStatus[] = [];
  let lookedAt = 0;
  while (!interval.stopped) {
    const after = await look();
    const now = performance.now();
    const elapsed = (now - lookedAt) / 1000;
    const compared = after.map((mount) => ({
      mount,
      rates: ratesBetween(
        before.find((old) => old.dir === mount.dir),
        mount,
        elapsed,
      ),
    }));
    if (json) console.log(JSON.stringify({ time: new Date().toISOString(), mounts: after }));
    else if (inPlace) drawOver(compared, seconds);
    else
      for (const { mount, rates } of compared) if (rates !== undefined) console.log(watchLine(mount, rates));
    [before, lookedAt] = [after, now];
    await interval.wait(seconds * 1000);
  }
  if (inPlace) process.stdout.write("\n");
}

type Compared = readonly { mount: MountStatus; rates: Rates | undefined }[];

/** From the top left corner; what a line or the screen has left over from before is cleared. */
function drawOver(compared: Compared, seconds: number): void {
  // A terminal may not know its size.
  const [columns, rows] = [process.stdout.columns || 80, process.stdout.rows || 24];
  const blocks = compared.map(({ mount, rates }) => watchBlock(mount, rates));
  const lines = blocks.length === 0 ? [["nothing is mounted"]] : blocks;
  const text = [
    `kmsfs, every ${seconds} s, ${new Date().toLocaleTimeString()}; Ctrl-C ends`,
    ...lines.flatMap((b) => ["", ...b]),
  ];
  const fitting = text.slice(0, Math.max(1, rows - 1)).map((line) => `${line.slice(0, columns)}\x1b[K`);
  process.stdout.write(`\x1b[H${fitting.join("\n")}\x1b[J`);
}

/** Sleeps that a signal ends. */
class Interval {
  stopped = false;
  #wake: () => void = () => undefined;

  constructor() {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => this.stop());
  }

  stop(): void {
    this.stopped = true;
    this.#wake();
  }

  async wait(ms: number): Promise<void> {
    if (this.stopped) return;
    await new Promise<void>((done) => {
      const timer = setTimeout(done, ms);
      this.#wake = () => {
        clearTimeout(timer);
        done();
      };
    });
  }
}
