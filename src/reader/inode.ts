import { readlinkSync } from "node:fs";
import type { DamageError } from "./errors.js";
import { openXattr, type Xattr } from "./names.js";
import type { InodeRecord } from "./record.js";
import type { Volume } from "./volume.js";
import { collect, type Node } from "./walk.js";

const RECORDS = ["user.kmsfs.new", "trusted.kmsfs.new"];

/** The extended attributes of an inode as an application set them; what does not open goes to `damage`. */
export function openXattrs(volume: Volume, node: Node, record: InodeRecord, damage: DamageError[]): Xattr[] {
  const owned = node.type === "file" || node.type === "directory";
  const prefix = owned ? "user.kmsfs." : "trusted.kmsfs.";
  const xattrs: Xattr[] = [];
  for (const [stored, value] of node.xattrs) {
    if (stored.startsWith("system.posix_acl_")) {
      xattrs.push({ name: Buffer.from(stored), value });
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
