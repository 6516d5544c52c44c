import { readlinkSync } from "node:fs";
import type { DamageError } from "./errors.js";
import { openXattr, type Xattr } from "./names.js";
import type { InodeRecord } from "./record.js";
import type { Volume } from "./volume.js";
import { collect, type Node } from "./walk.js";

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
