/**
 * Digests of blocks in a file that people can read: a line of JSON, then "INDEX BASE64" a block. A manifest ends in a
 * line that proves it whole; a journal, which may be cut short at any time, does not.
 */

import { createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  createWriteStream,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { DIGEST_BYTES, Digests } from "./blocks.js";

const LINE = /^(\d{1,10}) ([A-Za-z0-9+/]{43}=)$/;
const END = /^end (\d{1,10}) ([0-9a-f]{64})$/;
/** A line of more bytes than this is none of ours. */
const MAX_LINE = 65_536;

export function digestLine(index: number, digest: Buffer): string {
  return `${index} ${digest.toString("base64")}\n`;
}

export interface DigestFile {
  readonly header: unknown;
  readonly digests: Digests;
}

/**
 * Reads a manifest; undefined when there is none. `blocksOf` says from the header how many blocks its volume has, or
 * throws. Throws UserError (SnapshotManifest) for one that is not whole.
 */
export async function readManifestFile(
  path: string,
  blocksOf: (header: unknown) => number,
): Promise<DigestFile | undefined> {
  const damaged = (why: string) =>
    new UserError(
      "SnapshotManifest",
      `the manifest ${path} is damaged: ${why}`,
      "remove it: what it knew is read from the snapshot again",
    );
  const hash = createHash("sha256");
  let header: unknown;
  let digests: Digests | undefined;
  let end: RegExpExecArray | null = null;
  try {
    for await (const { lines, rest } of linesOf(path)) {
      if (rest.length > MAX_LINE) throw damaged("it has a line that is too long");
      for (const line of lines) {
        if (end !== null) throw damaged("it goes on after its end");
        if (digests === undefined) {
          header = parseJson(line);
          digests = new Digests(blocksOf(header));
        } else {
          end = END.exec(line);
          if (end !== null) continue;
          if (!take(digests, line)) throw damaged(`"${line.slice(0, 60)}" is no line of it`);
        }
        hash.update(`${line}\n`, "latin1");
      }
    }
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    if (error instanceof UserError) throw error;
    throw damaged(messageOf(error));
  }
  if (digests === undefined || end === null) throw damaged("its end is missing");
  if (Number(end[1]) !== digests.count || end[2] !== hash.digest("hex"))
    throw damaged("its lines were altered");
  return { header, digests };
}

/** Writes a manifest whole or not at all: beside itself, flushed, renamed. */
export async function writeManifestFile(path: string, header: object, digests: Digests): Promise<void> {
  const fresh = `${path}.new`;
  const hash = createHash("sha256");
  const stream = createWriteStream(fresh, { mode: 0o600, flush: true });
  const failed = new Promise<never>((_, reject) => stream.once("error", reject));
  const write = async (text: string) => {
    hash.update(text);
    if (!stream.write(text))
      await Promise.race([new Promise<void>((drained) => stream.once("drain", () => drained())), failed]);
  };
  try {
    await write(`${JSON.stringify(header)}\n`);
    for (const [index, digest] of digests.entries()) await write(digestLine(index, digest));
    const end = `end ${digests.count} ${hash.digest("hex")}\n`;
    await Promise.race([new Promise<void>((done) => stream.end(end, () => done())), failed]);
    renameSync(fresh, path);
    const dir = openSync(dirname(path), "r");
    fsyncSync(dir);
    closeSync(dir);
  } catch (error) {
    rmSync(fresh, { force: true });
    const code = errnoOf(error) === "ENOSPC" ? "NoSpace" : "SnapshotManifest";
    throw new UserError(
      code,
      `${path} cannot be written: ${messageOf(error)}`,
      "make room, or set KMSFS_STATE",
    );
  }
}

/** What a push has got done, one line a block, written when the service has the block. */
export class Journal {
  readonly #fd: number;

  private constructor(
    readonly path: string,
    readonly header: unknown,
    /** what the journal says was put */
    readonly put: Digests,
    fd: number,
  ) {
    this.#fd = fd;
  }

  /** Begins one; nothing of an older one at the path stays. */
  static create(path: string, header: object, blocks: number): Journal {
    const fd = openSync(path, "w", 0o600);
    writeSync(fd, `${JSON.stringify(header)}\n`);
    fsyncSync(fd);
    return new Journal(path, header, new Digests(blocks), fd);
  }

  /** Opens one that was left, and cuts off a torn last line; undefined when there is none, or none with a whole first line. */
  static async resume(path: string, blocksOf: (header: unknown) => number): Promise<Journal | undefined> {
    const left = await readJournalFile(path, blocksOf);
    if (left === undefined) return undefined;
    truncateSync(path, left.wholeBytes);
    return new Journal(path, left.header, left.digests, openSync(path, "a"));
  }

  /** The service has confirmed the block. Not flushed: a line that is lost costs a block sent twice. */
  add(index: number, digest: Buffer): void {
    writeSync(this.#fd, digestLine(index, digest));
    this.put.set(index, digest);
  }

  close(): void {
    closeSync(this.#fd);
  }

  remove(): void {
    this.close();
    rmSync(this.path, { force: true });
  }
}

/** What stands in a journal, without changing it; `wholeBytes` is where its last whole line ends. */
export async function readJournalFile(
  path: string,
  blocksOf: (header: unknown) => number,
): Promise<(DigestFile & { readonly wholeBytes: number }) | undefined> {
  let header: unknown;
  let digests: Digests | undefined;
  let wholeBytes = 0;
  try {
    for await (const { lines, rest } of linesOf(path)) {
      for (const line of lines) {
        if (digests === undefined) {
          header = line.length > MAX_LINE ? undefined : parseJson(line);
          if (header === undefined) return undefined;
          digests = new Digests(blocksOf(header));
        } else take(digests, line);
        wholeBytes += line.length + 1;
      }
      // No journal goes on so: what is whole ends here.
      if (rest.length > MAX_LINE) break;
    }
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
  return digests === undefined ? undefined : { header, digests, wholeBytes };
}

/**
 * The lines that each piece of a file completes, and what is left at its end, one character a byte. Whoever reads stops
 * where that grows too long.
 */
async function* linesOf(path: string): AsyncGenerator<{ lines: string[]; rest: string }> {
  let rest = "";
  for await (const chunk of createReadStream(path, { encoding: "latin1", highWaterMark: 1 << 20 })) {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    yield { lines, rest };
  }
}

function take(digests: Digests, line: string): boolean {
  const match = LINE.exec(line);
  const index = Number(match?.[1]);
  const digest = Buffer.from(match?.[2] ?? "", "base64");
  if (match === null || index >= digests.blocks || digest.length !== DIGEST_BYTES) return false;
  digests.set(index, digest);
  return true;
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(Buffer.from(line, "latin1").toString("utf8"));
  } catch {
    return undefined;
  }
}
