/** The messages of docs/engine-protocol.md, as TypeScript sees them. */

import type { ExitCodeName } from "../cli/exit-codes.js";

export const PROTOCOL_VERSION = 1;

export interface UnlockMessage {
  type: "unlock";
  version: typeof PROTOCOL_VERSION;
  uuid: string;
  blockSize: number;
  generation: number;
  features: string[];
  log: { segmentSize: number; segments: number };
  /** base64 */
  commitment: string;
}

export interface StartMessage {
  type: "start";
  version: typeof PROTOCOL_VERSION;
  /** absolute */
  backing: string;
  readOnly: boolean;
  cacheBytes: number;
  writeback: boolean;
  mlock: "try" | "require";
  debug: boolean;
}

export interface ScrubCursor {
  /** stored names, from the root down */
  path: string[];
  /** above zero: the blocks of that file before this one; else all of it */
  block: number;
}

export interface ScrubCounts {
  directories: number;
  files: number;
  symlinks: number;
  special: number;
  blocks: number;
  nodes: number;
  /** sealed bytes of files */
  bytes: number;
}

export interface ScrubOrder {
  type: "scrub";
  /** bytes a second; 0: no limit */
  rate: number;
  totalBytes: number;
  from: ScrubCursor | null;
  counts: ScrubCounts;
}

export interface ScrubMessage {
  type: "scrub";
  state: "counting" | "running" | "done" | "stopped" | "failed";
  totalBytes: number;
  counts: ScrubCounts;
  cursor?: ScrubCursor | null;
  message?: string | null;
}

export interface ScrubFindingMessage {
  type: "scrub-finding";
  file: string;
  place?: string | null;
  /** on the mount, in clear: never to be logged */
  path?: string | null;
  block?: number | null;
  detail: string;
}

export type ToEngine =
  | ScrubOrder
  | { type: "scrub-stop" }
  | StartMessage
  | { type: "status"; id: number }
  | { type: "remount"; id: number; readOnly: boolean }
  | { type: "flush"; id: number }
  | { type: "stop" };

export type FailureCode =
  | "in-use"
  | "wrong-key"
  | "damaged"
  | "unsupported"
  | "io"
  | "no-space"
  | "usage"
  | "memory-lock"
  | "never-mounted"
  | "internal";

export interface FailedMessage {
  type: "failed";
  code: FailureCode;
  message: string;
}

export interface OpenedMessage {
  type: "opened";
  recovery: { commits: number; files: number; gone: number; droppedTail: boolean };
}

export type Counters = Record<string, number>;

/** How long things of one kind took; `counts` has one number for each bound and one for what took longer. */
export interface Latency {
  readonly counts: readonly number[];
  readonly nanos: number;
}

export interface EngineStatus {
  readonly counters: Counters;
  /** nanoseconds, rising */
  readonly latencyBounds: readonly number[];
  readonly latencies: Readonly<Record<string, Latency>>;
  /** why nothing is written any more (docs/decisions/0006); null while the log is sound */
  readonly failure?: string | null;
}

export interface TamperMessage {
  type: "event";
  event: "tamper";
  /** 32 hex digits */
  file?: string | null;
  /** in the backing directory */
  place?: string | null;
  /** the number of the data block, where it is one */
  block?: number | null;
  /** what does not fit */
  detail?: string | null;
}

export type FromEngine =
  | OpenedMessage
  | { type: "serving" }
  | ({ type: "status"; id: number } & EngineStatus)
  | TamperMessage
  | { type: "remounted" | "flushed"; id: number; error?: string | null }
  | ScrubMessage
  | ScrubFindingMessage
  | { type: "warning"; message: string }
  | FailedMessage;

/** The exit code that stands for what the engine could not do. */
export const EXIT_OF_FAILURE: Readonly<Record<FailureCode, ExitCodeName>> = {
  "in-use": "InUse",
  "wrong-key": "WrongKey",
  damaged: "Damaged",
  unsupported: "Backing",
  io: "EngineFailed",
  "no-space": "NoSpace",
  usage: "Usage",
  "memory-lock": "MemoryLock",
  "never-mounted": "Backing",
  internal: "EngineFailed",
};

/** What to do about it. */
export const HINT_OF_FAILURE: Readonly<Partial<Record<FailureCode, string>>> = {
  "in-use": "kmsfs status says where it is mounted; unmount it there first",
  "wrong-key": "give the key file, passphrase or KMS key that this volume was made with",
  damaged: "kmsfs verify says what still authenticates; restore the rest from a snapshot",
  unsupported: "use a directory on ext4 or xfs",
  "no-space": "make room on the backing file system",
  "memory-lock": "raise RLIMIT_MEMLOCK, or mount with -o mlock=try",
  "never-mounted": "mount it once without -o ro, where its file system can be written",
};
