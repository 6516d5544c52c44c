// The writing half of docs/format.md, for tests and test vectors alone: every random input is an argument.
import { createCipheriv, createHash } from "node:crypto";
import { aessiv } from "@noble/ciphers/aes.js";
import { blockAad } from "../../src/reader/aad.js";
import { toBase64Url, u32, u64, zeroPad } from "../../src/reader/bytes.js";
import { mac, type VolumeKeys } from "../../src/reader/keys.js";
import {
  type Attributes,
  binding,
  INODE_TYPES,
  type InodeType,
  RecordFlag,
} from "../../src/reader/record.js";

export function sealGcm(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, clear: Uint8Array) {
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(aad);
  const sealed = Buffer.concat([cipher.update(clear), cipher.final()]);
  return { sealed, tag: cipher.getAuthTag() };
}

export function sealSiv(key: Uint8Array, associated: Uint8Array, clear: Uint8Array): Buffer {
  return Buffer.from(aessiv(key, associated).encrypt(clear));
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function i32(value: number): Buffer {
  return u32(value >>> 0);
}

export interface RecordInput {
  type: InodeType;
  id: Uint8Array;
  attributes: Attributes;
  growing?: boolean;
  device?: { major: number; minor: number };
  oldAttributes?: Attributes;
  aclHash?: Uint8Array;
  oldAclHash?: Uint8Array;
  bindings: { parentId: Uint8Array; stored: string }[];
}

const attributeBytes = (a: Attributes) => Buffer.concat([u16(a.mode), u32(a.uid), u32(a.gid)]);

export function encodeRecord(keys: VolumeKeys, input: RecordInput): Buffer {
  const flags =
    (input.growing ? RecordFlag.growing : 0) |
    (input.oldAttributes ? RecordFlag.oldAttributes : 0) |
    (input.aclHash ? RecordFlag.aclHash : 0) |
    (input.oldAclHash ? RecordFlag.oldAclHash : 0);
  const body = Buffer.concat([
    Uint8Array.of((1 << 4) | (INODE_TYPES.indexOf(input.type) + 1), flags),
    input.id,
    attributeBytes(input.attributes),
    ...(input.device ? [u32(input.device.major), u32(input.device.minor)] : []),
    ...(input.oldAttributes ? [attributeBytes(input.oldAttributes)] : []),
    ...(input.aclHash ? [input.aclHash] : []),
    ...(input.oldAclHash ? [input.oldAclHash] : []),
    ...input.bindings.map(({ parentId, stored }) => binding(keys, parentId, stored)),
  ]);
  return Buffer.concat([body, mac(keys.records, 16, "record", body)]);
}

/** The stored name of `name`, and the sidecar's content for a long one. */
export function sealName(keys: VolumeKeys, directoryId: Uint8Array, name: Uint8Array) {
  const sealed = sealSiv(keys.names, directoryId, zeroPad(name, 16));
  const short = toBase64Url(sealed);
  if (short.length <= 255) return { sealed, stored: short, sidecar: undefined };
  const stored = `~${toBase64Url(createHash("sha256").update(sealed).digest())}`;
  return { sealed, stored, sidecar: `${stored}.name` };
}

/** `stored` is the backing symlink's target; "~" when `sealed` belongs in `.kmsfs/links/<id>`. */
export function sealTarget(keys: VolumeKeys, id: Uint8Array, random: Uint8Array, target: Uint8Array) {
  const sealed = sealSiv(keys.links, id, Buffer.concat([random, target]));
  const short = toBase64Url(sealed);
  return { sealed, stored: short.length <= 1023 ? short : "~" };
}

export function sealXattr(
  keys: VolumeKeys,
  id: Uint8Array,
  prefix: "user.kmsfs." | "trusted.kmsfs.",
  name: string,
  random: Uint8Array,
  value: Uint8Array,
) {
  const fullName = Buffer.from(name);
  return {
    storedName: prefix + toBase64Url(sealSiv(keys.xattrs, id, zeroPad(fullName, 16))),
    storedValue: sealSiv(keys.xattrs, Buffer.concat([id, fullName]), Buffer.concat([random, value])),
  };
}

export function sealBlock(
  keys: VolumeKeys,
  fileId: Uint8Array,
  at: { level: number; index: bigint; epoch: number; nonce: Uint8Array },
  clear: Uint8Array,
) {
  const { sealed, tag } = sealGcm(
    keys.file(fileId, at.epoch).key,
    at.nonce,
    blockAad(at.level, at.index),
    clear,
  );
  return { sealed, entry: Buffer.concat([u32(at.epoch), at.nonce, tag]) };
}

export interface HeaderInput {
  blockSize: number;
  fileId: Uint8Array;
  domainId: Uint8Array;
  commit: bigint;
  epoch: number;
  nonce: Uint8Array;
  size: bigint;
  /** 112 x 32 bytes. */
  direct: Uint8Array;
  /** 5 x 32 bytes. */
  subtrees: Uint8Array;
}

export function encodeHeader(keys: VolumeKeys, input: HeaderInput): Buffer {
  const material = keys.file(input.fileId, input.epoch);
  const prefix = Buffer.concat([
    Buffer.from("kmsfs-f1"),
    u16(1),
    Uint8Array.of(Math.log2(input.blockSize), 0, 0, 0, 0, 0),
    input.fileId,
    input.domainId,
    u64(input.commit),
    material.commitment,
    u32(input.epoch),
  ]);
  const clear = Buffer.concat([u64(input.size), input.direct, input.subtrees, Buffer.alloc(224)]);
  const { sealed, tag } = sealGcm(material.key, input.nonce, prefix, clear);
  return Buffer.concat([prefix, input.nonce, tag, sealed]);
}

export interface SegmentInput {
  uuid: Uint8Array;
  sequence: bigint;
  firstCommit: bigint;
  checkpointed: bigint;
  generation: bigint;
  salt: Uint8Array;
  previousMac: Uint8Array;
  handle: Uint8Array;
  handleType: number;
  fileSystemId: Uint8Array;
}

export function encodeSegmentHeader(keys: VolumeKeys, input: SegmentInput): Buffer {
  const body = Buffer.concat(
    [
      Buffer.from("kmsfs-l1"),
      input.uuid,
      u64(input.sequence),
      u64(input.firstCommit),
      u64(input.checkpointed),
      u64(input.generation),
      input.salt,
      input.previousMac,
      u16(input.handle.length),
      u16(0),
      i32(input.handleType),
      Buffer.concat([input.handle], 128),
      input.fileSystemId,
    ],
    496,
  );
  return Buffer.concat([body, mac(keys.logMacKey(), 16, body)]);
}

export interface CommitInput {
  number: bigint;
  durable: bigint;
  previousMac: Uint8Array;
  fileId: Uint8Array;
  handle: Uint8Array;
  handleType: number;
  physicalLength: bigint;
  mtime?: { seconds: bigint; nanoseconds: number };
  punched: { offset: bigint; length: bigint }[];
  straight: { index: bigint; length: number; entry: Uint8Array }[];
  images: { offset: bigint; bytes: Uint8Array }[];
}

export function encodeCommit(segmentKey: Uint8Array, input: CommitInput): Buffer {
  const parts = [
    u64(input.number),
    u64(input.durable),
    input.previousMac,
    input.fileId,
    u16(input.mtime ? 1 : 0),
    u16(input.handle.length),
    i32(input.handleType),
    u64(input.physicalLength),
    u64(BigInt.asUintN(64, input.mtime?.seconds ?? 0n)),
    u32(input.mtime?.nanoseconds ?? 0),
    u32(input.punched.length),
    u32(input.straight.length),
    u32(input.images.length),
    zeroPad(input.handle, 8),
    ...input.punched.map((range) => Buffer.concat([u64(range.offset), u64(range.length)])),
    ...input.straight.map((s) => Buffer.concat([u64(s.index), u32(s.length), u32(0), s.entry])),
    ...input.images.map((image) => Buffer.concat([u64(image.offset), u32(image.bytes.length), u32(0)])),
    ...input.images.map((image) => zeroPad(image.bytes, 8)),
  ];
  const unpadded = 24 + parts.reduce((sum, part) => sum + part.length, 0);
  const length = Math.ceil(unpadded / 512) * 512;
  const body = Buffer.concat([Buffer.from("kCR1"), u32(length), ...parts], length - 16);
  const nonce = Buffer.concat([u64(input.number), Buffer.alloc(4)]);
  const { tag } = sealGcm(segmentKey, nonce, body, Buffer.alloc(0));
  return Buffer.concat([tag, body]);
}
