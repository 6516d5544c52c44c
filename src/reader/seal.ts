import { createDecipheriv } from "node:crypto";
import { aessiv } from "@noble/ciphers/aes.js";

/** Plaintext of an AES-256-GCM seal (96-bit nonce, 16-byte tag), or undefined when it does not authenticate. */
export function openGcm(
  key: Uint8Array,
  nonce: Uint8Array,
  tag: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Buffer | undefined {
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: 16 });
  decipher.setAuthTag(tag).setAAD(aad);
  const first = decipher.update(sealed);
  try {
    const last = decipher.final();
    return last.length === 0 ? first : Buffer.concat([first, last]);
  } catch {
    // final() throws for nothing but a tag that does not match.
    first.fill(0);
    return undefined;
  }
}

/** Plaintext of AES-256-SIV (RFC 5297; V || C, one string of associated data), or undefined when it is not authentic. */
export function openSiv(key: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Buffer | undefined {
  if (sealed.length < 16) return undefined;
  try {
    return Buffer.from(aessiv(key, associated).decrypt(sealed));
  } catch {
    // The cipher throws for a synthetic IV that does not match; key and lengths are fixed by the callers.
    return undefined;
  }
}
