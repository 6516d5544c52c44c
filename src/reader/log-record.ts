import { Cursor, isZero, u64 } from "./bytes.js";
import { DamageError } from "./errors.js";
import { type Geometry, HEADER_LENGTH } from "./geometry.js";
import { type Entry, parseEntry } from "./header.js";
import { mac, sameBytes, type VolumeKeys } from "./keys.js";
import { openGcm } from "./seal.js";

export const SEGMENT_HEADER_LENGTH = 512;
/** Records begin here in a segment. */
export const FIRST_RECORD = 4096;
/** Every record is a multiple of this, and begins at one. */
export const RECORD_UNIT = 512;
const MAC_LENGTH = 16;
const MAX_HANDLE = 128;
/** Of the numbers in segment headers. */
const NUMBER_LIMIT = 1n << 62n;

export interface SegmentHeader {
  readonly sequence: bigint;
  /** Number of the first record that belongs in it. */
  readonly firstCommit: bigint;
  /** Every commit up to this number is home and durable. */
  readonly checkpointed: bigint;
  readonly generation: bigint;
  readonly salt: Buffer;
  /** MAC of the record before its first. */
  readonly previousMac: Buffer;
}

/** The header of a segment of the volume `uuid`; undefined when the bytes are none that its keys made. */
export function openSegmentHeader(
  keys: VolumeKeys,
  uuid: Uint8Array,
  bytes: Buffer,
): SegmentHeader | undefined {
  if (bytes.length < SEGMENT_HEADER_LENGTH || bytes.toString("latin1", 0, 8) !== "kmsfs-l1") return undefined;
  const authentic = sameBytes(
    bytes.subarray(496, 512),
    mac(keys.logMacKey(), MAC_LENGTH, bytes.subarray(0, 496)),
  );
  if (!authentic || !bytes.subarray(8, 24).equals(uuid)) return undefined;
  const sequence = bytes.readBigUInt64LE(24);
  const firstCommit = bytes.readBigUInt64LE(32);
  const checkpointed = bytes.readBigUInt64LE(40);
  if (sequence === 0n || firstCommit === 0n) return undefined;
  if ([sequence, firstCommit, checkpointed].some((number) => number >= NUMBER_LIMIT)) return undefined;
  return {
    sequence,
    firstCommit,
    checkpointed,
    generation: bytes.readBigUInt64LE(48),
    salt: bytes.subarray(56, 88),
    previousMac: bytes.subarray(88, 104),
  };
}

/** The part of a record that the chain of the log is made of. */
export interface RecordFrame {
  readonly mac: Buffer;
  readonly number: bigint;
  /** Highest commit known to be durable when this was written. */
  readonly durable: bigint;
  readonly previousMac: Buffer;
  /** The whole record. */
  readonly bytes: Buffer;
}

/** The length that a record at `at` in a segment's bytes claims to have; 0 where none begins. */
export function claimedLength(segment: Buffer, at: number): number {
  if (at + RECORD_UNIT > segment.length || segment.toString("latin1", at + 16, at + 20) !== "kCR1") return 0;
  const length = segment.readUInt32LE(at + 20);
  return length % RECORD_UNIT === 0 && at + length <= segment.length ? length : 0;
}

/** The record at `at` in a segment's bytes; undefined when none that authenticates begins there. */
export function openFrame(segmentKey: Uint8Array, segment: Buffer, at: number): RecordFrame | undefined {
  const length = claimedLength(segment, at);
  if (length === 0) return undefined;
  const bytes = segment.subarray(at, at + length);
  const number = bytes.readBigUInt64LE(24);
  const tag = bytes.subarray(0, MAC_LENGTH);
  const nonce = Buffer.concat([u64(number), Buffer.alloc(4)]);
  if (openGcm(segmentKey, nonce, tag, bytes.subarray(MAC_LENGTH), Buffer.alloc(0)) === undefined)
    return undefined;
  return { mac: tag, number, durable: bytes.readBigUInt64LE(32), previousMac: bytes.subarray(40, 56), bytes };
}

