import { createHash } from "node:crypto";
import { Cursor, u32 } from "./bytes.js";
import { DamageError } from "./errors.js";
import { mac, sameBytes, type VolumeKeys } from "./keys.js";

/** Types of inodes, numbered as in the record. */
export const INODE_TYPES = ["file", "directory", "symlink", "fifo", "socket", "chardev", "blockdev"] as const;
export type InodeType = (typeof INODE_TYPES)[number];

export const RecordFlag = { growing: 0x01, oldAttributes: 0x02, aclHash: 0x04, oldAclHash: 0x08 } as const;

export const MAX_BINDINGS = 100;
const BINDING_LENGTH = 8;
const MAC_LENGTH = 16;

export interface Attributes {
  /** Permission bits: mode & 07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface InodeRecord {
  readonly type: InodeType;
  readonly growing: boolean;
  readonly id: Buffer;
  readonly attributes: Attributes;
  readonly oldAttributes: Attributes | undefined;
  readonly device: { readonly major: number; readonly minor: number } | undefined;
  readonly aclHash: Buffer | undefined;
  readonly oldAclHash: Buffer | undefined;
  readonly bindings: readonly Buffer[];
}

/** The authentic record in `bytes` (docs/format.md §4). */
export function openRecord(keys: VolumeKeys, bytes: Buffer): InodeRecord {
  const body = bytes.subarray(0, Math.max(0, bytes.length - MAC_LENGTH));
  if (!sameBytes(bytes.subarray(body.length), mac(keys.records, MAC_LENGTH, "record", body))) {
    throw new DamageError("record", "the inode record does not authenticate");
  }
  const cursor = new Cursor(body, "record", "the inode record");
  const first = cursor.u8();
  const type = INODE_TYPES[(first & 0x0f) - 1];
  const flags = cursor.u8();
  if (first >> 4 !== 1 || type === undefined || flags & ~0x0f) {
    throw new DamageError("record", "the inode record is of a version, type or kind unknown here");
  }
  const id = cursor.take(16);
  const attributes = { mode: cursor.u16(), uid: cursor.u32(), gid: cursor.u32() };
  const hasDevice = type === "chardev" || type === "blockdev";
  const device = hasDevice ? { major: cursor.u32(), minor: cursor.u32() } : undefined;
  const hasOld = (flags & RecordFlag.oldAttributes) !== 0;
  const oldAttributes = hasOld ? { mode: cursor.u16(), uid: cursor.u32(), gid: cursor.u32() } : undefined;
  const aclHash = flags & RecordFlag.aclHash ? cursor.take(16) : undefined;
  const oldAclHash = flags & RecordFlag.oldAclHash ? cursor.take(16) : undefined;
  if (cursor.left % BINDING_LENGTH !== 0 || cursor.left > MAX_BINDINGS * BINDING_LENGTH) {
    throw new DamageError("record", "the inode record has no whole number of bindings, or too many");
  }
  const bindings: Buffer[] = [];
  while (cursor.left > 0) bindings.push(cursor.take(BINDING_LENGTH));
  const growing = (flags & RecordFlag.growing) !== 0;
  return { type, growing, id, attributes, oldAttributes, device, aclHash, oldAclHash, bindings };
}

/** The 8 bytes that tie an inode to `stored`, its name in the backing directory whose id is `parentId`. */
export function binding(keys: VolumeKeys, parentId: Uint8Array, stored: string): Buffer {
  return mac(keys.records, BINDING_LENGTH, "binding", parentId, stored);
}

export function isBound(
  keys: VolumeKeys,
  record: InodeRecord,
  parentId: Uint8Array,
  stored: string,
): boolean {
  const wanted = binding(keys, parentId, stored);
  return record.bindings.some((held) => sameBytes(held, wanted));
}

/** Hash of an inode's two ACLs (docs/format.md §4); undefined for one that has none. */
export function aclHash(access: Uint8Array | undefined, fallback: Uint8Array | undefined): Buffer {
  const hash = createHash("sha256").update("kmsfs acl");
  for (const value of [access, fallback]) {
    hash.update(u32(value?.length ?? 0xffffffff));
    if (value !== undefined) hash.update(value);
  }
  return hash.digest().subarray(0, 16);
}

/** What of the inode itself the record vouches for. */
export interface FoundInode extends Attributes {
  readonly type: InodeType;
  readonly device: { readonly major: number; readonly minor: number };
  readonly accessAcl: Buffer | undefined;
  readonly defaultAcl: Buffer | undefined;
}

/** Throws when the inode is not the one that its record describes. */
export function checkInode(record: InodeRecord, found: FoundInode): void {
  if (record.type !== found.type) {
    throw new DamageError("type", `the inode is a ${found.type}, its record says ${record.type}`);
  }
  const { device } = record;
  if (device && (device.major !== found.device.major || device.minor !== found.device.minor)) {
    throw new DamageError("type", "the device number is not the one of the record");
  }
  const { attributes: now, oldAttributes: old } = record;
  checkAttribute(
    "mode",
    modeMatches(now.mode, found.mode) || (old !== undefined && modeMatches(old.mode, found.mode)),
  );
  checkAttribute("owner", found.uid === now.uid || found.uid === old?.uid);
  checkAttribute("group", found.gid === now.gid || found.gid === old?.gid);
  const hash = aclHash(found.accessAcl, found.defaultAcl);
  const bare = found.accessAcl === undefined && found.defaultAcl === undefined;
  const asNow = record.aclHash ? sameBytes(record.aclHash, hash) : bare;
  checkAttribute("ACL", asNow || (record.oldAclHash !== undefined && sameBytes(record.oldAclHash, hash)));
}

/** Set-id bits may be missing on the inode: the kernel drops them at a write or a change of owner. */
function modeMatches(recorded: number, found: number): boolean {
  return (
    found === recorded || ((found | 0o6000) === (recorded | 0o6000) && (found & ~recorded & 0o6000) === 0)
  );
}

function checkAttribute(what: string, matches: boolean): void {
  if (!matches) throw new DamageError("attributes", `the ${what} is not the one of the inode's record`);
}
