// Writes commit logs for tests (docs/format.md §9): one begun segment after the other, records appended in order.
import { randomBytes } from "node:crypto";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { VolumeKeys } from "../../src/reader/keys.js";
import * as encode from "./encode.js";
import type { Page } from "./fixture.js";

export const SEGMENT_SIZE = 4 * 2 ** 20;

export interface BeginOptions {
  firstCommit: bigint;
  checkpointed: bigint;
  sequence?: bigint;
  previousMac?: Buffer;
}

export interface AppendOptions {
  fileId: Buffer;
  images: readonly Page[];
  straight?: readonly Page[];
  punched?: { offset: bigint; length: bigint }[];
  physicalLength: bigint;
  durable?: bigint;
  number?: bigint;
  mtime?: { seconds: bigint; nanoseconds: number };
}

export interface AppendedRecord {
  path: string;
  offset: number;
  length: number;
  number: bigint;
}

export class LogWriter {
  #slot = -1;
  #sequence = 0n;
  #number = 0n;
  #offset = 0;
  #key: Buffer = Buffer.alloc(0);
  #previousMac: Buffer = Buffer.alloc(16);

  constructor(
    private readonly keys: VolumeKeys,
    private readonly uuid: Buffer,
    private readonly directory: string,
  ) {}

  get isEmpty(): boolean {
    return this.#slot < 0;
  }

  get path(): string {
    return join(this.directory, `${String(this.#slot).padStart(4, "0")}.seg`);
  }

  /** Begins the next segment; what follows is appended to it. */
  begin(options: BeginOptions): void {
    this.#slot++;
    this.#sequence = options.sequence ?? this.#sequence + 1n;
    this.#number = options.firstCommit - 1n;
    this.#offset = 4096;
    this.#previousMac = options.previousMac ?? this.#previousMac;
    const salt = randomBytes(32);
    this.#key = this.keys.segmentKey(salt);
    const header = encode.encodeSegmentHeader(this.keys, {
      uuid: this.uuid,
      sequence: this.#sequence,
      firstCommit: options.firstCommit,
      checkpointed: options.checkpointed,
      generation: 1n,
      salt,
      previousMac: this.#previousMac,
      handle: randomBytes(8),
      handleType: 1,
      fileSystemId: randomBytes(16),
    });
    const fd = openSync(this.path, "w");
    ftruncateSync(fd, SEGMENT_SIZE);
    writeSync(fd, header, 0, header.length, 0);
    closeSync(fd);
  }

  get lastMac(): Buffer {
    return this.#previousMac;
  }

  append(options: AppendOptions): AppendedRecord {
    const number = options.number ?? this.#number + 1n;
    const record = encode.encodeCommit(this.#key, {
      number,
      durable: options.durable ?? 0n,
      previousMac: this.#previousMac,
      fileId: options.fileId,
      handle: randomBytes(12),
      handleType: 1,
      physicalLength: options.physicalLength,
      ...(options.mtime && { mtime: options.mtime }),
      punched: options.punched ?? [],
      straight: (options.straight ?? []).map(({ index, bytes, entry }) => {
        if (index === undefined) throw new Error("a node is never straight");
        return { index, length: bytes.length, entry };
      }),
      images: options.images.map(({ home, bytes }) => ({ offset: home, bytes })),
    });
    const at = { path: this.path, offset: this.#offset, length: record.length, number };
    writeInto(at.path, at.offset, record);
    this.#previousMac = Buffer.from(record.subarray(0, 16));
    this.#number = number;
    this.#offset += record.length;
    return at;
  }
}

export function writeInto(path: string, offset: number, bytes: Buffer): void {
  const fd = openSync(path, "r+");
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}
