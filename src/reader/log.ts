import { lstatSync, readdirSync, type Stats } from "node:fs";
import { dirname, join } from "node:path";

import { errnoOf } from "../errors.js";
import { DamageError } from "./errors.js";
import type { Geometry } from "./geometry.js";
import type { VolumeKeys } from "./keys.js";
import {
  type CommitBody,
  claimedLength,
  FIRST_RECORD,
  openFrame,
  openSegmentHeader,
  parseCommit,
  RECORD_UNIT,
  SEGMENT_HEADER_LENGTH,
  type SegmentHeader,
} from "./log-record.js";
import { LocalSource } from "./source.js";

/** A commit that the log holds and that may not be home yet. */
export interface Commit extends CommitBody {
  readonly number: bigint;
  /** Where its record stands. */
  readonly segment: string;
  readonly offset: number;
}

export interface CommitLog {
  /** In order of their numbers: all above `checkpointed` up to the end of the log. */
  readonly commits: readonly Commit[];
  /** U of the format: no commit up to this number may be missing from a file's state. */
  readonly durable: bigint;
  /** T of the format: commits up to this number are home. */
  readonly checkpointed: bigint;
  /** Whether records behind the log's end, the tail of a crash, were passed over. */
  readonly droppedTail: boolean;
}

interface Segment extends SegmentHeader {
  readonly path: string;
  readonly key: Buffer;
}

/**
 * What looks like records behind the end of the log and is none may come to this many times the segment (§9): each claim
 * costs reading all that it claims, and somebody could write one into every sector.
 */
const CLAIMS = 8;

/**
 * Reads the commit log in the directory `logDirectory` (docs/format.md §9). `segmentSize` in bytes. Throws a
 * DamageError when records are missing that were durable, or no segment is valid.
 */
export function readLog(
  keys: VolumeKeys,
  uuid: Uint8Array,
  logDirectory: string,
  segmentSize: number,
  geometry: Geometry,
): CommitLog {
  const segments = validSegments(keys, uuid, logDirectory);
  const chain = chainOf(segments);
  const checkpointed = chain.at(-1)?.checkpointed ?? 0n;
  const reading = new Reading(segments, segmentSize, geometry);
  const commits = reading.run(chain).filter((commit) => commit.number > checkpointed);
  return { commits, durable: reading.durable, checkpointed, droppedTail: reading.droppedTail };
}

/**
 * Whether any segment was ever used. Of a first mount that died, segments without a header are left (docs/format.md §9, rule
 * 1).
 */
export function logIsBegun(directory: string): boolean {
  return segmentNames(directory).some((name) =>
    readStart(join(directory, name), SEGMENT_HEADER_LENGTH).some((byte) => byte !== 0),
  );
}

function validSegments(keys: VolumeKeys, uuid: Uint8Array, directory: string): Segment[] {
  const segments: Segment[] = [];
  for (const name of segmentNames(directory)) {
    const path = join(directory, name);
    if (!lstatSync(path).isFile()) throw new DamageError("log", `${path} is no regular file`);
    const header = openSegmentHeader(keys, uuid, readStart(path, SEGMENT_HEADER_LENGTH));
    if (header) segments.push({ ...header, path, key: keys.segmentKey(header.salt) });
  }
  segments.sort((a, b) => (a.sequence < b.sequence ? -1 : a.sequence > b.sequence ? 1 : 0));
  const twice = segments.find((segment, i) => segments[i + 1]?.sequence === segment.sequence);
  if (twice)
    throw new DamageError("log", `two segments of the commit log have the sequence ${twice.sequence}`);
  if (segments.length === 0) throw new DamageError("log", "the commit log has no valid segment");
  return segments;
}

function segmentNames(directory: string): string[] {
  const stat = lstatOf(directory);
  if (stat === undefined) return [];
  if (!stat.isDirectory()) throw new DamageError("log", `${directory} is no directory`);
  return readdirSync(directory).filter((name) => /^[0-9]{4}\.seg$/.test(name));
}

/** `undefined` when there is none. Throws a DamageError where what it would be in is no directory. */
function lstatOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (errnoOf(error) !== "ENOTDIR") throw error;
    throw new DamageError("log", `${dirname(path)} is no directory`);
  }
}

function readStart(path: string, length: number): Buffer {
  const source = new LocalSource(path);
  try {
    return source.readSync(0n, length);
  } finally {
    source.close();
  }
}

