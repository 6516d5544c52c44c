import {
  closeSync,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  openSync,
  symlinkSync,
  writeSync,
} from "node:fs";

import { deviceNumbers, type Node } from "./entry.js";
import { DamageError, systemCode } from "./errors.js";
import { hasAccessAcl, openSymlink, openXattrs, recordedAttributes } from "./inode.js";
import type { Xattr } from "./names.js";
import { type Made, OutDirectory, quote, writing } from "./out-directory.js";
import type { Attributes, InodeRecord } from "./record.js";
import { asDamage, type Problem, problemAt } from "./verify.js";
import type { Volume } from "./volume.js";
import { type Visitor, walk } from "./walk.js";

export interface ExportCounts {
  directories: number;
  files: number;
  symlinks: number;
  special: number;
  hardLinks: number;
  /** Clear bytes written. */
  bytes: number;
}

export interface ExportOptions {
  readonly onProblem?: (problem: Problem) => void;
  /** Something of the original that the output could not be given; one line. */
  readonly onWarning?: (line: string) => void;
  readonly onProgress?: (counts: Readonly<ExportCounts>) => void;
}

export interface ExportResult {
  readonly counts: Readonly<ExportCounts>;
  readonly problems: number;
}

/**
 * Writes the whole tree in clear into the empty directory `out`. What is damaged is reported, and what of it can be
 * opened gets a name that ends in `.damaged`. Owners are set as root alone. Throws a UserError when `out` cannot be
 * written.
 */
export async function exportTree(volume: Volume, out: string, options: ExportOptions): Promise<ExportResult> {
  const exporting = new Exporting(volume, out, options);
  if (volume.logDamage) exporting.report("the commit log", undefined, volume.logDamage);
  await walk(volume, exporting).finally(() => exporting.abandon());
  return { counts: exporting.counts, problems: exporting.problems };
}

class Exporting implements Visitor {
  readonly counts: ExportCounts = {
    directories: 0,
    files: 0,
    symlinks: 0,
    special: 0,
    hardLinks: 0,
    bytes: 0,
  };
  problems = 0;
  readonly #stack: OutDirectory[] = [];
  /** Backing inode with several names to the path of its first one in the output. */
  readonly #links = new Map<bigint, { path: Buffer; damaged: boolean }>();
  readonly #places: Buffer[] = [];

  constructor(
    private readonly volume: Volume,
    private readonly out: string,
    private readonly options: ExportOptions,
  ) {}

  /** Lets go of the directories that an error left open. */
  abandon(): void {
    for (const directory of this.#stack.splice(0)) directory.abandon();
  }

  report(place: string, id: Buffer | undefined, error: DamageError): void {
    this.problems++;
    this.options.onProblem?.(problemAt(place, id, error));
  }

  stray(place: string, error: DamageError): void {
    this.report(place, undefined, error);
  }

  async enter(node: Node): Promise<boolean> {
    this.#reportAll(node, node.damage);
    const parent = this.#stack.at(-1);
    if (parent !== undefined && node.record?.type !== "directory") {
      this.#reportAll(node, [new DamageError("record", "nothing below this directory can be exported")]);
      return false;
    }
    this.counts.directories++;
    this.#stack.push(
      parent ? parent.make(outName(node)) : OutDirectory.open(this.out, (line) => this.#warn(line)),
    );
    this.#places.push(parent ? outName(node) : Buffer.from(this.out));
    return true;
  }

  async leave(node: Node): Promise<void> {
    const directory = this.#stack.pop();
    this.#places.pop();
    const parent = this.#stack.at(-1);
    const made = this.#made(node, false);
    writing(() => {
      if (directory) setAttributes(directory.fd, attributesOf(node));
    });
    directory?.close(parent ? undefined : made);
    parent?.add(made);
  }

  async visit(node: Node): Promise<void> {
    this.#reportAll(node, node.damage);
    const directory = this.#stack.at(-1);
    if (directory === undefined || this.#linked(directory, node)) return;
    if (node.type === "file") await this.#file(directory, node);
    else if (node.type === "symlink") this.#symlink(directory, node);
    else this.#special(directory, node);
    this.options.onProgress?.(this.counts);
  }

  #warn(line: string): void {
    this.options.onWarning?.(line);
  }

  #reportAll(node: Node, damage: readonly DamageError[]): void {
    for (const error of damage) this.report(node.place, node.record?.id, error);
  }

