import { type FileHandle, open } from "node:fs/promises";

const PIECE = 2 ** 20;

/** Copies what is at and behind `from` in `file` to the new file `to`, flushed. Zeros become holes. */
export async function copyTail(file: FileHandle, from: bigint, to: string): Promise<void> {
  const { size } = await file.stat({ bigint: true });
  const out = await open(to, "wx", 0o600);
  try {
    const piece = Buffer.alloc(PIECE);
    for (let at = from; at < size; at += BigInt(PIECE)) {
      const { bytesRead } = await file.read(piece, 0, PIECE, Number(at));
      const part = piece.subarray(0, bytesRead);
      if (part.some((byte) => byte !== 0)) await out.write(part, 0, part.length, Number(at - from));
    }
    await out.truncate(Number(size - from));
    await out.sync();
  } finally {
    await out.close();
  }
}
