/** What fsck finds, and what it can do about it. */

import type { Problem } from "../reader/verify.js";

export type Severity =
  /** Part of a normal life: a mount, or the next use, settles it. No finding for the exit status. */
  | "expected"
  /** What a crash left over. Nothing of the volume is missing. */
  | "leftover"
  /** Something of the volume is missing, in the wrong place, or not authentic. */
  | "damage";

export type Kind = (typeof KINDS)[number];

export const KINDS = [
  "log-recovery",
  "log-tail",
  "growing",
  "probe",
  "header-temporary",
  "segment-temporary",
  "segment-missing",
  "temporary",
  "name-sidecar",
  "target-sidecar",
  "stale-binding",
  "record-aside",
  "garbage",
  "other-file-system",
  "unreadable",
  "directory-id",
  "record",
  "root-record",
  "wrong-type",
  "wrong-place",
  "duplicate-id",
  "attributes",
  "acl",
  "name-lost",
  "target-lost",
  "xattr",
  "header",
  "too-long",
  "too-short",
  "block",
  "log-older",
  "log",
  "segment-size",
  "control",
  "volume-header",
  "header-copy",
] as const;

/** Names in backing directories from the root on, one character a byte; and the inode that is meant. */
export interface Place {
  readonly path: readonly string[];
  readonly ino: bigint;
}

/** How the volume is repaired. Each can be done again after a crash within it. */
export type Action =
  /** Moves it to lost+found. */
  | { readonly does: "set-aside"; readonly at: Place; readonly record?: Buffer | undefined }
  /** Moves it to where its record says that it belongs; its sidecar too. */
  | { readonly does: "put-back"; readonly at: Place; readonly to: readonly string[] }
  /** Gives an entry whose name is lost another name. */
  | { readonly does: "rename"; readonly at: Place; readonly directoryId: Buffer; readonly record: Buffer }
  /** Writes the record without bindings that no name has, or puts a whole one in its place. */
  | { readonly does: "write-record"; readonly at: Place; readonly record: Buffer; readonly was: Buffer }
  | { readonly does: "new-root-record"; readonly at: Place; readonly was: Buffer | undefined }
  | { readonly does: "set-attributes"; readonly at: Place; readonly attributes: FileAttributes }
  | { readonly does: "remove-xattr"; readonly at: Place; readonly name: string; readonly value: Buffer }
  /** What is behind `length` goes to lost+found. */
  | { readonly does: "cut"; readonly at: Place; readonly length: bigint }
  /** Zeros up to `length`. */
  | { readonly does: "extend"; readonly at: Place; readonly length: bigint }
  | { readonly does: "copy-header" }
  | { readonly does: "put-header-back" };

export interface FileAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface Finding {
  readonly kind: Kind;
  readonly severity: Severity;
  /** Plaintext path, or what else is concerned; printable. */
  readonly place: string;
  /** 32 hex digits */
  readonly id?: string;
  /** Number of the data block */
  readonly block?: string;
  /** What it is and what it means, one sentence without a full stop. */
  readonly what: string;
  /** With an action what repair does; else what settles it, or what the operator can do. */
  readonly remedy: string;
  readonly action?: Action;
}

export const RESTORE = "restore it from a snapshot";
export const SET_ASIDE = "moves it to lost+found";

/** For what stands in the way of an answer, from the reader's own words. */
export function unreadable({ place, message }: Pick<Problem, "place" | "message">): Finding {
  const remedy = "run fsck as root, look at the disk, and run it again";
  return { kind: "unreadable", severity: "damage", place, what: message, remedy };
}
