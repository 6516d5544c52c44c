/**
 * Pushes an image into a new snapshot. What the service has confirmed is in a journal, so that a push that was killed
 * goes on where it was; blocks equal to the parent's are not sent, nor are zeros.
 */

import { randomUUID } from "node:crypto";
import { messageOf, UserError } from "../errors.js";
import { flock, LockHeld } from "../flock.js";
import { forEachAtOnce } from "./adaptive-pool.js";
import { Digests, digestOf, isZero, volumeGib } from "./blocks.js";
import { Journal } from "./digest-file.js";
import type { Ebs } from "./ebs.js";
import { ebsFailure, isGone } from "./ebs-errors.js";
import { Image } from "./image.js";
import { isJournalHeader, type JournalHeader } from "./journal-header.js";
import { LiveSource } from "./live-source.js";
import { blocksOfGib, type Manifest, readManifest, writeManifest } from "./manifest.js";
import { journalPath, makeSnapshotState } from "./places.js";
import { readSnapshotDigests } from "./read-digests.js";
import { awaitCompleted } from "./settle.js";

export interface PushRequest {
  readonly source: string;
  readonly parent: string | undefined;
  readonly description: string | undefined;
  readonly tags: readonly { Key: string; Value: string }[];
  readonly region: string;
  /** hold the writers of file systems on the source while its image is fixed; else it is read as it is */
  readonly freeze: boolean;
}

export interface PushProgress {
  readonly phase: "reading the parent" | "pushing" | "frozen" | "completing";
  readonly done: number;
  readonly total: number;
  readonly sent: number;
}

export interface PushHooks {
  readonly onProgress: (progress: PushProgress) => void;
  readonly onLine: (line: string) => void;
}

export interface PushResult {
  readonly snapshot: string;
  readonly volumeGib: number;
  readonly bytes: number;
  /** blocks in all of the image, those sent, those that the parent has already, those of zeros */
  readonly blocks: number;
  readonly sent: number;
  readonly unchanged: number;
  readonly zero: number;
  readonly resumed: boolean;
  /** milliseconds that writers had to wait; null where nothing was frozen */
  readonly frozenMs: number | null;
}

/** Throws UserError. After any failure a push of the same source goes on with the same snapshot, if AWS still has it. */
export async function push(ebs: Ebs, request: PushRequest, hooks: PushHooks): Promise<PushResult> {
  makeSnapshotState();
  const image = await Image.open(request.source);
  try {
    const path = journalPath(image.path, request.parent);
    const lock = await flock(`${path}.lock`, { waitSeconds: 0 }).catch((error: unknown) => {
      if (!(error instanceof LockHeld)) throw error;
      throw new UserError("InUse", `${image.path} is being pushed by another process`, "wait for it");
    });
    try {
      return await pushLocked(ebs, request, image, path, hooks);
    } finally {
      lock.release();
    }
  } finally {
    await image.close();
  }
}

async function pushLocked(
  ebs: Ebs,
  request: PushRequest,
  image: Image,
  path: string,
  hooks: PushHooks,
): Promise<PushResult> {
  const live = request.freeze ? LiveSource.of(image) : undefined;
  live?.refuseOwnState(path);
  const parent =
    request.parent === undefined ? undefined : await parentDigests(ebs, request.parent, image, hooks);
  const journal = (await resumable(path, image, request, hooks)) ?? beginJournal(path, image, request);
  const resumed = journal.put.count > 0;
  const work = new Push(ebs, image, journal, parent?.digests, hooks);
  try {
    await work.start();
    // While writers go on, most of it is sent; then what has changed meanwhile, with the writers held back.
    await work.pass("pushing");
    if (live !== undefined) await live.whileFrozen(() => work.pass("frozen"));
    const written = work.written;
    hooks.onProgress({ phase: "completing", done: 0, total: 1, sent: work.sent });
    await work.complete();
    await awaitCompleted(ebs, work.snapshot);
    await writeManifest(work.manifest(request, written));
    journal.remove();
  } catch (error) {
    if (work.lost) journal.remove();
    else journal.close();
    throw error;
  }
  return { ...work.result(), resumed, frozenMs: live?.frozenMs ?? null };
}

class Push {
  snapshot = "";
  /** of this run; what an earlier one sent is not counted */
  sent = 0;
  /** the service has given the snapshot up */
  lost = false;
  #unchanged = 0;
  #zero = 0;
  /** of all blocks of the image as they were read last, zeros left out */
  readonly #image: Digests;
  readonly #header: JournalHeader;

  constructor(
    readonly ebs: Ebs,
    readonly image: Image,
    readonly journal: Journal,
    readonly parent: Digests | undefined,
    readonly hooks: PushHooks,
  ) {
    this.#header = journal.header as JournalHeader;
    this.#image = new Digests(blocksOfGib(this.#header.volumeGib));
  }

