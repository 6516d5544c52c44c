import { readlinkSync } from "node:fs";
import type { Node } from "./entry.js";
import { collect, type DamageError } from "./errors.js";
import { openXattr, type Xattr } from "./names.js";
import type { Attributes, InodeRecord } from "./record.js";
import type { Volume } from "./volume.js";

const RECORDS = ["user.kmsfs.new", "trusted.kmsfs.new"];

/** The two ACLs of an inode (docs/format.md §8), by the names of their attributes. */
export const ACCESS_ACL = "system.posix_acl_access";
export const DEFAULT_ACL = "system.posix_acl_default";

/**
 * The extended attributes of an inode as an application set them; what does not open goes to `damage`. ACLs only of an
 * inode that is as its record says: others could let somebody in.
 */
export function openXattrs(volume: Volume, node: Node, record: InodeRecord, damage: DamageError[]): Xattr[] {
  const owned = node.type === "file" || node.type === "directory";
  const prefix = owned ? "user.kmsfs." : "trusted.kmsfs.";
  const xattrs: Xattr[] = [];
  for (const [stored, value] of node.xattrs) {
    if (stored === ACCESS_ACL || stored === DEFAULT_ACL) {
      const asRecorded = !node.damage.some(({ code }) => code === "attributes");
      if (asRecorded) xattrs.push({ name: Buffer.from(stored), value });
    } else if (stored.startsWith(prefix) && !RECORDS.includes(stored)) {
      const xattr = collect(damage, () =>
        openXattr(volume.keys, record.id, stored.slice(prefix.length), value),
      );
      if (xattr) xattrs.push(xattr);
    }
  }
  return xattrs;
}

/** The target of a symlink; undefined, and `damage` added, when it does not open. */
export function openSymlink(
  volume: Volume,
  node: Node,
  record: InodeRecord,
  damage: DamageError[],
): Buffer | undefined {
  return collect(damage, () => volume.target(record, readlinkSync(node.path, "latin1")));
}

/** As on the inode, or as in the record where the two do not agree. */
export function recordedAttributes(node: Node): Attributes {
  const { stats } = node;
  const recorded = disagreeing(node);
  if (recorded) return recorded.attributes;
  return { mode: Number(stats.mode & 0o7777n), uid: Number(stats.uid), gid: Number(stats.gid) };
}

/** Whether the group's bits among `recordedAttributes` are the mask of an ACL, and not for the group to have. */
export function hasAccessAcl(node: Node): boolean {
  const recorded = disagreeing(node);
  const held = recorded ? (recorded.aclHash ?? recorded.oldAclHash) : node.xattrs.get(ACCESS_ACL);
  return held !== undefined;
}

/** The record of an inode that is not as its record says. */
function disagreeing({ record, damage }: Node): InodeRecord | undefined {
  return damage.some((error) => error.code === "attributes") ? record : undefined;
}
