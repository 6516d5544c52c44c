/** Changes to a backing directory that can be written down. */

import { chmodSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { put, removeXattr, setXattr } from "../tamper/backing.js";

/** `path` is relative to the backing directory, `bytes` hexadecimal. */
export type Change = { readonly path: string } & (
  | { readonly at: number; readonly bytes: string }
  | { readonly length: number }
  | { readonly to: string }
  | { readonly removed: true }
  | { readonly mode: number }
  | { readonly content: string }
  /** Absent: removed */
  | { readonly xattr: string; readonly value?: string }
);

export function change(backing: string, one: Change): void {
  const path = join(backing, one.path);
  if ("at" in one) put(path, one.at, Buffer.from(one.bytes, "hex"));
  else if ("length" in one) truncateSync(path, one.length);
  else if ("to" in one) renameSync(path, join(backing, one.to));
  else if ("removed" in one) rmSync(path, { recursive: true });
  else if ("mode" in one) chmodSync(path, one.mode);
  else if ("content" in one) writeFileSync(path, one.content);
  else if (one.value === undefined) removeXattr(path, one.xattr);
  else setXattr(path, one.xattr, one.value);
}
