/** What the names of a volume say together: ids that two inodes have, bindings that no name holds, places to go back to. */

import type { Node } from "../reader/entry.js";
import { sameBytes, type VolumeKeys } from "../reader/keys.js";
import { binding, isBound } from "../reader/record.js";
import type { Volume } from "../reader/volume.js";
import { authenticRecord, findingAt, rawRecord } from "./entries.js";
import { type Finding, type Place, SET_ASIDE } from "./finding.js";
import { recordWithBindings } from "./record-bytes.js";

/** A name in the tree that its inode's record binds. */
export interface Claim {
  readonly node: Node;
  readonly at: Place;
  readonly parentId: Buffer;
  /** Of a file's header; undefined for what has none. */
  readonly commit: bigint | undefined;
}

/** Inodes by id, each with its names. */
export type ClaimsById = ReadonlyMap<string, readonly Claim[]>;

/** Two inodes with one id: the one whose header is of the higher commit stays, else the first. */
export function duplicates(claims: ClaimsById): Finding[] {
  const found: Finding[] = [];
  for (const [id, all] of claims) {
    const inodes = new Set(all.map(({ node }) => node.stats.ino));
    if (inodes.size < 2) continue;
    const stays = newest(all);
    for (const { node, at } of all) {
      if (node.stats.ino === stays?.node.stats.ino) continue;
      const what = `another inode has the id ${id} too: one is a copy of the other, this one not the newer`;
      const action = { does: "set-aside", at, record: rawRecord(node) } as const;
      found.push(findingAt(node, ["duplicate-id", "damage"], what, SET_ASIDE, action));
    }
  }
  return outsideOfDirectories(found);
}

function newest(claims: readonly Claim[]): Claim | undefined {
  return claims.reduce((best, claim) => ((claim.commit ?? -1n) > (best.commit ?? -1n) ? claim : best));
}

/** What is in a directory that goes as a whole is no finding of its own. */
function outsideOfDirectories(findings: readonly Finding[]): Finding[] {
  const places = findings.map(({ action }) => (action?.does === "set-aside" ? action.at.path : []));
  return findings.filter((_, i) => {
    const path = places[i] ?? [];
    return !places.some(
      (other) => other.length < path.length && other.length > 0 && other.every((name, k) => name === path[k]),
    );
  });
}

/**
 * Bindings that no name has any more: a crash within a rename or a link left them, and for as long as they stand the inode
 * would be taken for genuine there. Of inodes alone whose every name was seen; `elsewhere` are those with others.
 */
export function staleBindings(volume: Volume, claims: ClaimsById, elsewhere: ReadonlySet<bigint>): Finding[] {
  const found: Finding[] = [];
  for (const all of claims.values()) {
    const [first] = all;
    const record = first?.node.record;
    if (first === undefined || record === undefined) continue;
    const { node, at } = first;
    const oneInode = all.every((claim) => claim.node.stats.ino === node.stats.ino);
    const everyName = node.type === "directory" || BigInt(all.length) === node.stats.nlink;
    if (!oneInode || !everyName || elsewhere.has(node.stats.ino)) continue;
    const held = all.map(({ parentId, node: { stored } }) => binding(volume.keys, parentId, stored));
    const live = record.bindings.filter((one) => held.some((other) => sameBytes(one, other)));
    const whole = authenticRecord(volume, node);
    if (live.length === record.bindings.length || whole === undefined) continue;
    const count = record.bindings.length - live.length;
    const what = `its record binds it to ${count === 1 ? "a name" : `${count} names`} that it has not: a crash came between`;
    found.push(
      findingAt(node, ["stale-binding", "leftover"], what, "takes that out of the record", {
        does: "write-record",
        at,
        record: recordWithBindings(volume.keys, whole, live),
        was: whole,
      }),
    );
  }
  return found;
}

/** Where in the volume an inode's record says that it belongs, under the stored name that it has. */
export function home(
  keys: VolumeKeys,
  node: Node,
  directories: ReadonlyMap<string, { readonly id: Buffer; readonly path: readonly string[] }>,
): readonly string[] | undefined {
  const { record } = node;
  if (record === undefined) return undefined;
  for (const { id, path } of directories.values()) {
    if (isBound(keys, record, id, node.stored)) return [...path, node.stored];
  }
  return undefined;
}
