/** Where this host keeps what it knows of snapshots: a manifest for each, a journal for each push that is not done. */

import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { messageOf, UserError } from "../errors.js";

/** /var/lib/kmsfs/snapshots, or below where KMSFS_STATE says. */
export function snapshotState(): string {
  return join(resolve(process.env.KMSFS_STATE || "/var/lib/kmsfs"), "snapshots");
}

/** Makes the directory, private to root: digests tell who has the plain data of an unencrypted image something. */
export function makeSnapshotState(): string {
  const dir = snapshotState();
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new UserError("Privilege", `${dir}: ${messageOf(error)}`, "run as root, or set KMSFS_STATE");
  }
  return dir;
}

export function manifestPath(snapshot: string): string {
  return join(snapshotState(), `${snapshot}.manifest`);
}

/** One push at a time of one source; another parent is another push. */
export function journalPath(source: string, parent: string | undefined): string {
  const name = createHash("sha256")
    .update(`${source}\0${parent ?? ""}`)
    .digest("hex")
    .slice(0, 16);
  return journalFile(name);
}

export function journalFile(name: string): string {
  return join(snapshotState(), `${name}.push`);
}
