/** A chain's head, the number and hash of its last line: noted beside the chain, and where the operator wants it. */

import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { errnoOf } from "../errors.js";

export interface Head {
  readonly seq: number;
  /** hex */
  readonly hash: string;
}

/** The file keeps this length, so that a full disk does not keep a new head from it. */
const LENGTH = 128;

/** `12:9f86d0...`, as `kmsfs audit head` prints it and `--head` takes it. */
export function headText({ seq, hash }: Head): string {
  return `${seq}:${hash}`;
}

export function parseHead(text: string): Head | undefined {
  const match = /^([1-9]\d{0,15}):([0-9a-f]{64})$/.exec(text.trim());
  return match === null ? undefined : { seq: Number(match[1]), hash: match[2] ?? "" };
}

/** The head in a file; undefined when there is none or it cannot be understood. Throws the system's error. */
export async function readHead(path: string): Promise<Head | undefined> {
  try {
    return parseHead(await readFile(path, "utf8"));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes over the file in place, one short write, and flushes it. Throws the system's error. */
export async function writeHead(path: string, head: Head): Promise<void> {
  const { O_WRONLY, O_CREAT, O_NOFOLLOW } = constants;
  const handle = await open(path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    await handle.write(`${headText(head).padEnd(LENGTH - 1)}\n`, 0);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}
