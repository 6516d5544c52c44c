/** The directories of a volume, opened when they are asked for, and a bounded number of them kept open. */

import { closeSync, constants, openSync, readdirSync } from "node:fs";
import { dirname, posix } from "node:path";
import { FsError } from "../readonly-fuse/tree.js";
import {
  FOREIGN_NAME,
  isPartOfRoot,
  type Node,
  type OpenDirectory,
  openEntry,
  openEntryName,
  openRoot,
  sealedPlace,
  throughDescriptor,
} from "./entry.js";
import { collect, DamageError } from "./errors.js";
import { storedKind } from "./names.js";
import { shownNames } from "./shown-names.js";
import type { Volume } from "./volume.js";
import { XattrTree } from "./xattrs.js";

/** Directories open at once; more only while more are in use. */
const MOST_OPEN = 256;
/** What is remembered of all of them, as estimated here. */
const MOST_BYTES = 64 * 2 ** 20;
const NAME_BYTES = 400;
const NODE_BYTES = 3000;
/** Entries whose attributes are fetched together: programs ask for one after the other. */
const TOGETHER = 128;

export interface Listing extends OpenDirectory {
  readonly node: Node;
  /** Name as it is shown to the one in the backing directory, in the order of listing. */
  readonly names: ReadonlyMap<string, string>;
}

interface Held extends Listing {
  /** The backing names, in the order of `names`, and the place of each. */
  readonly order: readonly string[];
  readonly places: ReadonlyMap<string, number>;
  readonly nodes: Map<string, Node | Promise<void>>;
  users: number;
  bytes: number;
  closed: boolean;
}

/** Told what is damaged; the same again each time that it is met. */
export type OnDamage = (place: string, error: DamageError) => void;

export class Directories {
  /** Shown path to what is there, in the order of their last use, the oldest first. */
  readonly #held = new Map<string, Promise<Held>>();
  readonly #settled = new Map<string, Held>();

  constructor(
    private readonly volume: Volume,
    private readonly onDamage: OnDamage,
  ) {}

  /** Runs `work` with the directory at `path`. Rejects with FsError: ENOENT, ENOTDIR, EIO. */
  async with<T>(path: string, work: (listing: Listing) => T | Promise<T>): Promise<T> {
    const held = await this.#acquire(path);
    try {
      return await work(held);
    } finally {
      held.users--;
      this.#bound();
    }
  }

  /** Runs `work` with what stands at `path`; its backing inode can be reached meanwhile. */
  async withNode<T>(path: string, work: (node: Node) => T | Promise<T>): Promise<T> {
    if (path === "/") return this.with("/", ({ node }) => work(node));
    return this.with(dirname(path), async (listing) =>
      work(await this.#node(listing as Held, posix.basename(path))),
    );
  }

  close(): void {
    for (const held of this.#settled.values()) drop(held);
    this.#settled.clear();
    this.#held.clear();
  }

  async #acquire(path: string): Promise<Held> {
    for (;;) {
      const known = this.#held.get(path);
      const pending = known ?? this.#open(path);
      this.#held.delete(path);
      this.#held.set(path, pending);
      if (known === undefined) {
        pending.then(
          (held) => this.#settled.set(path, held),
          () => this.#held.delete(path),
        );
      }
      const held = await pending;
      if (held.closed) continue;
      held.users++;
      return held;
    }
  }

  async #open(path: string): Promise<Held> {
    if (path === "/") {
      const fd = openSync(this.volume.backing, constants.O_RDONLY | constants.O_DIRECTORY);
      return closedOnError(fd, async () => {
        const attributes = await XattrTree.of(throughDescriptor(fd), ["."]);
        const node = openRoot(this.volume, fd, attributes.get("."));
        for (const error of node.damage) this.onDamage(node.place, error);
        return this.#list(node, { fd, id: this.volume.id, place: "" });
      });
    }
    return this.withNode(path, (node) => {
      if (node.type !== "directory") throw new FsError("ENOTDIR");
      const { id } = usable(node);
      const fd = openSync(node.path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      return closedOnError(fd, async () => this.#list(node, { fd, id, place: node.place }));
    });
  }

  #list(node: Node, directory: OpenDirectory): Held {
    const entries: { stored: string; name: Buffer | undefined }[] = [];
    for (const stored of readdirSync(throughDescriptor(directory.fd), "latin1").sort()) {
      const kind = storedKind(stored);
      if (kind === "temporary" || kind === "sidecar") continue;
      const place = `${directory.place}/${sealedPlace(stored)}`;
      if (kind === "foreign") {
        if (!isPartOfRoot(directory, stored)) this.onDamage(place, new DamageError("foreign", FOREIGN_NAME));
        continue;
      }
      const damage: DamageError[] = [];
      const long = kind === "long";
      const name = collect(damage, () => openEntryName(this.volume, directory, stored, long));
      for (const error of damage) this.onDamage(place, error);
      entries.push({ stored, name });
    }
    const names = shownNames(entries);
    const order = [...names.values()];
    const places = new Map(order.map((stored, i) => [stored, i]));
    const bytes = NAME_BYTES * order.length;
    return { ...directory, node, names, order, places, nodes: new Map(), users: 0, bytes, closed: false };
  }

  /** Rejects with FsError ENOENT, also for what turns out to be no entry. */
  async #node(listing: Held, name: string): Promise<Node> {
    const stored = listing.names.get(name);
    if (stored === undefined) throw new FsError("ENOENT");
    for (;;) {
      const known = listing.nodes.get(stored);
      if (known instanceof Promise) await known;
      else if (known !== undefined) return known;
      else await this.#fetch(listing, stored);
      const now = listing.nodes.get(stored);
      if (now === undefined) throw new FsError("EIO");
    }
  }

