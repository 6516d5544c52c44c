/** What wraps a domain key in a new slot, as the operator names it: for a new volume, and for one more slot. */

import { realpath, unlink } from "node:fs/promises";
import { dirname, relative, resolve } from "node:path";
import { UserError } from "../errors.js";
import { keyfileProvider, makeKeyfile } from "../keys/keyfile.js";
import { passphraseProvider } from "../keys/passphrase.js";
import type { DomainIdentity } from "../keys/provider.js";
import { isPlainText, type NewSlot, type Slot } from "../keys/slots.js";

export type KeySource =
  | {
      readonly provider: "aws-kms";
      /** ARN, key id, alias/NAME or alias ARN */
      readonly keyId: string;
      readonly context: Readonly<Record<string, string>>;
      readonly timeoutMs: number;
    }
  | { readonly provider: "keyfile"; readonly path: string }
  | { readonly provider: "passphrase"; readonly path: string }
  /** A passphrase that was made here; `passphrase` is wiped by its use */
  | { readonly provider: "passphrase"; readonly passphrase: Buffer };

type Unnumbered = Slot extends infer S ? (S extends Slot ? NewSlot<S> : never) : never;

export interface NewKey {
  readonly slot: Unnumbered;
  /** 32 bytes; the caller wipes it. */
  readonly domainKey: Buffer;
  readonly requestId?: string | undefined;
}

/** A new domain key and its first slot. Throws UserError. */
export async function newKey(source: KeySource, identity: DomainIdentity): Promise<NewKey> {
  switch (source.provider) {
    case "aws-kms":
      return (await kms()).create(identity, source);
    case "keyfile":
      return keyfileProvider.create(identity, source);
    case "passphrase":
      return passphraseProvider.create(identity, source);
  }
}

/** One more slot for a domain key, which stays the caller's. Throws UserError. */
export async function wrapKey(
  source: KeySource,
  domainKey: Buffer,
  identity: DomainIdentity,
): Promise<Omit<NewKey, "domainKey">> {
  switch (source.provider) {
    case "aws-kms":
      return (await kms()).wrap(domainKey, identity, source);
    case "keyfile":
      return keyfileProvider.wrap(domainKey, identity, source);
    case "passphrase":
      return passphraseProvider.wrap(domainKey, identity, source);
  }
}

/** Loading the SDK takes a good part of a second: only where there is KMS to ask. */
async function kms() {
  return (await import("../keys/aws-kms.js")).awsKmsProvider;
}

/**
 * Makes the key file when there is none; its path then, which `undo` removes. `backing` is absolute and resolved. A key
 * beside what it seals protects nothing: refused. Throws UserError.
 */
export async function keyfileFor(
  source: KeySource,
  backing: string,
  undo: (() => Promise<unknown>)[],
): Promise<string | undefined> {
  if (!("path" in source)) return undefined;
  const path = resolve(source.path);
  // The slot remembers the path, and a header with control characters in it is refused ever after.
  if (source.provider === "keyfile" && !isPlainText(path)) {
    throw new UserError("KeyFile", `the path ${path} has control characters`, "keep the key file elsewhere");
  }
  const place = await realpath(dirname(path)).catch(() => dirname(path));
  if (!relative(backing, place).startsWith("..")) {
    throw new UserError(
      "KeyFile",
      `${path} lies inside the backing directory`,
      "keep the key off the volume",
    );
  }
  if (source.provider === "passphrase" || !(await makeKeyfile(path))) return undefined;
  undo.push(() => unlink(path));
  return path;
}
