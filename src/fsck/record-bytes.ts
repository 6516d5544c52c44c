/** Records as fsck writes them: those of inodes with other bindings, and the root's (docs/format.md §4). */

import { DamageError } from "../reader/errors.js";
import { mac, type VolumeKeys } from "../reader/keys.js";
import { MAX_BINDINGS, openRecord } from "../reader/record.js";

const MAC_LENGTH = 16;
const BINDING_LENGTH = 8;
const VERSION_1_DIRECTORY = 0x12;

/** An authentic record, with these bindings instead of its own and nothing else changed. */
export function recordWithBindings(keys: VolumeKeys, authentic: Buffer, bindings: readonly Buffer[]): Buffer {
  const { bindings: own } = openRecord(keys, authentic);
  if (bindings.length > MAX_BINDINGS) throw new DamageError("record", "the inode has too many names");
  const kept = authentic.subarray(0, authentic.length - MAC_LENGTH - BINDING_LENGTH * own.length);
  return sealed(keys, Buffer.concat([kept, ...bindings]));
}

/** The record of a root directory that is its owner's alone. */
export function rootRecord(keys: VolumeKeys, uuid: Buffer, mode: number): Buffer {
  const owner = Buffer.alloc(10);
  owner.writeUInt16LE(mode);
  return sealed(keys, Buffer.concat([Buffer.of(VERSION_1_DIRECTORY, 0), uuid, owner]));
}

function sealed(keys: VolumeKeys, body: Buffer): Buffer {
  return Buffer.concat([body, mac(keys.records, MAC_LENGTH, "record", body)]);
}
