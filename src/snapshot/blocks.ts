/** What a snapshot is made of: blocks of 512 KiB with a SHA-256 each (EBS direct APIs, "Concepts"). */

import { createHash, type Hash } from "node:crypto";

export const BLOCK_BYTES = 524_288;
export const GIB = 1024 ** 3;
/** EBS's largest volume, 64 TiB. */
export const MAX_VOLUME_GIB = 65_536;

export const DIGEST_BYTES = 32;

const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);

export function isZero(block: Buffer): boolean {
  return ZERO_BLOCK.equals(block);
}

export function digestOf(block: Uint8Array): Buffer {
  return createHash("sha256").update(block).digest();
}

/** Size of the volume, in GiB, that an image of so many bytes needs. */
export function volumeGib(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / GIB));
}

export function blockCount(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES);
}

/**
 * Digests by block number, for as many blocks as a volume has: 33 bytes each, so 1.1 GiB for 16 TiB. A block without a
 * digest is one that holds zeros.
 */
export class Digests {
  readonly #digests: Buffer;
  readonly #present: Uint8Array;
  #count = 0;

  constructor(readonly blocks: number) {
    this.#digests = Buffer.alloc(blocks * DIGEST_BYTES);
    this.#present = new Uint8Array(blocks);
  }

  /** How many blocks have one. */
  get count(): number {
    return this.#count;
  }

  get(index: number): Buffer | undefined {
    if (this.#present[index] !== 1) return undefined;
    return this.#digests.subarray(index * DIGEST_BYTES, (index + 1) * DIGEST_BYTES);
  }

  set(index: number, digest: Buffer): void {
    if (index < 0 || index >= this.blocks || digest.length !== DIGEST_BYTES) {
      throw new RangeError(`no place for the digest of block ${index}`);
    }
    digest.copy(this.#digests, index * DIGEST_BYTES);
    if (this.#present[index] !== 1) this.#count += 1;
    this.#present[index] = 1;
  }

  delete(index: number): void {
    if (this.#present[index] === 1) this.#count -= 1;
    this.#present[index] = 0;
  }

  /** The highest block that has one. */
  last(): number | undefined {
    const index = this.#present.lastIndexOf(1);
    return index === -1 ? undefined : index;
  }

  *entries(): Generator<[number, Buffer]> {
    for (let index = 0; index < this.blocks; index++) {
      const digest = this.get(index);
      if (digest !== undefined) yield [index, digest];
    }
  }

  /** "LINEAR" aggregation of CompleteSnapshot: SHA-256 over the digests in ascending order of their blocks. */
  aggregate(): Buffer {
    const hash: Hash = createHash("sha256");
    for (const [, digest] of this.entries()) hash.update(digest);
    return hash.digest();
  }
}
