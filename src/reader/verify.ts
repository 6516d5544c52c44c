import { messageOf } from "../errors.js";
import { idText } from "./bytes.js";
import type { Node } from "./entry.js";
import { DamageError, systemCode } from "./errors.js";
import { openSymlink, openXattrs } from "./inode.js";
import type { Volume } from "./volume.js";
import { type Visitor, walk } from "./walk.js";

/** One thing that is wrong with a volume. */
export interface Problem {
  readonly code: DamageError["code"];
  /** Plaintext path, or what else is concerned; printable. */
  readonly place: string;
  /** 32 hex digits; absent where no record tells. */
  readonly id?: string;
  /** Number of the data block, or of the first one that a node covers. */
  readonly block?: string;
  readonly message: string;
}

export interface Counts {
  directories: number;
  files: number;
  symlinks: number;
  special: number;
  /** Further names of inodes counted above. */
  hardLinks: number;
  xattrs: number;
  /** Data blocks that opened. */
  blocks: number;
  /** Clear bytes in them. */
  bytes: number;
  /** Commits of the log that are not home yet, and how many of them are in force. */
  pendingCommits: number;
  foldedCommits: number;
}

export interface VerifyOptions {
  /** Told each problem as it is found. */
  readonly onProblem?: (problem: Problem) => void;
  /** Told after every inode and now and then within one. */
  readonly onProgress?: (counts: Readonly<Counts>) => void;
}

export interface VerifyResult {
  readonly counts: Readonly<Counts>;
  readonly problems: number;
}

const BLOCKS_PER_REPORT = 1024;

/**
 * Opens every record, name, target, extended attribute and block of the volume. Problems of the volume are reported
 * and never thrown.
 */
export async function verify(volume: Volume, options: VerifyOptions): Promise<VerifyResult> {
  const verification = new Verification(volume, options);
  if (volume.logDamage) verification.report("the commit log", undefined, volume.logDamage);
  verification.counts.pendingCommits = volume.log?.commits.length ?? 0;
  await walk(volume, verification);
  return { counts: verification.counts, problems: verification.problems };
}

class Verification implements Visitor {
  readonly counts: Counts = {
    directories: 0,
    files: 0,
    symlinks: 0,
    special: 0,
    hardLinks: 0,
    xattrs: 0,
    blocks: 0,
    bytes: 0,
    pendingCommits: 0,
    foldedCommits: 0,
  };
  problems = 0;
  /** Inodes with several names whose contents have been checked. */
  readonly #done = new Set<bigint>();

  constructor(
    private readonly volume: Volume,
    private readonly options: VerifyOptions,
  ) {}

  report(place: string, id: Buffer | undefined, error: DamageError): void {
    this.problems++;
    this.options.onProblem?.(problemAt(place, id, error));
  }

  stray(place: string, error: DamageError): void {
    this.report(place, undefined, error);
  }

  async enter(directory: Node): Promise<boolean> {
    this.counts.directories++;
    await this.#inode(directory);
    if (directory.record?.type !== "directory" && directory.place !== "/") {
      this.#damaged(directory, new DamageError("record", "nothing below this directory could be checked"));
    }
    return true;
  }

  async leave(): Promise<void> {}

  async visit(node: Node): Promise<void> {
    if (node.stats.nlink > 1n && this.#done.has(node.stats.ino)) {
      this.counts.hardLinks++;
      this.#entry(node);
      return;
    }
    if (node.stats.nlink > 1n) this.#done.add(node.stats.ino);
    if (node.type === "file") this.counts.files++;
    else if (node.type === "symlink") this.counts.symlinks++;
    else this.counts.special++;
    await this.#inode(node);
  }

  #damaged(node: Node, error: DamageError): void {
    this.report(node.place, node.record?.id, error);
  }

  #entry(node: Node): void {
    for (const error of node.damage) this.#damaged(node, error);
    this.options.onProgress?.(this.counts);
  }

  async #inode(node: Node): Promise<void> {
    this.#entry(node);
    const { record } = node;
    if (record === undefined || record.type !== node.type) return;
    const damage: DamageError[] = [];
    this.counts.xattrs += openXattrs(this.volume, node, record, damage).length;
    if (node.type === "symlink") openSymlink(this.volume, node, record, damage);
    for (const error of damage) this.#damaged(node, error);
    if (node.type === "file") await this.#contents(node);
  }

  async #contents(node: Node): Promise<void> {
    const { record } = node;
    if (record === undefined) return;
    try {
      const open = await this.volume.openFile(node.path, record);
      try {
        this.counts.foldedCommits += open.folded.taken;
        for (const error of [open.folded.damage, open.file.lengthDamage])
          if (error) this.#damaged(node, error);
        for await (const found of open.file.walk()) {
          if (found.kind === "damage") this.#damaged(node, found.error);
          else this.#opened(found.bytes.length);
        }
      } finally {
        open.close();
      }
    } catch (error) {
      this.#damaged(node, asDamage(error));
    }
    this.options.onProgress?.(this.counts);
  }

  #opened(bytes: number): void {
    this.counts.blocks++;
    this.counts.bytes += bytes;
    if (this.counts.blocks % BLOCKS_PER_REPORT === 0) this.options.onProgress?.(this.counts);
  }
}

export function problemAt(place: string, id: Buffer | undefined, error: DamageError): Problem {
  return {
    code: error.code,
    place,
    ...(id && { id: idText(id) }),
    ...(error.block !== undefined && { block: `${error.block}` }),
    message: error.message,
  };
}

/** A DamageError for what went wrong within one file; what is no fault of the file's is thrown on. */
export function asDamage(error: unknown): DamageError {
  if (error instanceof DamageError) return error;
  if (systemCode(error) === undefined) throw error;
  return new DamageError("unreadable", `cannot be read: ${messageOf(error)}`);
}
