import { aessiv } from "@noble/ciphers/aes.js";
import { toBase64Url, zeroPad } from "../reader/bytes.js";
import type { VolumeKeys } from "../reader/keys.js";

/** The stored form of a name of at most 160 bytes (docs/format.md §6). */
export function sealName(keys: VolumeKeys, directoryId: Uint8Array, name: Uint8Array): string {
  return toBase64Url(aessiv(keys.names, directoryId).encrypt(zeroPad(name, 16)));
}