export interface ByteRange {
  readonly offset: bigint;
  readonly length: bigint;
}

export interface StraightBlock {
  readonly index: bigint;
  /** Stored bytes. */
  readonly length: number;
  readonly entry: Entry;
}

export interface ImageSlice {
  /** Offset in the home. */
  readonly home: bigint;
  readonly length: number;
  /** Where its bytes begin in the record. */
  readonly at: number;
}

export interface CommitBody {
  readonly fileId: Buffer;
  readonly mtime: { readonly seconds: bigint; readonly nanoseconds: number } | undefined;
  /** Of the home after this commit. */
  readonly physicalLength: bigint;
  readonly punched: readonly ByteRange[];
  readonly straight: readonly StraightBlock[];
  readonly images: readonly ImageSlice[];
}

/** The commit in an authentic record (docs/format.md §9). Throws a DamageError where it is not one that a file can have. */
export function parseCommit(frame: RecordFrame, geometry: Geometry): CommitBody {
  const cursor = new Cursor(frame.bytes, "log", `log record ${frame.number}`, 56);
  // Copies: a commit outlives the bytes of its segment.
  const fileId = Buffer.from(cursor.take(16));
  const flags = cursor.u16();
  const handleLength = cursor.u16();
  cursor.i32();
  const physicalLength = cursor.u64();
  const mtime = { seconds: cursor.i64(), nanoseconds: cursor.u32() };
  const counts = { punched: cursor.u32(), straight: cursor.u32(), images: cursor.u32() };
  if (flags > 1 || handleLength > MAX_HANDLE || mtime.nanoseconds > 999_999_999) throw malformed(frame);
  cursor.take(Math.ceil(handleLength / 8) * 8);
  // Each count is bounded by the bytes that are left: the cursor throws when it runs out of them.
  const punched = times(counts.punched, () => ({ offset: cursor.u64(), length: cursor.u64() }));
  const straight = times(counts.straight, () => takeStraight(frame, cursor));
  const table = times(counts.images, () => {
    const slice = { home: cursor.u64(), length: cursor.u32() };
    cursor.zeros(4);
    return slice;
  });
  const images = table.map((slice) => {
    const at = cursor.at;
    cursor.take(Math.ceil(slice.length / 8) * 8);
    return { ...slice, at };
  });
  const hasHeader = images.some((image) => image.home === 0n && BigInt(image.length) === HEADER_LENGTH);
  const end = geometry.physicalLength(geometry.maxSize);
  const fits =
    physicalLength <= end &&
    images.every(({ home, length }) => home <= end && BigInt(length) <= geometry.block) &&
    straight.every(({ index, length }) => isBlock(geometry, index, length));
  if (!hasHeader || !fits || physicalLength < HEADER_LENGTH || !isZero(cursor.take(cursor.left)))
    throw malformed(frame);
  return { fileId, mtime: flags & 1 ? mtime : undefined, physicalLength, punched, straight, images };
}

function takeStraight(frame: RecordFrame, cursor: Cursor): StraightBlock {
  const index = cursor.u64();
  const length = cursor.u32();
  cursor.zeros(4);
  const entry = parseEntry(Buffer.from(cursor.take(32)));
  if (entry === undefined) throw malformed(frame);
  return { index, length, entry };
}

/** What it says is read and multiplied: it must not be more than a block of some file has. */
function isBlock(geometry: Geometry, index: bigint, length: number): boolean {
  return index < geometry.blocks(geometry.maxSize) && length > 0 && BigInt(length) <= geometry.block;
}

function times<T>(count: number, make: () => T): T[] {
  const made: T[] = [];
  for (let i = 0; i < count; i++) made.push(make());
  return made;
}

function malformed(frame: RecordFrame): DamageError {
  return new DamageError("log", `log record ${frame.number} authenticates but is not well formed`);
}