/** From the last segment back to the one that holds the first commit not checkpointed; in ascending order. */
function chainOf(segments: readonly Segment[]): Segment[] {
  const chain: Segment[] = [];
  for (let i = segments.length - 1; i >= 0; i--) {
    const segment = segments[i];
    const after = chain[0];
    if (segment === undefined || (after && segment.sequence !== after.sequence - 1n)) break;
    chain.unshift(segment);
    if (segment.firstCommit <= (chain.at(-1)?.checkpointed ?? 0n) + 1n) return chain;
  }
  throw new DamageError("log", `segment ${(chain[0]?.sequence ?? 0n) - 1n} of the commit log is missing`);
}

class Reading {
  durable = 0n;
  droppedTail = false;
  readonly #commits: Commit[] = [];
  /** MAC of the last record read. */
  #lastMac: Buffer | undefined;

  constructor(
    private readonly segments: readonly Segment[],
    private readonly segmentSize: number,
    private readonly geometry: Geometry,
  ) {
    for (const segment of segments) this.#noteDurable(segment.checkpointed);
  }

  run(chain: readonly Segment[]): Commit[] {
    const live = withoutSuperseded(chain);
    for (const [i, segment] of live.entries()) {
      const next = live[i + 1];
      if (this.#lastMac && !this.#lastMac.equals(segment.previousMac)) {
        throw new DamageError(
          "log",
          `segment ${segment.sequence} of the commit log does not follow the one before`,
        );
      }
      const bytes = readStart(segment.path, this.segmentSize);
      const end = this.#readSegment(segment, bytes, next?.firstCommit);
      const missing = segment.firstCommit + BigInt(end.count);
      if (next?.firstCommit === missing) continue;
      this.#checkTail(segment, bytes, end.offset, missing);
      break;
    }
    return this.#commits;
  }

  /** Reads records in their chain up to the first that fails, or to the one numbered `until`. */
  #readSegment(
    segment: Segment,
    bytes: Buffer,
    until: bigint | undefined,
  ): { offset: number; count: number } {
    let offset = FIRST_RECORD;
    let number = segment.firstCommit;
    let previousMac = segment.previousMac;
    while (number !== until) {
      const frame = openFrame(segment.key, bytes, offset);
      if (frame === undefined || frame.number !== number || !frame.previousMac.equals(previousMac)) break;
      this.#noteDurable(frame.durable);
      this.#commits.push({ number, segment: segment.path, offset, ...parseCommit(frame, this.geometry) });
      previousMac = Buffer.from(frame.mac);
      this.#lastMac = previousMac;
      offset += frame.bytes.length;
      number += 1n;
    }
    return { offset, count: Number(number - segment.firstCommit) };
  }

  /** The log ends before commit `missing`: right after a crash, unless something beyond says that it was durable. */
  #checkTail(segment: Segment, bytes: Buffer, offset: number, missing: bigint): void {
    this.#scan(segment, bytes, offset);
    for (const later of this.segments.filter(({ sequence }) => sequence > segment.sequence)) {
      this.droppedTail = true;
      this.#scan(later, readStart(later.path, this.segmentSize), FIRST_RECORD);
    }
    if (this.durable >= missing) {
      throw new DamageError("log", `commit ${missing} was durable and is missing from the commit log`);
    }
  }

  #scan(segment: Segment, bytes: Buffer, from: number): void {
    let claims = CLAIMS * bytes.length;
    for (let at = from; at + RECORD_UNIT <= bytes.length; at += RECORD_UNIT) {
      claims -= claimedLength(bytes, at);
      if (claims < 0) {
        const what = `segment ${segment.sequence} of the commit log holds more claims of records than it has room for`;
        throw new DamageError("log", what);
      }
      const frame = openFrame(segment.key, bytes, at);
      if (frame === undefined) continue;
      this.droppedTail = true;
      this.#noteDurable(frame.durable);
    }
  }

  #noteDurable(number: bigint): void {
    if (number > this.durable) this.durable = number;
  }
}

/**
 * A segment whose first commit is not above that of one before it supersedes that one whole; the numbers of those that
 * remain ascend, and each one's records count up to the first of the next.
 */
function withoutSuperseded(chain: readonly Segment[]): Segment[] {
  const live: Segment[] = [];
  for (const segment of chain) {
    while ((live.at(-1)?.firstCommit ?? -1n) >= segment.firstCommit) live.pop();
    live.push(segment);
  }
  return live;
}
