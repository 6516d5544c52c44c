/** Looks at all of a volume and changes nothing. */

import { lstatSync } from "node:fs";
import { join } from "node:path";
import { idText } from "../reader/bytes.js";
import { type Node, sealedPlace } from "../reader/entry.js";
import { type DamageError, systemCode } from "../reader/errors.js";
import type { Volume } from "../reader/volume.js";
import { type Visitor, walk } from "../reader/walk.js";
import { type Contents, contentsOf, lostFinding } from "./contents.js";
import { type ControlFacts, controlFindings } from "./control.js";
import { findingAt, flaws, rawRecord, unusable } from "./entries.js";
import { type Finding, type Place, SET_ASIDE, unreadable } from "./finding.js";
import { type Claim, duplicates, home, staleBindings } from "./inodes.js";
import { LOST_AND_FOUND } from "./lost-found.js";
import { Outside } from "./outside.js";

export interface SurveyOptions {
  /** Opens every block of every file. */
  readonly deep: boolean;
  /** Told now and then how many inodes were looked at. */
  readonly onProgress?: (inodes: number) => void;
}

export interface Survey {
  /** In the order of the tree, what concerns the volume as a whole first. */
  readonly findings: readonly Finding[];
  readonly inodes: number;
}

/** Never throws for what is wrong with the volume; UserErrors and the system's errors of its root. */
export async function survey(volume: Volume, facts: ControlFacts, options: SurveyOptions): Promise<Survey> {
  const tree = new Tree(volume, options);
  await walk(volume, tree);
  await tree.outside.below(join(volume.backing, ".kmsfs", LOST_AND_FOUND));
  const control = await controlFindings(volume, facts, tree.symlinks());
  return { findings: [...control, ...tree.conclude()], inodes: tree.inodes };
}

/** A backing directory on the way down. */
interface Level {
  /** Where its entries can be reached. */
  readonly path: Buffer;
  readonly stored: string;
  readonly place: string;
  readonly id: Buffer;
}

class Tree implements Visitor {
  readonly outside: Outside;
  inodes = 0;
  readonly #findings: Finding[] = [];
  readonly #levels: Level[] = [];
  readonly #claims = new Map<string, Claim[]>();
  readonly #directories = new Map<string, { id: Buffer; path: readonly string[] }>();
  /** What is under a name that its record does not bind; its findings wait for all directories to be known. */
  readonly #misplaced: { node: Node; at: Place; finding: Finding }[] = [];
  /** Of files with several names. */
  readonly #contents = new Map<bigint, Contents>();
  readonly #symlinks = new Set<string>();

  constructor(
    private readonly volume: Volume,
    private readonly options: SurveyOptions,
  ) {
    this.outside = new Outside(volume);
  }

