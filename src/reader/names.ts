import { createHash } from "node:crypto";
import { fromBase64Url, toBase64Url } from "./bytes.js";
import { DamageError } from "./errors.js";
import type { VolumeKeys } from "./keys.js";
import { openSiv } from "./seal.js";

/** Longest `sealed` of a name: 255 bytes padded to 256, and V. */
export const MAX_SEALED_NAME = 272;
/** Longest `sealed` of a symlink target: 4095 bytes, 16 random ones, V. */
export const MAX_SEALED_TARGET = 4127;
const MAX_FULL_XATTR_NAME = 160;

const LONG_NAME = /^~[A-Za-z0-9_-]{43}$/;
const SIDECAR = /^~[A-Za-z0-9_-]{43}\.name$/;

export type StoredKind = "temporary" | "sidecar" | "long" | "short" | "foreign";

/** What a name found in a backing directory is, by its looks alone (docs/format.md §1, §6). */
export function storedKind(stored: string): StoredKind {
  if (stored.startsWith(".t-")) return "temporary";
  if (SIDECAR.test(stored)) return "sidecar";
  if (LONG_NAME.test(stored)) return "long";
  return /^[A-Za-z0-9_-]+$/.test(stored) ? "short" : "foreign";
}

/** The plaintext name in directory `directoryId`; `sidecar` holds the sealed bytes of a long one. */
export function openName(
  keys: VolumeKeys,
  directoryId: Uint8Array,
  stored: string,
  sidecar: Uint8Array | undefined,
): Buffer {
  const sealed = sidecar === undefined ? fromBase64Url(stored) : sealedOfSidecar(stored, sidecar);
  const padded = sealed && openSiv(keys.names, directoryId, sealed);
  if (padded === undefined) throw new DamageError("name", "the name does not open in this directory");
  const name = unpad(padded);
  const special = name?.equals(Buffer.from(".")) || name?.equals(Buffer.from(".."));
  if (name === undefined || name.length > 255 || name.includes(0x2f) || special) {
    throw new DamageError("name", "the sealed name is none that a file can have");
  }
  return name;
}

function sealedOfSidecar(stored: string, sidecar: Uint8Array): Uint8Array {
  const hash = createHash("sha256").update(sidecar).digest();
  if (stored !== `~${toBase64Url(hash)}`)
    throw new DamageError("sidecar", "the sidecar is not the one of this name");
  return sidecar;
}

/** A text without NUL from its form zero-padded to a multiple of 16; undefined where it is not the padding of any. */
function unpad(padded: Buffer): Buffer | undefined {
  const end = padded.indexOf(0);
  const text = end < 0 ? padded : padded.subarray(0, end);
  const wellPadded =
    padded.length === Math.ceil(text.length / 16) * 16 && padded.subarray(text.length).every((b) => b === 0);
  return wellPadded && text.length > 0 ? text : undefined;
}

/** The target of the symlink with id `id` (docs/format.md §7), from its sealed bytes. */
export function openTarget(keys: VolumeKeys, id: Uint8Array, sealed: Uint8Array): Buffer {
  const clear = openSiv(keys.links, id, sealed);
  if (clear === undefined) throw new DamageError("symlink", "the symlink target does not open");
  const target = clear.subarray(16);
  if (clear.length <= 16 || target.length > 4095 || target.includes(0)) {
    throw new DamageError("symlink", "the sealed symlink target is none that a symlink can have");
  }
  return target;
}

export interface Xattr {
  /** Full name with its namespace. */
  readonly name: Buffer;
  readonly value: Buffer;
}

/** One extended attribute of inode `id` (docs/format.md §8); `stored` is the name after `user.kmsfs.` or `trusted.kmsfs.`. */
export function openXattr(keys: VolumeKeys, id: Uint8Array, stored: string, value: Uint8Array): Xattr {
  const sealed = fromBase64Url(stored);
  const padded = sealed && openSiv(keys.xattrs, id, sealed);
  const name = padded && unpad(padded);
  if (name === undefined || name.length > MAX_FULL_XATTR_NAME) {
    throw new DamageError("xattr", `the name of extended attribute ${stored} does not open`);
  }
  const clear = openSiv(keys.xattrs, Buffer.concat([id, name]), value);
  if (clear === undefined || clear.length < 16) {
    throw new DamageError("xattr", `the value of extended attribute ${name.toString()} does not open`);
  }
  return { name, value: clear.subarray(16) };
}
