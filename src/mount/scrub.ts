/**
 * The scrub of a mount as its daemon keeps it: where it is, what it found, and how it ended. Kept on this host beside
 * the logs, so that an unmount or a crash loses a second of work, and so that the last result can be told for ever.
 */

import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, messageOf } from "../errors.js";
import { logDirectory } from "../host-directories.js";
import { log } from "./log.js";
import type { ScrubCounts, ScrubCursor, ScrubFindingMessage, ScrubMessage, ToEngine } from "./protocol.js";

/**
 * `interrupted`: by an unmount or a crash. That and `paused` are gone on with by the next start; `stopped` and `failed`
 * are not.
 */
export type ScrubState = "running" | "paused" | "interrupted" | "stopped" | "failed" | "done";

export interface ScrubFinding {
  /** 32 hex digits */
  readonly file: string;
  /** in the backing directory */
  readonly place: string | null;
  /** on the mount; in memory only, and gone with the daemon */
  readonly path: string | null;
  /** the number of the data block, where it is one */
  readonly block: number | null;
  readonly detail: string;
}

export interface ScrubStatus {
  readonly state: ScrubState;
  readonly volume: string;
  /** RFC 3339 UTC, as the others */
  readonly started: string;
  readonly ended: string | null;
  readonly updated: string;
  /** bytes a second; 0: no limit */
  readonly rate: number;
  /** an estimate; 0 while there is none */
  readonly totalBytes: number;
  /** seconds of work, without pauses */
  readonly seconds: number;
  readonly counts: ScrubCounts;
  readonly cursor: ScrubCursor | null;
  /** the first of them */
  readonly findings: readonly ScrubFinding[];
  readonly findingCount: number;
  readonly message: string | null;
  /** the last one that went to the end */
  readonly lastDone: ScrubResult | null;
}

export interface ScrubResult {
  readonly started: string;
  readonly ended: string;
  readonly counts: ScrubCounts;
  readonly findingCount: number;
}

const FINDINGS_KEPT = 1000;
const NOTHING: ScrubCounts = {
  directories: 0,
  files: 0,
  symlinks: 0,
  special: 0,
  blocks: 0,
  nodes: 0,
  bytes: 0,
};

export function scrubFile(uuid: string): string {
  return join(logDirectory(), `${uuid}.scrub.json`);
}

/** The last scrub of a volume on this host; undefined when there was none. What was cut off is interrupted. */
export function readScrub(uuid: string): ScrubStatus | undefined {
  try {
    const status = JSON.parse(readFileSync(scrubFile(uuid), "utf8")) as ScrubStatus;
    if (status.volume !== uuid || !Array.isArray(status.findings)) return undefined;
    return status.state === "running" ? { ...status, state: "interrupted" } : status;
  } catch (error) {
    // A file that was half written or edited is no reason to keep a mount from coming up.
    if (errnoOf(error) !== "ENOENT") log(`scrub: ${scrubFile(uuid)}: ${messageOf(error)}`);
    return undefined;
  }
}

/** Share of the work that is done, 0 to 1; an estimate, since files change. */
export function progressOf({ state, counts, totalBytes }: ScrubStatus): number {
  if (state === "done") return 1;
  return totalBytes === 0 ? 0 : Math.min(0.999, counts.bytes / totalBytes);
}

export interface ScrubEvents {
  started(status: ScrubStatus): void;
  /** also when it was paused, stopped or interrupted */
  ended(status: ScrubStatus): void;
}

export class ScrubKeeper {
  readonly #uuid: string;
  readonly #send: (message: ToEngine) => void;
  readonly #events: ScrubEvents;
  readonly #known = new Set<string>();
  #status: ScrubStatus | undefined;
  /** what the next "stopped" of the engine means */
  #wanted: "paused" | "stopped" | "interrupted" = "interrupted";
  #since = 0;
  #secondsBefore = 0;

  constructor(uuid: string, send: (message: ToEngine) => void, events: ScrubEvents) {
    this.#uuid = uuid;
    this.#send = send;
    this.#events = events;
    this.#status = readScrub(uuid);
  }