  /** Ids of every symlink that there is, in the tree and outside of it. */
  symlinks(): ReadonlySet<string> {
    return new Set([...this.#symlinks, ...this.outside.symlinks]);
  }

  conclude(): Finding[] {
    return [
      ...this.#findings,
      ...this.#misplaced.map((one) => this.#sentHome(one)),
      ...duplicates(this.#claims),
      ...staleBindings(this.volume, this.#claims, this.outside.inodes),
    ];
  }

  async enter(node: Node): Promise<boolean> {
    this.#counted();
    const root = this.#levels.length === 0;
    const at = this.#place(node);
    const bad = root ? undefined : unusable(this.volume, node, at);
    if (bad !== undefined) {
      this.#bad(node, at, bad);
      await this.outside.below(node.path);
      return false;
    }
    const id = root ? this.volume.id : node.record?.id;
    if (id === undefined) return false;
    if (root) this.#root(node, at);
    else this.#good(node, at, undefined);
    this.#directories.set(idText(id), { id, path: at.path });
    this.#levels.push({ path: node.path, stored: node.stored, place: root ? "" : node.place, id });
    return true;
  }

  async leave(): Promise<void> {
    this.#levels.pop();
  }

  async visit(node: Node): Promise<void> {
    this.#counted();
    const at = this.#place(node);
    if (node.type === "symlink" && node.record) this.#symlinks.add(idText(node.record.id));
    const bad = unusable(this.volume, node, at);
    if (bad !== undefined) {
      this.#bad(node, at, bad);
      return;
    }
    const contents = await this.#contentsOf(node, at);
    if (contents?.lost) {
      this.#bad(node, at, lostFinding(this.volume, node, at, contents.lost));
      return;
    }
    this.#good(node, at, contents);
  }

  stray(place: string, error: DamageError, stored?: string): void {
    if (error.code !== "foreign" || stored === undefined) {
      this.#findings.push(unreadable({ place, message: error.message }));
      return;
    }
    const stats = lstatSync(this.#path(stored), { bigint: true, throwIfNoEntry: false });
    if (stats === undefined) return;
    if (stats.dev !== this.volume.rootStats.dev) {
      const remedy = "unmount what is mounted there; nothing is done about it";
      this.#findings.push({
        kind: "other-file-system",
        severity: "damage",
        place,
        what: error.message,
        remedy,
      });
      return;
    }
    this.outside.seen(stats);
    const what = "it is nothing of this volume: no name of a volume looks like that";
    this.#aside(stored, stats.ino, { kind: "garbage", severity: "damage", place, what });
  }

  aside(stored: string, kind: "temporary" | "sidecar"): void {
    const stats = lstatSync(this.#path(stored), { bigint: true, throwIfNoEntry: false });
    if (stats === undefined) return;
    const place = `${this.#levels.at(-1)?.place ?? ""}/${sealedPlace(stored)}`;
    if (kind === "temporary") {
      this.outside.seen(stats);
      const what = "it was being made when the engine ended, and never got its name";
      this.#aside(stored, stats.ino, { kind: "temporary", severity: "leftover", place, what });
      return;
    }
    const entry = stored.replace(/\.name$/, "");
    if (lstatSync(this.#path(entry), { throwIfNoEntry: false }) !== undefined) return;
    const what = "it is the sidecar of a long name, and there is no such entry";
    this.#aside(stored, stats.ino, { kind: "name-sidecar", severity: "leftover", place, what });
  }

  #aside(stored: string, ino: bigint, finding: Omit<Finding, "remedy" | "action">): void {
    const at = { path: [...this.#here(), stored], ino };
    this.#findings.push({ ...finding, remedy: SET_ASIDE, action: { does: "set-aside", at } });
  }

  #counted(): void {
    this.inodes++;
    this.options.onProgress?.(this.inodes);
  }

  /** Names from the root to the directory that was entered last. */
  #here(): string[] {
    return this.#levels.slice(1).map(({ stored }) => stored);
  }

  #place(node: Node): Place {
    const path = this.#levels.length === 0 ? [] : [...this.#here(), node.stored];
    return { path, ino: node.stats.ino };
  }

  #path(stored: string): Buffer {
    const { path } = this.#levels.at(-1) ?? { path: Buffer.alloc(0) };
    return Buffer.concat([path, Buffer.from(`/${stored}`, "latin1")]);
  }

  #bad(node: Node, at: Place, finding: Finding): void {
    this.outside.seen(node.stats);
    if (finding.kind === "wrong-place") this.#misplaced.push({ node, at, finding });
    else this.#findings.push(finding);
  }

  #good(node: Node, at: Place, contents: Contents | undefined): void {
    const parent = this.#levels.at(-1);
    if (parent === undefined || node.record === undefined) return;
    const id = idText(node.record.id);
    const claims = this.#claims.get(id) ?? [];
    const known = claims.some((claim) => claim.node.stats.ino === node.stats.ino);
    const found = flaws(this.volume, node, at, parent.id);
    // What is wrong with the inode is said once, what is wrong with a name under each.
    this.#findings.push(...(known ? found.filter(({ kind }) => kind === "name-lost") : found));
    if (!known) this.#findings.push(...(contents?.findings ?? []));
    claims.push({ node, at, parentId: parent.id, commit: contents?.commit });
    this.#claims.set(id, claims);
  }

  async #contentsOf(node: Node, at: Place): Promise<Contents | undefined> {
    const { record, stats } = node;
    if (node.type !== "file" || record === undefined) return undefined;
    const known = this.#contents.get(stats.ino);
    if (known !== undefined) return known;
    const contents = await contentsOf(this.volume, node, record, at, this.options.deep);
    if (stats.nlink > 1n) this.#contents.set(stats.ino, contents);
    return contents;
  }

  #root(node: Node, at: Place): void {
    const record = node.damage.find(({ code }) => code === "record");
    if (record !== undefined) {
      const what = `${record.message}: no mount opens the volume`;
      const remedy = "writes it anew, with the mode 0700 and root as the owner, as of a new volume";
      const action = { does: "new-root-record", at, was: rawRecord(node) } as const;
      this.#findings.push(findingAt(node, ["root-record", "damage"], what, remedy, action));
      return;
    }
    this.#findings.push(
      ...flaws(this.volume, node, at, this.volume.id).filter(({ kind }) => kind !== "name-lost"),
    );
  }

  #sentHome({ node, at, finding }: { node: Node; at: Place; finding: Finding }): Finding {
    const to = home(this.volume.keys, node, this.#directories);
    if (to === undefined || this.#isThere(to)) return finding;
    const where = this.#directoryPlace(to.slice(0, -1));
    const remedy = `moves it back to ${where}, where its record says that it belongs`;
    return { ...finding, remedy, action: { does: "put-back", at, to } };
  }

  #isThere(path: readonly string[]): boolean {
    const below = Buffer.from(path.map((name) => `/${name}`).join(""), "latin1");
    try {
      const whole = Buffer.concat([Buffer.from(this.volume.backing), below]);
      return lstatSync(whole, { throwIfNoEntry: false }) !== undefined;
    } catch (error) {
      // A path too long to be looked at here: it is not taken for free.
      if (systemCode(error) === undefined) throw error;
      return true;
    }
  }

  #directoryPlace(path: readonly string[]): string {
    return path.length === 0 ? "/" : `the directory ${path.join("/")}`;
  }
}