  /** Opens `stored` and the entries behind it. Those that nothing can be said of stay away. */
  #fetch(listing: Held, stored: string): Promise<void> {
    const from = listing.places.get(stored) ?? 0;
    const batch = listing.order.slice(from, from + TOGETHER).filter((other) => !listing.nodes.has(other));
    const work = XattrTree.of(throughDescriptor(listing.fd), batch).then((attributes) => {
      for (const other of batch) {
        listing.nodes.delete(other);
        const node = this.#openEntry(listing, other, attributes);
        if (node !== undefined) listing.nodes.set(other, node);
      }
      listing.bytes += NODE_BYTES * batch.length;
      this.#bound();
    });
    for (const other of batch) listing.nodes.set(other, work);
    work.catch(() => {
      for (const other of batch) listing.nodes.delete(other);
    });
    return work;
  }

  #openEntry(listing: Held, stored: string, attributes: XattrTree): Node | undefined {
    const long = storedKind(stored) === "long";
    const damage: DamageError[] = [];
    let node: Node | undefined;
    try {
      node = collect(damage, () => openEntry(this.volume, listing, stored, long, attributes.get(stored)));
    } catch (error) {
      damage.push(new DamageError("unreadable", `cannot be read: ${String(error)}`));
    }
    const place = node?.place ?? `${listing.place}/${sealedPlace(stored)}`;
    for (const error of [...damage, ...(node?.damage ?? [])]) this.onDamage(place, error);
    return node;
  }

  #bound(): void {
    let bytes = 0;
    for (const held of this.#settled.values()) bytes += held.bytes;
    for (const [path] of this.#held) {
      if (bytes <= MOST_BYTES && this.#settled.size <= MOST_OPEN) return;
      const held = this.#settled.get(path);
      if (held === undefined || held.users > 0) continue;
      bytes -= held.bytes;
      this.#settled.delete(path);
      this.#held.delete(path);
      drop(held);
    }
    // One directory alone may have more entries than there is room for.
    for (const held of this.#settled.values()) {
      if (bytes <= MOST_BYTES) return;
      for (const [stored, node] of held.nodes) {
        if (node instanceof Promise) continue;
        held.nodes.delete(stored);
        held.bytes -= NODE_BYTES;
        bytes -= NODE_BYTES;
      }
    }
  }
}

/** The record of an inode that may be served. Throws FsError (EIO) for one that is not the entry's, or not authentic. */
export function usable(node: Node): NonNullable<Node["record"]> {
  const { record, type, damage } = node;
  const foreign = damage.some(({ code }) => code === "binding" || code === "type");
  if (record === undefined || record.type !== type || foreign) throw new FsError("EIO");
  return record;
}

function drop(held: Held): void {
  held.closed = true;
  closeSync(held.fd);
}

async function closedOnError<T>(fd: number, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
