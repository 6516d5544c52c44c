import { type DamageCode, DamageError } from "./errors.js";

/** Bytes to base64url without padding (RFC 4648 §5). */
export function toBase64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64url");
}

/** The bytes of a base64url text; undefined unless it is exactly what `toBase64Url` writes. */
export function fromBase64Url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : undefined;
}

export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** `bytes` followed by zeros up to a multiple of `unit`. */
export function zeroPad(bytes: Uint8Array, unit: number): Buffer {
  return Buffer.concat([bytes], Math.ceil(bytes.length / unit) * unit);
}

/** The 32 hex digits that name a file id. */
export function idText(id: Uint8Array): string {
  return Buffer.from(id).toString("hex");
}

/** The 16 bytes of a hyphenated uuid, in the order in which they are written. */
export function uuidBytes(uuid: string): Buffer {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid)) throw new TypeError(`not a uuid: ${uuid}`);
  return Buffer.from(uuid.replaceAll("-", ""), "hex");
}

/** Reads a structure front to back; running over its end is damage, never a RangeError. */
export class Cursor {
  #at: number;

  constructor(
    private readonly bytes: Buffer,
    private readonly code: DamageCode,
    private readonly what: string,
    at = 0,
  ) {
    this.#at = at;
  }

  get at(): number {
    return this.#at;
  }

  get left(): number {
    return this.bytes.length - this.#at;
  }

  take(length: number): Buffer {
    if (length > this.left) throw new DamageError(this.code, `${this.what} is cut short`);
    const part = this.bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return part;
  }

  u8(): number {
    return this.take(1).readUInt8();
  }

  u16(): number {
    return this.take(2).readUInt16LE();
  }

  u32(): number {
    return this.take(4).readUInt32LE();
  }

  i32(): number {
    return this.take(4).readInt32LE();
  }

  u64(): bigint {
    return this.take(8).readBigUInt64LE();
  }

  i64(): bigint {
    return this.take(8).readBigInt64LE();
  }

  zeros(length: number): void {
    if (!isZero(this.take(length)))
      throw new DamageError(this.code, `${this.what} has bytes set that are zero`);
  }
}
