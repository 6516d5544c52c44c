/** What an entry of the tree is worth, by its name, its record and its inode: everything but contents. */

import { idText } from "../reader/bytes.js";
import type { Node } from "../reader/entry.js";
import { collect, type DamageError } from "../reader/errors.js";
import { ACCESS_ACL, DEFAULT_ACL, openSymlink, openXattrs } from "../reader/inode.js";
import { sameBytes } from "../reader/keys.js";
import { aclHash, openRecord } from "../reader/record.js";
import type { Volume } from "../reader/volume.js";
import {
  type Action,
  type Finding,
  type Kind,
  type Place,
  RESTORE,
  SET_ASIDE,
  unreadable,
} from "./finding.js";

/** Name of the xattr that holds an inode's record (docs/format.md §4). */
export function recordXattr(type: Node["type"]): "user.kmsfs" | "trusted.kmsfs" {
  return type === "file" || type === "directory" ? "user.kmsfs" : "trusted.kmsfs";
}

/** The record's bytes as they stand on the inode, whole or not. */
export function rawRecord(node: Node): Buffer | undefined {
  const name = recordXattr(node.type);
  return node.xattrs.get(name) ?? node.xattrs.get(`${name}.new`);
}

export function findingAt(
  node: Node,
  [kind, severity]: readonly [Kind, Finding["severity"]],
  what: string,
  remedy: string,
  action?: Action,
): Finding {
  const id = node.record === undefined ? {} : { id: idText(node.record.id) };
  return { kind, severity, place: node.place, ...id, what, remedy, ...(action && { action }) };
}

function damageOf(node: Node, ...codes: DamageError["code"][]): DamageError | undefined {
  return node.damage.find(({ code }) => codes.includes(code));
}

/**
 * Why an entry cannot stay where it is: nobody can read anything of it there, by the mount or by an export. Undefined for one
 * that can.
 */
export function unusable(volume: Volume, node: Node, at: Place): Finding | undefined {
  const aside: Action = { does: "set-aside", at, record: rawRecord(node) };
  const damage = (kind: Kind, what: string, remedy: string = SET_ASIDE) =>
    findingAt(node, [kind, "damage"], what, remedy, aside);
  const hidden = damageOf(node, "unreadable");
  if (hidden) return unreadable({ place: node.place, message: hidden.message });
  const record = damageOf(node, "record");
  if (record && node.name === undefined) {
    return damage(
      "garbage",
      "it is nothing of this volume: neither its name nor a record of it is authentic",
    );
  }
  if (record && node.type === "directory") {
    const what = `${record.message}: the directory's id is lost, and with it the names of all that is in it`;
    return damage("directory-id", what, `${SET_ASIDE} as a whole; ${RESTORE}`);
  }
  if (record) {
    return damage(
      "record",
      `${record.message}: what it holds cannot be told to be this file's`,
      `${SET_ASIDE}; ${RESTORE}`,
    );
  }
  const type = damageOf(node, "type");
  if (type) return damage("wrong-type", type.message, `${SET_ASIDE}; ${RESTORE}`);
  if (damageOf(node, "binding")) {
    return damage(
      "wrong-place",
      "the inode does not belong under this name: it was moved, or copied from elsewhere",
    );
  }
  if (node.type !== "symlink" || node.record === undefined) return undefined;
  const target: DamageError[] = [];
  openSymlink(volume, node, node.record, target);
  const [lost] = target;
  return lost && damage("target-lost", lost.message, `${SET_ASIDE}; ${RESTORE}`);
}

/** What is wrong with an entry that can stay. */
export function flaws(volume: Volume, node: Node, at: Place, directoryId: Buffer): Finding[] {
  const { record } = node;
  const raw = rawRecord(node);
  if (record === undefined || raw === undefined) return [];
  const found: Finding[] = [];
  const name = damageOf(node, "name", "sidecar");
  if (name) {
    const action: Action = { does: "rename", at, directoryId, record: authenticRecord(volume, node) ?? raw };
    const what = `${name.message}: who knows its name can open it on the mount, and nobody can list it`;
    found.push(
      findingAt(
        node,
        ["name-lost", "damage"],
        what,
        "gives it another name, recovered.*, in its directory",
        action,
      ),
    );
  }
  const attributes = damageOf(node, "attributes");
  if (attributes) found.push(attributesFinding(node, at, attributes));
  const xattrs: DamageError[] = [];
  openXattrs(volume, node, record, xattrs);
  if (xattrs.length > 0) found.push(...xattrFindings(volume, node, at));
  return [...found, ...recordAside(volume, node, at)];
}

