/** Subkeys of a domain key (docs/format.md §2) that TypeScript needs: the header's MAC and the commitment. */

import { hkdfSync, randomFillSync } from "node:crypto";

export const KEY_BYTES = 32;

/** The 16 bytes of a lower-case, hyphenated uuid, in order. */
export function uuidBytes(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll("-", ""), "hex");
}

/** HKDF-SHA-512 (RFC 5869), salt = uuid, info = "kmsfs v1 " || label. The caller wipes the result. */
export function subkey(domainKey: Buffer, uuid: string, label: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync("sha512", domainKey, uuidBytes(uuid), `kmsfs v1 ${label}`, bytes));
}

/** What volume.json publishes of the domain key, in base64. */
export function commitmentOf(domainKey: Buffer, uuid: string): string {
  return subkey(domainKey, uuid, "commitment", 32).toString("base64");
}

/** A new domain key in memory of its own, so that wiping it wipes nothing else. */
export function newDomainKey(): Buffer {
  return randomFillSync(Buffer.alloc(KEY_BYTES));
}