  #made(node: Node, damaged: boolean, mtime?: bigint): Made {
    const damage: DamageError[] = [];
    const usable = node.record?.type === node.type ? node.record : undefined;
    const xattrs: Xattr[] = usable ? openXattrs(this.volume, node, usable, damage) : [];
    this.#reportAll(node, damage);
    const { atimeNs: atime, mtimeNs } = node.stats;
    const anyDamage = damaged || node.damage.length > 0 || damage.length > 0;
    return { name: outName(node), damaged: anyDamage, atime, mtime: mtime ?? mtimeNs, xattrs };
  }

  /** Whether the inode was exported under another name, and this name was now linked to that. */
  #linked(directory: OutDirectory, node: Node): boolean {
    const first = this.#links.get(node.stats.ino);
    const damaged = node.damage.length > 0;
    // A link to what is damaged, or under a damaged name, is a copy: the two are named on their own.
    if (first === undefined || first.damaged || damaged) return false;
    try {
      linkSync(first.path, directory.at(outName(node)));
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      this.#warn(`${node.place} is a copy, not a hard link: ${systemCode(error)}`);
      return false;
    }
    this.counts.hardLinks++;
    return true;
  }

  #remember(node: Node, damaged: boolean): void {
    if (node.stats.nlink < 2n || this.#links.has(node.stats.ino)) return;
    const slash = Buffer.from("/");
    const path = Buffer.concat([...this.#places.flatMap((place) => [place, slash]), outName(node)]);
    this.#links.set(node.stats.ino, { path, damaged });
  }

  async #file(directory: OutDirectory, node: Node): Promise<void> {
    this.counts.files++;
    const path = directory.at(outName(node));
    const fd = writing(() => openSync(path, "wx", 0o600));
    let damage: DamageError[];
    let mtime: bigint | undefined;
    try {
      ({ damage, mtime } = await this.#contents(fd, node));
      writing(() => setAttributes(fd, attributesOf(node)));
    } finally {
      closeSync(fd);
    }
    this.#reportAll(node, damage);
    const made = this.#made(node, damage.length > 0, mtime);
    this.#remember(node, made.damaged);
    directory.add(made);
  }

  /** Writes what opens of a file's blocks, and leaves holes for holes and for what does not. */
  async #contents(fd: number, node: Node): Promise<{ damage: DamageError[]; mtime: bigint | undefined }> {
    const { record } = node;
    const damage: DamageError[] = [];
    if (record?.type !== "file") return { damage, mtime: undefined };
    let mtime: bigint | undefined;
    try {
      const open = await this.volume.openFile(node.path, record);
      try {
        const { file, folded } = open;
        damage.push(...[folded.damage, file.lengthDamage].filter((error) => error !== undefined));
        if (folded.mtime) mtime = folded.mtime.seconds * 1_000_000_000n + BigInt(folded.mtime.nanoseconds);
        writing(() => ftruncateSync(fd, Number(file.size)));
        for await (const found of file.walk()) {
          if (found.kind === "damage") damage.push(found.error);
          else this.#write(fd, found.index * this.volume.geometry.block, found.bytes);
        }
      } finally {
        open.close();
      }
    } catch (error) {
      damage.push(asDamage(error));
    }
    return { damage, mtime };
  }

  #write(fd: number, offset: bigint, bytes: Buffer): void {
    writing(() => {
      for (let at = 0; at < bytes.length; )
        at += writeSync(fd, bytes, at, bytes.length - at, Number(offset) + at);
    });
    this.counts.bytes += bytes.length;
    this.options.onProgress?.(this.counts);
  }

  #symlink(directory: OutDirectory, node: Node): void {
    const record: InodeRecord | undefined = node.record?.type === "symlink" ? node.record : undefined;
    const damage: DamageError[] = [];
    const target = record && openSymlink(this.volume, node, record, damage);
    this.#reportAll(node, damage);
    if (target === undefined) return;
    this.counts.symlinks++;
    writing(() => {
      symlinkSync(target, directory.at(outName(node)));
      if (isRoot()) lchownSync(directory.at(outName(node)), ...ownerOf(node));
    });
    this.#remember(node, node.damage.length > 0);
    directory.add(this.#made(node, false));
  }

  #special(directory: OutDirectory, node: Node): void {
    if (node.record?.type !== node.type) return;
    if (node.type === "socket") {
      this.#warn(`${node.place} is a socket: left out, its server makes it`);
      return;
    }
    const letter = { fifo: "p", chardev: "c", blockdev: "b" }[node.type as string] ?? "p";
    const { major, minor } = deviceNumbers(node.stats.rdev);
    const numbers = letter === "p" ? "" : ` ${major} ${minor}`;
    const { mode } = attributesOf(node);
    const made = Buffer.from(` ${letter}${numbers}\n`);
    const command = Buffer.from(`mknod -m ${mode.toString(8)} -- `);
    directory.shell([Buffer.concat([command, quote(outName(node)), made])]);
    this.counts.special++;
    if (isRoot()) writing(() => lchownSync(directory.at(outName(node)), ...ownerOf(node)));
    this.#remember(node, node.damage.length > 0);
    directory.add(this.#made(node, false));
  }
}

/** The plaintext name, or the sealed one where that does not open; the root has none. */
function outName(node: Node): Buffer {
  return node.name ?? Buffer.from(node.stored, "latin1");
}

/** Where there is an access ACL the group's bits are its mask: setting the ACL brings them, without it they stay away. */
function attributesOf(node: Node): Attributes {
  const attributes = recordedAttributes(node);
  return hasAccessAcl(node) ? { ...attributes, mode: attributes.mode & ~0o070 } : attributes;
}

function ownerOf(node: Node): [number, number] {
  const { uid, gid } = attributesOf(node);
  return [uid, gid];
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/** Owner first: a change of owner takes set-id bits away. */
function setAttributes(fd: number, { mode, uid, gid }: Attributes): void {
  if (isRoot()) fchownSync(fd, uid, gid);
  fchmodSync(fd, mode);
}