/** The bytes of the record that counts. */
export function authenticRecord(volume: Volume, node: Node): Buffer | undefined {
  const name = recordXattr(node.type);
  return [node.xattrs.get(name), node.xattrs.get(`${name}.new`)].find(
    (bytes) => bytes !== undefined && collect([], () => openRecord(volume.keys, bytes)) !== undefined,
  );
}

function attributesFinding(node: Node, at: Place, { message }: DamageError): Finding {
  const { record, stats } = node;
  const wanted = record?.attributes;
  const key = ["attributes", "damage"] as const;
  if (record === undefined || wanted === undefined) return findingAt(node, key, message, RESTORE);
  const mode = Number(stats.mode & 0o7777n);
  const same = mode === wanted.mode && Number(stats.uid) === wanted.uid && Number(stats.gid) === wanted.gid;
  const settable = node.type === "file" || node.type === "directory" || node.type === "fifo";
  if (!same && (settable || mode === wanted.mode)) {
    const what = `${message}: reading it is refused`;
    return findingAt(node, key, what, "sets mode and owner to what the record says", {
      does: "set-attributes",
      at,
      attributes: wanted,
    });
  }
  if (!same) {
    return findingAt(node, key, message, `chmod it to ${wanted.mode.toString(8)} in the backing directory`);
  }
  const none = record.aclHash === undefined || record.oldAclHash?.equals(aclHash(undefined, undefined));
  const [name, value] = [...node.xattrs].find(([name]) => name === ACCESS_ACL || name === DEFAULT_ACL) ?? [];
  if (none && name !== undefined && value !== undefined) {
    const what = `${message}: it has one and should have none`;
    return findingAt(node, ["acl", "damage"], what, "removes the ACL", {
      does: "remove-xattr",
      at,
      name,
      value,
    });
  }
  return findingAt(
    node,
    ["acl", "damage"],
    `${message}: the record tells whether an ACL is the right one, and not which one it was`,
    `set the right one with setfacl in the backing directory, or ${RESTORE}`,
  );
}

function xattrFindings(volume: Volume, node: Node, at: Place): Finding[] {
  const { record } = node;
  if (record === undefined) return [];
  const prefix = `${recordXattr(node.type)}.`;
  return [...node.xattrs].flatMap(([name, value]) => {
    if (!name.startsWith(prefix)) return [];
    const damage: DamageError[] = [];
    const alone: Node = { ...node, xattrs: new Map([[name, value]]) };
    openXattrs(volume, alone, record, damage);
    const [error] = damage;
    if (error === undefined) return [];
    const action: Action = { does: "remove-xattr", at, name, value };
    return [findingAt(node, ["xattr", "damage"], error.message, "removes the attribute", action)];
  });
}

/** A record that replaces another is written as `.new` first: the crash was before `.new` went (docs/format.md §4). */
function recordAside(volume: Volume, node: Node, at: Place): Finding[] {
  const aside = node.xattrs.get(`${recordXattr(node.type)}.new`);
  const whole = authenticRecord(volume, node);
  if (aside === undefined || whole === undefined) return [];
  const main = node.xattrs.get(recordXattr(node.type));
  const action: Action = { does: "write-record", at, record: whole, was: main ?? aside };
  const other = main !== undefined && sameBytes(main, whole) ? "whole" : "not";
  const what = `its record was being replaced: one stands aside, the other is ${other === "whole" ? "whole" : "not whole"}`;
  return [findingAt(node, ["record-aside", "leftover"], what, "leaves the one that counts", action)];
}
