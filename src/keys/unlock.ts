/** Opens a volume's domain key by its slots: any one that opens is enough. */

import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../errors.js";
import { KmsFailure, mayPass } from "./aws-kms-errors.js";
import { keyfileProvider } from "./keyfile.js";
import { passphraseProvider, readPassphrase } from "./passphrase.js";
import type { DomainIdentity, Unwrapped } from "./provider.js";
import type { Slot } from "./slots.js";

export interface UnlockOptions {
  /** Only keyfile slots, with this file. */
  readonly keyfile?: string | undefined;
  /** Only passphrase slots, with this file. */
  readonly passphraseFile?: string | undefined;
  /** For all slots and all attempts together. Milliseconds. */
  readonly kmsTimeoutMs: number;
  /** KMS keys that may be asked; undefined: any. */
  readonly allowedKeyArns?: readonly string[] | undefined;
  /** Told, in one line, that no slot has opened and when it is tried again */
  readonly onWaiting?: ((line: string) => void) | undefined;
  /** Told of each slot that finally failed, in the end or before another one opened */
  readonly onFailed?: ((slot: Slot, error: UserError) => void) | undefined;
}

export interface Unlocked {
  /** 32 bytes; the caller wipes it. */
  readonly domainKey: Buffer;
  readonly slot: Slot;
  readonly requestId: string | undefined;
}

/** The first pause between two rounds, doubled after each up to the longest. Milliseconds. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;
/** No other round when less than this is left. Milliseconds. */
const LEAST_TURN = 1000;
/** What one of several KMS slots may take in the first round, doubled after each: a dead region leaves time for others. */
const FIRST_TURN = 5000;

/**
 * Tries the slots in order, and those whose failure may pass (network, throttling) in rounds until one opens or the
 * time is over. Throws the first failure that may pass, or the first, with those of the other slots in its message.
 */
export async function unlock(
  slots: readonly Slot[],
  identity: DomainIdentity,
  options: UnlockOptions,
): Promise<Unlocked> {
  const chosen = chosenSlots(slots, options);
  // Read once for all slots: standard input and pipes give it only once.
  const { passphraseFile } = options;
  const passphrase = passphraseFile === undefined ? undefined : await readPassphrase(passphraseFile);
  try {
    return await inRounds(chosen, identity, options, passphrase);
  } finally {
    passphrase?.fill(0);
  }
}

async function inRounds(
  slots: readonly Slot[],
  identity: DomainIdentity,
  options: UnlockOptions,
  passphrase: Buffer | undefined,
): Promise<Unlocked> {
  const deadline = performance.now() + options.kmsTimeoutMs;
  // Until the first turn has begun nothing of the time is used up: with one slot the message names what was asked for.
  let untouched = true;
  const left = (): number => (untouched ? options.kmsTimeoutMs : deadline - performance.now());
  const failures = new Map<Slot, UserError>();
  const tellFailures = (): void => {
    for (const [slot, error] of failures) options.onFailed?.(slot, error);
  };
  let round = slots;
  for (let rounds = 0; ; rounds += 1) {
    const again: Slot[] = [];
    for (const [i, slot] of round.entries()) {
      try {
        const turn = turnOf(round.slice(i), round.length > 1, rounds, left());
        untouched = false;
        const { domainKey, requestId } = await unwrap(slot, identity, options, turn, passphrase);
        failures.delete(slot);
        tellFailures();
        return { domainKey, slot, requestId };
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        keepFailure(failures, slot, error);
        if (error instanceof KmsFailure && mayPass(error)) again.push(slot);
      }
    }
    if (again.length === 0 || left() <= LEAST_TURN) break;
    await pause(rounds, left(), again, failures, options);
    round = again;
  }
  tellFailures();
  throw together([...failures.values()]);
}

/** Milliseconds for the first of these slots, of which the others in this round must get something too. */
function turnOf(slots: readonly Slot[], several: boolean, rounds: number, left: number): number {
  const asked = slots.filter((slot) => slot.provider === "aws-kms").length;
  const share = Math.max(left / Math.max(asked, 1), LEAST_TURN / 10);
  return Math.ceil(several ? Math.min(share, FIRST_TURN * 2 ** rounds) : share);
}

/** A time-out says less than what was known before it. */
function keepFailure(failures: Map<Slot, UserError>, slot: Slot, error: UserError): void {
  if (error.code !== "KmsTimeout" || !failures.has(slot)) failures.set(slot, error);
}

/** Waits before the next round, with jitter, so that a fleet that boots at once does not ask in step. */
async function pause(
  rounds: number,
  left: number,
  slots: readonly Slot[],
  failures: ReadonlyMap<Slot, UserError>,
  options: UnlockOptions,
): Promise<void> {
  const whole = Math.min(FIRST_PAUSE * 2 ** rounds, LONGEST_PAUSE);
  const ms = Math.min(whole * (0.5 + Math.random() / 2), left - LEAST_TURN);
  const why = slots.map((slot) => failures.get(slot)?.message ?? "").join("; also: ");
  options.onWaiting?.(`${why}; trying again for ${Math.ceil(left / 1000)} s (--kms-timeout)`);
  await sleep(ms);
}

/** One error for all slots. A failure that may pass decides the exit code: whoever started this can try later. */
function together(failures: readonly UserError[]): UserError {
  const first = failures.find((error) => mayPass(error)) ?? failures[0];
  if (first === undefined) return new UserError("WrongKey", "the volume has no slot that can be tried");
  if (failures.length === 1) return first;
  const said = failures.map((error) => error.message).join("; also: ");
  return new UserError(first.code, `no slot opened the volume: ${said}`, first.hint);
}

async function unwrap(
  slot: Slot,
  identity: DomainIdentity,
  options: UnlockOptions,
  timeoutMs: number,
  passphrase: Buffer | undefined,
): Promise<Unwrapped> {
  switch (slot.provider) {
    case "aws-kms": {
      // Loading the SDK takes a good part of a second: only where there is KMS to ask.
      const { awsKmsProvider } = await import("./aws-kms.js");
      return awsKmsProvider.unwrap(slot, identity, { timeoutMs });
    }
    case "keyfile":
      return keyfileProvider.unwrap(
        slot,
        identity,
        options.keyfile === undefined ? {} : { path: options.keyfile },
      );
    case "passphrase":
      // A copy: the provider wipes what it was given.
      return passphraseProvider.unwrap(slot, identity, {
        ...(options.passphraseFile === undefined ? {} : { path: options.passphraseFile }),
        ...(passphrase === undefined ? {} : { passphrase: Buffer.from(passphrase) }),
      });
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
