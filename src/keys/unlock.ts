/** Opens a volume's domain key by its slots: any one that opens is enough. */

import { UserError } from "../errors.js";
import { keyfileProvider } from "./keyfile.js";
import { passphraseProvider } from "./passphrase.js";
import type { DomainIdentity } from "./provider.js";
import type { Slot } from "./slots.js";

export interface UnlockOptions {
  /** Only keyfile slots, with this file. */
  readonly keyfile?: string | undefined;
  /** Only passphrase slots, with this file. */
  readonly passphraseFile?: string | undefined;
  readonly kmsTimeoutMs: number;
  /** KMS keys that may be asked; undefined: any. */
  readonly allowedKeyArns?: readonly string[] | undefined;
}

export interface Unlocked {
  /** 32 bytes; the caller wipes it. */
  readonly domainKey: Buffer;
  readonly slot: Slot;
}

/** Tries the slots in order. Throws the error of the first that failed, with those of the others in its message. */
export async function unlock(
  slots: readonly Slot[],
  identity: DomainIdentity,
  options: UnlockOptions,
): Promise<Unlocked> {
  const failures: UserError[] = [];
  for (const slot of chosenSlots(slots, options)) {
    try {
      return { domainKey: await unwrap(slot, identity, options), slot };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      failures.push(error);
    }
  }
  const [first, ...others] = failures;
  if (first === undefined) throw new UserError("WrongKey", "the volume has no slot that can be tried");
  if (others.length === 0) throw first;
  const also = others.map((error) => error.message).join("; also: ");
  throw new UserError(first.code, `no slot opened the volume: ${first.message}; also: ${also}`, first.hint);
}

async function unwrap(slot: Slot, identity: DomainIdentity, options: UnlockOptions): Promise<Buffer> {
  switch (slot.provider) {
    case "aws-kms": {
      // Loading the SDK takes a good part of a second: only where there is KMS to ask.
      const { awsKmsProvider } = await import("./aws-kms.js");
      return awsKmsProvider.unwrap(slot, identity, { timeoutMs: options.kmsTimeoutMs });
    }
    case "keyfile":
      return keyfileProvider.unwrap(
        slot,
        identity,
        options.keyfile === undefined ? {} : { path: options.keyfile },
      );
    case "passphrase":
      return passphraseProvider.unwrap(
        slot,
        identity,
        options.passphraseFile === undefined ? {} : { path: options.passphraseFile },
      );
  }
}

function chosenSlots(slots: readonly Slot[], options: UnlockOptions): readonly Slot[] {
  if (options.keyfile !== undefined) return ofProvider(slots, "keyfile", "--keyfile");
  if (options.passphraseFile !== undefined) return ofProvider(slots, "passphrase", "--passphrase-file");
  const automatic = slots.filter((slot) => slot.provider !== "passphrase");
  if (automatic.length === 0) {
    throw new UserError("Usage", "the volume opens with a passphrase", "give --passphrase-file FILE");
  }
  const { allowedKeyArns } = options;
  if (allowedKeyArns === undefined) return automatic;
  const allowed = automatic.filter(
    (slot) => slot.provider !== "aws-kms" || allowedKeyArns.includes(slot.keyArn),
  );
  if (allowed.length === 0) {
    const foreign = automatic.flatMap((slot) => (slot.provider === "aws-kms" ? [slot.keyArn] : []));
    throw new UserError(
      "PinMismatch",
      `volume.json names KMS keys that are not allowed here: ${foreign.join(", ")}`,
      "find out who changed it; if the key is right, name it with --kms-key ARN",
    );
  }
  return allowed;
}

function ofProvider(slots: readonly Slot[], provider: Slot["provider"], option: string): readonly Slot[] {
  const found = slots.filter((slot) => slot.provider === provider);
  if (found.length > 0) return found;
  const has = [...new Set(slots.map((slot) => slot.provider))].join(", ");
  throw new UserError("Usage", `the volume has no ${provider} slot, only ${has}`, `leave ${option} out`);
}