  get status(): ScrubStatus | null {
    return this.#status ?? null;
  }

  /** Starts, or goes on with what was paused or interrupted. Does nothing while one runs. */
  start(rate: number, restart: boolean): ScrubStatus {
    const before = this.#status;
    if (before?.state === "running") return before;
    const resumed = !restart && (before?.state === "paused" || before?.state === "interrupted");
    const now = new Date().toISOString();
    const status: ScrubStatus =
      resumed && before !== undefined
        ? { ...before, state: "running", rate, updated: now, ended: null, message: null }
        : {
            state: "running",
            volume: this.#uuid,
            started: now,
            ended: null,
            updated: now,
            rate,
            totalBytes: 0,
            seconds: 0,
            counts: NOTHING,
            cursor: null,
            findings: [],
            findingCount: 0,
            message: null,
            lastDone: before?.lastDone ?? null,
          };
    this.#known.clear();
    for (const finding of status.findings) this.#known.add(keyOf(finding));
    this.#wanted = "interrupted";
    this.#since = performance.now();
    this.#secondsBefore = status.seconds;
    const { totalBytes, cursor, counts } = status;
    this.#send({ type: "scrub", rate, totalBytes, from: cursor, counts });
    this.#set(status);
    this.#events.started(status);
    return status;
  }

  /** Asks the running one to end: `paused` keeps its place. A paused or interrupted one can be stopped too. */
  end(how: "paused" | "stopped"): ScrubStatus | null {
    if (this.#status?.state === "running") {
      this.#wanted = how;
      this.#send({ type: "scrub-stop" });
    } else if (how === "stopped" && ["paused", "interrupted"].includes(this.#status?.state ?? "")) {
      this.#change({ state: "stopped", cursor: null });
    }
    return this.status;
  }

  progressed({ state, totalBytes, counts, cursor, message }: ScrubMessage): void {
    if (this.#status?.state !== "running") return;
    const seconds = this.#secondsBefore + (performance.now() - this.#since) / 1000;
    const told = { totalBytes, counts, cursor: cursor ?? null, message: message ?? null, seconds };
    if (state === "counting" || state === "running") this.#change(told);
    else if (state === "done") {
      const { started, findingCount } = this.#status;
      const ended = new Date().toISOString();
      const lastDone = { started, ended, counts, findingCount };
      this.#change({ ...told, state: "done", ended, cursor: null, lastDone });
    } else if (state === "failed")
      this.#change({ ...told, state: "failed", ended: new Date().toISOString() });
    else {
      const stopped = this.#wanted === "stopped" ? { cursor: null, ended: new Date().toISOString() } : {};
      this.#change({ ...told, state: this.#wanted, ...stopped });
    }
    if (this.#status.state !== "running") this.#events.ended(this.#status);
  }

  found({ file, place, path, block, detail }: ScrubFindingMessage): void {
    if (this.#status === undefined) return;
    const finding = { file, place: place ?? null, path: path ?? null, block: block ?? null, detail };
    // What was found after the last word on how far it was is found again when it goes on from there.
    if (this.#known.has(keyOf(finding))) return;
    this.#known.add(keyOf(finding));
    const { findings, findingCount } = this.#status;
    const kept = findings.length < FINDINGS_KEPT ? [...findings, finding] : findings;
    this.#change({ findings: kept, findingCount: findingCount + 1 });
  }

  #change(change: Partial<ScrubStatus>): void {
    if (this.#status !== undefined)
      this.#set({ ...this.#status, ...change, updated: new Date().toISOString() });
  }

  #set(status: ScrubStatus): void {
    this.#status = status;
    const path = scrubFile(this.#uuid);
    // Names in clear stay in memory.
    const kept = { ...status, findings: status.findings.map((finding) => ({ ...finding, path: null })) };
    try {
      writeFileSync(`${path}.new`, `${JSON.stringify(kept)}\n`, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (error) {
      // The scrub itself goes on; only its place would be lost.
      log(`scrub: ${path}: ${messageOf(error)}`);
    }
  }
}

function keyOf({ file, place, block, detail }: ScrubFinding): string {
  return JSON.stringify([file, place, block, detail]);
}
