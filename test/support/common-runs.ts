/** Looks for runs of 16 bytes that two sets of bytes have in common. */

const RUN = 16;
const HALF = 8;
/** A power of two: bits of the filter. */
const FILTER_BITS = 2 ** 26;

/**
 * Every 16-byte run contains an 8-byte piece that begins at a multiple of 8 of the secret it comes from: those pieces
 * are what is looked up, at every offset, and each hit is then measured. A filter keeps the exact lookups rare.
 */
export class CommonRuns {
  readonly #pieces = new Map<bigint, { secret: Buffer; at: number }>();
  readonly #filter = new Uint32Array(FILTER_BITS / 32);

  add(secret: Buffer): void {
    for (let at = 0; at + HALF <= secret.length; at += HALF) {
      const [low, high] = [secret.readUInt32LE(at), secret.readUInt32LE(at + 4)];
      const bit = hash(low, high);
      this.#filter[bit >>> 5] = (this.#filter[bit >>> 5] ?? 0) | (1 << (bit & 31));
      const piece = secret.readBigUInt64LE(at);
      if (!this.#pieces.has(piece)) this.#pieces.set(piece, { secret, at });
    }
  }

  /** The offset of the first common run in `bytes`; undefined when there is none. */
  find(bytes: Buffer): number | undefined {
    for (let i = 0; i + HALF <= bytes.length; i++) {
      const low = word(bytes, i);
      const high = word(bytes, i + 4);
      const bit = hash(low, high);
      if (((this.#filter[bit >>> 5] ?? 0) & (1 << (bit & 31))) === 0) continue;
      const piece = this.#pieces.get(bytes.readBigUInt64LE(i));
      if (piece !== undefined && commonLength(bytes, i, piece.secret, piece.at) >= RUN) return i;
    }
    return undefined;
  }
}

function word(bytes: Buffer, i: number): number {
  const at = (k: number): number => bytes[i + k] ?? 0;
  return (at(0) | (at(1) << 8) | (at(2) << 16) | (at(3) << 24)) >>> 0;
}

function hash(low: number, high: number): number {
  return ((Math.imul(low, 0x9e3779b1) ^ Math.imul(high, 0x85ebca6b)) >>> 0) % FILTER_BITS;
}

function commonLength(a: Buffer, i: number, b: Buffer, k: number): number {
  let before = 0;
  while (i - before > 0 && k - before > 0 && a[i - before - 1] === b[k - before - 1]) before++;
  let after = 0;
  while (i + after < a.length && k + after < b.length && a[i + after] === b[k + after]) after++;
  return before + after;
}
