import { u64 } from "./bytes.js";

/** The 16 associated bytes of a sealed block of `level` whose first data block is `index` (docs/format.md §5). */
export function blockAad(level: number, index: bigint): Buffer {
  return Buffer.concat([Uint8Array.of(level, 0, 0, 0, 0, 0, 0, 0), u64(index)]);
}
