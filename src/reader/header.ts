import { Cursor } from "./bytes.js";
import { DamageError } from "./errors.js";
import { DIRECT, SUBTREES } from "./geometry.js";
import { sameBytes, type VolumeKeys } from "./keys.js";
import { openGcm } from "./seal.js";

const HEADER_MAGIC = "kmsfs-f1";
const ENTRY_LENGTH = 32;
const AAD_LENGTH = 92;
const RESERVED_LENGTH = 224;

/** What seals one block or node; all zero for a hole. */
export interface Entry {
  readonly epoch: number;
  readonly nonce: Buffer;
  readonly tag: Buffer;
}

export interface FileHeader {
  /** Number of the commit that wrote it. */
  readonly commit: bigint;
  readonly size: bigint;
  /** Undefined: a hole. */
  readonly direct: readonly (Entry | undefined)[];
  /** S1..S5. */
  readonly subtrees: readonly (Entry | undefined)[];
}

/** One entry, undefined for a hole (docs/format.md §5). */
export function parseEntry(bytes: Buffer): Entry | undefined {
  if (bytes.every((byte) => byte === 0)) return undefined;
  return { epoch: bytes.readUInt32LE(0), nonce: bytes.subarray(4, 16), tag: bytes.subarray(16, 32) };
}

/** The entries of a node, or of a part of a header, in order. */
export function parseEntries(bytes: Buffer): (Entry | undefined)[] {
  const entries: (Entry | undefined)[] = [];
  for (let at = 0; at < bytes.length; at += ENTRY_LENGTH) {
    entries.push(parseEntry(bytes.subarray(at, at + ENTRY_LENGTH)));
  }
  return entries;
}

/**
 * The authentic header in the 4096 `bytes` of the file `fileId` in the domain `domainId`. The limits of its size are
 * the caller's to check.
 */
export function openHeader(
  keys: VolumeKeys,
  blockSize: number,
  domainId: Uint8Array,
  fileId: Uint8Array,
  bytes: Buffer,
): FileHeader {
  const cursor = new Cursor(bytes, "header", "the file header");
  if (cursor.take(8).toString("latin1") !== HEADER_MAGIC) throw damaged("bears no magic");
  if (cursor.u16() !== 1) throw damaged("is not of format 1");
  if (2 ** cursor.u8() !== blockSize) throw damaged("is of another block size");
  cursor.zeros(5);
  if (!cursor.take(16).equals(fileId)) throw damaged("is of another file");
  if (!cursor.take(16).equals(domainId)) throw damaged("is of another domain");
  const commit = cursor.u64();
  const commitment = cursor.take(32);
  const epoch = cursor.u32();
  const nonce = cursor.take(12);
  const tag = cursor.take(16);
  const material = keys.file(fileId, epoch);
  const committed = sameBytes(commitment, material.commitment);
  const clear = committed
    ? openGcm(material.key, nonce, tag, bytes.subarray(0, AAD_LENGTH), cursor.take(cursor.left))
    : undefined;
  if (clear === undefined) throw damaged("does not authenticate");

  const inner = new Cursor(clear, "header", "the file header");
  const size = inner.u64();
  const direct = parseEntries(inner.take(Number(DIRECT) * ENTRY_LENGTH));
  const subtrees = parseEntries(inner.take(SUBTREES * ENTRY_LENGTH));
  inner.zeros(RESERVED_LENGTH);
  return { commit, size, direct, subtrees };
}

function damaged(what: string): DamageError {
  return new DamageError("header", `the file header ${what}`);
}