  /** Where the parent has blocks behind the end of the image, they have to become zeros. */
  get #total(): number {
    return Math.max(this.image.blocks, (this.parent?.last() ?? -1) + 1);
  }

  get written(): number {
    return this.journal.put.count;
  }

  async start(): Promise<void> {
    const { parent, description, tags, clientToken } = this.#header;
    this.snapshot = await this.ebs.start({
      volumeGib: this.#header.volumeGib,
      parent: parent ?? undefined,
      description,
      tags,
      clientToken,
    });
  }

  /** Reads the whole image and sends what the snapshot does not have yet. */
  async pass(phase: PushProgress["phase"]): Promise<void> {
    let done = 0;
    this.#unchanged = 0;
    this.#zero = 0;
    const total = this.#total;
    // Blocks that are only read and compared need no place in the pool: a few more keep the disk busy meanwhile.
    const width = () => this.ebs.pool.limit + 4;
    await forEachAtOnce(indexes(total), width, async (index) => {
      await this.#block(index);
      done += 1;
      this.hooks.onProgress({ phase, done, total, sent: this.sent });
    });
  }

  async #block(index: number): Promise<void> {
    const block = await this.image.block(index);
    const zero = isZero(block);
    const digest = digestOf(block);
    if (zero) this.#image.delete(index);
    else this.#image.set(index, digest);
    const put = this.journal.put.get(index);
    if (put !== undefined ? put.equals(digest) : this.#inherited(index, zero, digest)) return;
    await this.#put(index, block, digest);
  }

  /** Whether the new snapshot shows these contents without the block being sent. Counts why. */
  #inherited(index: number, zero: boolean, digest: Buffer): boolean {
    const before = this.parent?.get(index);
    if (before === undefined && zero) this.#zero += 1;
    if (before?.equals(digest) === true) this.#unchanged += 1;
    return before === undefined ? zero : before.equals(digest);
  }

  async #put(index: number, block: Buffer, digest: Buffer): Promise<void> {
    try {
      await this.ebs.put(this.snapshot, index, block, digest);
    } catch (error) {
      if (isGone(error)) throw this.#lost(error);
      throw ebsFailure(error, "PutSnapshotBlock", `block ${index} of ${this.snapshot}`);
    }
    this.journal.add(index, digest);
    this.sent += 1;
  }

  /** AWS cancels a snapshot that nothing is written to for the time-out given at its start. */
  #lost(error: unknown): UserError {
    this.lost = true;
    return new UserError(
      "NoSuchSnapshot",
      `${this.snapshot} takes no more blocks: ${messageOf(error)}`,
      "run it again: it begins a new snapshot",
    );
  }

  async complete(): Promise<void> {
    const { put } = this.journal;
    try {
      await this.ebs.complete(this.snapshot, put.count, put.aggregate());
    } catch (error) {
      if (isGone(error)) throw this.#lost(error);
      throw ebsFailure(error, "CompleteSnapshot", this.snapshot);
    }
  }

  manifest(request: PushRequest, written: number): Manifest {
    return {
      header: {
        kind: "kmsfs snapshot manifest",
        version: 1,
        snapshot: this.snapshot,
        region: request.region,
        bytes: this.image.bytes,
        volumeGib: this.#header.volumeGib,
        source: this.image.path,
        parent: request.parent ?? null,
        created: new Date().toISOString(),
        written,
      },
      digests: this.#image,
    };
  }

  result(): Omit<PushResult, "resumed" | "frozenMs"> {
    return {
      snapshot: this.snapshot,
      volumeGib: this.#header.volumeGib,
      bytes: this.image.bytes,
      blocks: this.image.blocks,
      sent: this.sent,
      unchanged: this.#unchanged,
      zero: this.#zero,
    };
  }
}

async function parentDigests(ebs: Ebs, parent: string, image: Image, hooks: PushHooks): Promise<Manifest> {
  let manifest = await readManifest(parent);
  if (manifest === undefined) {
    manifest = await readSnapshotDigests(ebs, parent, (done, total) => {
      if (done === 0)
        hooks.onLine(`this host has no manifest of ${parent}: its ${total} blocks are read and compared`);
      hooks.onProgress({ phase: "reading the parent", done, total, sent: 0 });
    });
  }
  const { volumeGib: gib } = manifest.header;
  if (gib <= volumeGib(image.bytes)) return manifest;
  throw new UserError(
    "Usage",
    `${image.path} is smaller than its parent ${parent}, a snapshot of ${gib} GiB`,
    "push it without --parent",
  );
}

function beginJournal(path: string, image: Image, request: PushRequest): Journal {
  const header: JournalHeader = {
    kind: "kmsfs snapshot push",
    version: 1,
    source: image.path,
    bytes: image.bytes,
    volumeGib: volumeGib(image.bytes),
    parent: request.parent ?? null,
    description: request.description ?? `kmsfs: ${image.path}`,
    tags: request.tags,
    clientToken: randomUUID(),
    region: request.region,
    started: new Date().toISOString(),
  };
  return Journal.create(path, header, blocksOfGib(header.volumeGib));
}

/** The journal of an earlier push of the same thing; undefined when there is none, or when it was of something else. */
async function resumable(
  path: string,
  image: Image,
  request: PushRequest,
  hooks: PushHooks,
): Promise<Journal | undefined> {
  const journal = await Journal.resume(path, (header) =>
    isJournalHeader(header) ? blocksOfGib(header.volumeGib) : 0,
  );
  if (journal === undefined) return undefined;
  const header = journal.header;
  const same =
    isJournalHeader(header) &&
    header.bytes === image.bytes &&
    header.region === request.region &&
    (request.description === undefined || request.description === header.description) &&
    JSON.stringify(request.tags) === JSON.stringify(header.tags);
  if (same) {
    hooks.onLine(
      `going on with the push of ${header.started}: ${journal.put.count} blocks are there already`,
    );
    return journal;
  }
  hooks.onLine("an earlier push of this source was of another size or had other tags: it is begun anew");
  journal.close();
  return undefined;
}

function* indexes(count: number): Generator<number> {
  for (let index = 0; index < count; index++) yield index;
}
