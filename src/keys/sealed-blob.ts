/** The `keyfile` and `passphrase` blobs: AES-256-GCM of the domain key (docs/format.md §3). */

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { KEY_BYTES, uuidBytes } from "./domain.js";

const TAG_BYTES = 16;

function aad(uuid: string, provider: string): Buffer {
  return Buffer.concat([Buffer.from("kmsfs slot v1"), uuidBytes(uuid), Buffer.from(provider, "ascii")]);
}

export interface SealedBlob {
  /** base64, 12 bytes */
  readonly nonce: string;
  /** base64, 32 bytes and the tag of 16 */
  readonly blob: string;
}

export function sealBlob(wrappingKey: Buffer, domainKey: Buffer, uuid: string, provider: string): SealedBlob {
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", wrappingKey, nonce).setAAD(aad(uuid, provider));
  const sealed = Buffer.concat([cipher.update(domainKey), cipher.final(), cipher.getAuthTag()]);
  return { nonce: nonce.toString("base64"), blob: sealed.toString("base64") };
}

/** The domain key, or undefined when key, uuid, provider or blob is not the one that it was sealed with. */
export function openBlob(
  wrappingKey: Buffer,
  sealed: SealedBlob,
  uuid: string,
  provider: string,
): Buffer | undefined {
  const blob = Buffer.from(sealed.blob, "base64");
  if (blob.length !== KEY_BYTES + TAG_BYTES) return undefined;
  const decipher = createDecipheriv("aes-256-gcm", wrappingKey, Buffer.from(sealed.nonce, "base64"), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(aad(uuid, provider)).setAuthTag(blob.subarray(KEY_BYTES));
  const plain = decipher.update(blob.subarray(0, KEY_BYTES));
  try {
    decipher.final();
    const domainKey = Buffer.alloc(KEY_BYTES);
    plain.copy(domainKey);
    return domainKey;
  } catch {
    return undefined;
  } finally {
    plain.fill(0);
  }
}
