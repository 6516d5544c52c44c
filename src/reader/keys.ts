import { createHmac, timingSafeEqual } from "node:crypto";
import { u32, uuidBytes } from "./bytes.js";

/** HKDF-Expand with SHA-512 (RFC 5869 §2.3) for at most 64 bytes: one round of HMAC is all that the format takes. */
export function expand(prk: Uint8Array, info: Uint8Array | string, length: number): Buffer {
  if (length > 64) throw new RangeError("HKDF-Expand of more than one round");
  const round = createHmac("sha512", prk).update(info).update(Uint8Array.of(1)).digest();
  const out = Buffer.from(round.subarray(0, length));
  round.fill(0);
  return out;
}

/** HMAC-SHA-256 over the parts in order, cut to `length` bytes. */
export function mac(key: Uint8Array, length: number, ...parts: (Uint8Array | string)[]): Buffer {
  const hmac = createHmac("sha256", key);
  for (const part of parts) hmac.update(part);
  return hmac.digest().subarray(0, length);
}

/** Equality in constant time; false where the lengths differ. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

export interface FileMaterial {
  /** AES-256-GCM key of one file under one epoch. */
  readonly key: Buffer;
  /** Published in the header: commits to `key`. */
  readonly commitment: Buffer;
}

/** All keys of a volume's domain (docs/format.md §2). `wipe` it when done. */
export class VolumeKeys {
  readonly #prk: Buffer;
  readonly content: Buffer;
  readonly names: Buffer;
  readonly xattrs: Buffer;
  readonly links: Buffer;
  readonly records: Buffer;
  readonly log: Buffer;
  readonly header: Buffer;
  readonly audit: Buffer;
  /** The published commitment to the domain key: no secret. */
  readonly commitment: Buffer;

  /** `domainKey` is 32 bytes and stays the caller's to wipe; `uuid` is the hyphenated text. */
  constructor(domainKey: Uint8Array, uuid: string) {
    if (domainKey.length !== 32) throw new RangeError("a domain key has 32 bytes");
    this.#prk = createHmac("sha512", uuidBytes(uuid)).update(domainKey).digest();
    const subkey = (label: string, length: number) => expand(this.#prk, `kmsfs v1 ${label}`, length);
    this.content = subkey("content", 64);
    this.names = subkey("names", 64);
    this.xattrs = subkey("xattrs", 64);
    this.links = subkey("links", 64);
    this.records = subkey("records", 32);
    this.log = subkey("log", 64);
    this.header = subkey("header", 32);
    this.audit = subkey("audit", 32);
    this.commitment = subkey("commitment", 32);
  }

  file(id: Uint8Array, epoch: number): FileMaterial {
    const material = expand(this.content, Buffer.concat([Buffer.from("file"), id, u32(epoch)]), 64);
    return { key: material.subarray(0, 32), commitment: material.subarray(32) };
  }

  logMacKey(): Buffer {
    return expand(this.log, "segment headers", 32);
  }

  segmentKey(salt: Uint8Array): Buffer {
    return expand(this.log, Buffer.concat([Buffer.from("segment"), salt]), 32);
  }

  wipe(): void {
    const all = [
      this.#prk,
      this.content,
      this.names,
      this.xattrs,
      this.links,
      this.records,
      this.log,
      this.header,
    ];
    for (const key of [...all, this.audit]) key.fill(0);
  }
}
