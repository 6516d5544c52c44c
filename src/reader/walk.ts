import { closeSync, constants, openSync, readdirSync } from "node:fs";
import { messageOf } from "../errors.js";
import { idText } from "./bytes.js";
import {
  FOREIGN_NAME,
  isPartOfRoot,
  type Node,
  type OpenDirectory,
  openEntry,
  openRoot,
  sealedPlace,
  throughDescriptor,
} from "./entry.js";
import { collect, DamageError, systemCode } from "./errors.js";
import { storedKind } from "./names.js";
import type { Volume } from "./volume.js";
import { XattrTree } from "./xattrs.js";

/** getfattr is started anew below a path this long, well before it meets PATH_MAX. In bytes. */
const LONG_PATH = 2048;

export interface Visitor {
  /** Before what is in the directory. False: leave that out. */
  enter(directory: Node): Promise<boolean>;
  leave(directory: Node): Promise<void>;
  /** Anything but a directory. */
  visit(node: Node): Promise<void>;
  /**
   * Something in a directory that is no entry of the volume, or cannot be read. `stored`: its name in the backing directory
   * that was entered last; undefined for that directory itself.
   */
  stray(place: string, error: DamageError, stored?: string): void;
  /** A name of the backing directory entered last that readers pass over: a temporary one, or a sidecar. */
  aside?(stored: string, kind: "temporary" | "sidecar"): void;
}

/** Visits everything in the volume, each directory's names in the order of their stored bytes. */
export async function walk(volume: Volume, visitor: Visitor): Promise<void> {
  const fd = openSync(volume.backing, constants.O_RDONLY | constants.O_DIRECTORY);
  await new Walk(volume, visitor).root(fd).finally(() => closeSync(fd));
}

interface Directory extends OpenDirectory {
  readonly xattrs: XattrTree;
  /** Path in `xattrs`, with a "/" behind it; "" at its root. */
  readonly prefix: string;
}

class Walk {
  /** Hex id to the inode that bears it. */
  readonly #ids = new Map<string, bigint>();

  constructor(
    private readonly volume: Volume,
    private readonly visitor: Visitor,
  ) {}

  async root(fd: number): Promise<void> {
    const xattrs = await XattrTree.load(throughDescriptor(fd));
    const node = this.#claimed(openRoot(this.volume, fd, xattrs.get(".")));
    if (!(await this.visitor.enter(node))) return;
    await this.#contents({ fd, id: this.volume.id, place: "", xattrs, prefix: "" });
    await this.visitor.leave(node);
  }

  async #contents(directory: Directory): Promise<void> {
    for (const stored of readdirSync(throughDescriptor(directory.fd), "latin1").sort()) {
      const kind = storedKind(stored);
      if (kind === "temporary" || kind === "sidecar") {
        this.visitor.aside?.(stored, kind);
        continue;
      }
      if (kind === "foreign") {
        if (!isPartOfRoot(directory, stored))
          this.#stray(directory, stored, new DamageError("foreign", FOREIGN_NAME));
        continue;
      }
      try {
        await this.#entry(directory, stored, kind === "long");
      } catch (error) {
        if (systemCode(error) === undefined) throw error;
        this.#stray(directory, stored, new DamageError("unreadable", `cannot be read: ${messageOf(error)}`));
      }
    }
  }

  #stray(directory: Directory, stored: string, error: DamageError): void {
    this.visitor.stray(`${directory.place}/${sealedPlace(stored)}`, error, stored);
  }

  async #entry(parent: Directory, stored: string, long: boolean): Promise<void> {
    const raw = parent.xattrs.get(parent.prefix + stored);
    const damage: DamageError[] = [];
    const opened = collect(damage, () => openEntry(this.volume, parent, stored, long, raw));
    for (const error of damage) this.#stray(parent, stored, error);
    if (opened === undefined) return;
    const node = this.#claimed(opened);
    if (node.type !== "directory") await this.visitor.visit(node);
    else await this.#directory(parent, node);
  }

  async #directory(parent: Directory, node: Node): Promise<void> {
    if (!(await this.visitor.enter(node))) return;
    if (node.record?.type === "directory") await this.#below(parent, node, node.record.id);
    await this.visitor.leave(node);
  }

  async #below(parent: Directory, node: Node, id: Buffer): Promise<void> {
    let fd: number | undefined;
    try {
      fd = openSync(node.path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      const prefix = `${parent.prefix}${node.stored}/`;
      const anew = prefix.length >= LONG_PATH;
      const xattrs = anew ? await XattrTree.load(throughDescriptor(fd)) : parent.xattrs;
      await this.#contents({ fd, id, place: node.place, xattrs, prefix: anew ? "" : prefix });
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      this.visitor.stray(node.place, new DamageError("unreadable", `cannot be read: ${messageOf(error)}`));
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }

  /** The node; with a damage more where another inode has its id. */
  #claimed(node: Node): Node {
    if (node.record === undefined) return node;
    const id = idText(node.record.id);
    const holder = this.#ids.get(id);
    if (holder === undefined) this.#ids.set(id, node.stats.ino);
    if (holder === undefined || holder === node.stats.ino) return node;
    const twice = new DamageError("duplicate-id", `another inode has the id ${id} too`);
    return { ...node, damage: [...node.damage, twice] };
  }
}
