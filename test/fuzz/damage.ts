/** Changes to valid bytes, as fast-check draws them, and the seed that they come from. */

import fc from "fast-check";
import { DamageError } from "../../src/reader/errors.js";

function fromEnvironment(name: string, otherwise: number): number {
  const value = Number(process.env[name] ?? Number.NaN);
  return Number.isSafeInteger(value) ? value : otherwise;
}

/** The same in every run that does not ask for another: KMSFS_FUZZ_SEED, KMSFS_FUZZ_CASES. */
export function fuzz(cases: number): { seed: number; numRuns: number; verbose: boolean } {
  const run = {
    seed: fromEnvironment("KMSFS_FUZZ_SEED", 6) | 0,
    numRuns: fromEnvironment("KMSFS_FUZZ_CASES", cases),
  };
  console.log(`# KMSFS_FUZZ_SEED=${run.seed} KMSFS_FUZZ_CASES=${run.numRuns}`);
  return { ...run, verbose: true };
}

/** Numbers at the borders of fields, lengths, offsets and sizes. */
const EXTREMES = [
  ...[0n, 1n, 2n, 15n, 16n, 100n, 112n, 128n, 255n, 256n, 511n, 512n, 4095n, 4096n, 65535n, 65536n],
  ...[20n, 31n, 32n, 46n, 53n, 62n, 63n].flatMap((bits) => [(1n << bits) - 1n, 1n << bits]),
  (1n << 64n) - 1n,
];

export const numbers = fc.oneof(
  fc.constantFrom(...EXTREMES),
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.bigInt({ min: 0n, max: 600n }),
);

/** Where a number stands in valid bytes, and its width. */
export type Field = readonly [at: number, width: number];

/** One change; places wrap around at the length that the bytes have when it is made. */
export type Damage =
  | { does: "flip"; at: number; bit: number }
  | { does: "set"; at: number; width: number; value: bigint }
  | { does: "zero"; at: number; length: number }
  | { does: "cut"; at: number }
  | { does: "insert"; at: number; bytes: Uint8Array }
  | { does: "remove"; at: number; length: number }
  | { does: "copy"; at: number; from: number; length: number }
  | { does: "splice"; at: number };

export function damages(fields: readonly Field[] = []): fc.Arbitrary<Damage[]> {
  const anywhere = fc.nat(1 << 20);
  const at =
    fields.length === 0 ? anywhere : fc.oneof(anywhere, fc.constantFrom(...fields.map(([at]) => at)));
  const field = fc.oneof(
    fc.tuple(anywhere, fc.constantFrom(1, 2, 4, 8)),
    ...(fields.length === 0 ? [] : [{ weight: 4, arbitrary: fc.constantFrom(...fields) }]),
  );
  const length = fc.oneof(fc.nat(64), fc.nat(5000));
  const one = fc.oneof(
    fc.record({ does: fc.constant("flip" as const), at, bit: fc.nat(7) }),
    {
      weight: 4,
      arbitrary: fc
        .tuple(field, numbers)
        .map(([[at, width], value]) => ({ does: "set" as const, at, width, value })),
    },
    fc.record({ does: fc.constant("zero" as const), at, length }),
    fc.record({ does: fc.constant("cut" as const), at }),
    fc.record({ does: fc.constant("insert" as const), at, bytes: fc.uint8Array({ maxLength: 40 }) }),
    fc.record({ does: fc.constant("remove" as const), at, length }),
    fc.record({ does: fc.constant("copy" as const), at, from: at, length }),
    fc.record({ does: fc.constant("splice" as const), at }),
  );
  return fc.array(one, { minLength: 1, maxLength: 4 });
}

function changed(bytes: Buffer, damage: Damage, other: Buffer): Buffer {
  const at = damage.at <= bytes.length ? damage.at : damage.at % (bytes.length + 1);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (damage.does) {
    case "flip":
      bytes[at] = (bytes[at] ?? 0) ^ (1 << damage.bit);
      return bytes;
    case "set": {
      const number = Buffer.alloc(8);
      number.writeBigUInt64LE(damage.value);
      number.copy(bytes, at, 0, damage.width);
      return bytes;
    }
    case "zero":
      bytes.fill(0, at, Math.min(bytes.length, at + damage.length));
      return bytes;
    case "cut":
      return before;
    case "insert":
      return Buffer.concat([before, damage.bytes, after]);
    case "remove":
      return Buffer.concat([before, after.subarray(damage.length)]);
    case "copy": {
      const from = damage.from % (bytes.length + 1);
      Buffer.from(bytes.subarray(from, from + damage.length)).copy(bytes, at);
      return bytes;
    }
    case "splice":
      return Buffer.concat([before, other.subarray(at)]);
  }
}

/** A copy of `good` with all of the damage; `other` is another valid one. */
export function damaged(good: Buffer, all: readonly Damage[], other: Buffer): Buffer {
  let bytes = Buffer.from(good);
  for (const damage of all) bytes = Buffer.from(changed(bytes, damage, other));
  return bytes;
}

/** `bytes` with exactly `length` of them. */
export function sized(bytes: Buffer, length: number): Buffer {
  return Buffer.concat([bytes], length);
}

/** What `read` gives; undefined where it throws an error of the reader. Any other one is a failure. */
export function unlessDamaged<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof DamageError) return undefined;
    throw error;
  }
}

/** Has `work` done with no buffer of more than `most` bytes ever made. */
export function withSmallBuffers<T>(most: number, work: () => T): T {
  const { alloc, allocUnsafe, concat } = Buffer;
  const checked = (size: number): number => {
    if (size > most) throw new Error(`a buffer of ${size} bytes, and ${most} are the most`);
    return size;
  };
  const restore = (): void => void Object.assign(Buffer, { alloc, allocUnsafe, concat });
  Buffer.alloc = ((size: number, ...fill: [number?]) => alloc(checked(size), ...fill)) as typeof alloc;
  Buffer.allocUnsafe = (size) => allocUnsafe(checked(size));
  Buffer.concat = (list, size) => concat(list, size === undefined ? undefined : checked(size));
  let result: T;
  try {
    result = work();
  } catch (error) {
    restore();
    throw error;
  }
  if (!(result instanceof Promise)) {
    restore();
    return result;
  }
  return result.finally(restore) as T;
}
