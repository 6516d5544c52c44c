/** Changes to a volume's key slots: add, remove, rotate; mounted or not. The engine has the key and does not notice. */

import { realpath } from "node:fs/promises";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { rewrap } from "../keys/aws-kms.js";
import { KmsFailure } from "../keys/aws-kms-errors.js";
import type { DomainIdentity } from "../keys/provider.js";
import { type AwsKmsSlot, type Slot, slotsWithout, slotWith } from "../keys/slots.js";
import {
  authenticates,
  commits,
  MAX_HEADER_BYTES,
  MAX_SLOTS,
  sealHeader,
  type VolumeHeader,
} from "./header.js";
import { type KeySource, keyfileFor, wrapKey } from "./key-source.js";
import { auditedSlot, type OpenedVolume, type OpenOptions, openVolume } from "./open.js";
import { checkPin, pinPath, readPin, updatePin } from "./pin.js";
import { findVolume, type Previous, readHeader, replaceHeader, underHeaderLock } from "./store.js";

export interface SlotChange {
  readonly header: VolumeHeader;
  /** The slot that was added, rotated (as it is now) or removed */
  readonly slot: Slot;
  /** The key file, when it did not exist and was made */
  readonly madeKeyfile?: string | undefined;
  /** For the operator, one line each */
  readonly warnings: readonly string[];
}

/** The volume, and how its key is opened */
export interface SlotOptions extends Omit<OpenOptions, "purpose" | "exceptSlot"> {
  readonly backing: string;
}

export interface RotateOptions extends SlotOptions {
  readonly id: number;
  /** undefined: the KMS key that the slot has, wrapped anew */
  readonly source: KeySource | undefined;
  /** The new pairs; undefined: those that the slot has */
  readonly context: Readonly<Record<string, string>> | undefined;
  /** undefined: the one that the slot has */
  readonly label: string | undefined;
}

/** Wraps the volume's key once more. Throws UserError; whatever it made is gone again then. */
export async function addSlot(
  options: SlotOptions & { readonly source: KeySource; readonly label: string },
): Promise<SlotChange> {
  const { source, label } = options;
  const undo: (() => Promise<unknown>)[] = [];
  return withKey("slot-add", options, undefined, async (volume) => {
    try {
      const madeKeyfile = await keyfileFor(source, await realpath(options.backing), undo);
      const { slot: content, requestId } = await wrapKey(source, volume.dk, identityOf(volume));
      const trial: Slot = { ...content, id: 1, label, created: new Date().toISOString() };
      const warnings = await tryNewSlot(trial, volume, options, "may-be-denied");
      let added: Slot = trial;
      const header = await changeSlots(options.backing, volume, "replaced", (current, generation) => {
        if (current.length >= MAX_SLOTS) {
          throw new UserError("Usage", `the volume has ${MAX_SLOTS} slots already`, "remove one first");
        }
        // Never an id that was in use before: generations only grow, and no generation adds two slots.
        const id = Math.max(generation, ...current.map((slot) => slot.id + 1));
        added = { ...trial, id };
        return [...current, added];
      });
      return {
        header: header.header,
        slot: added,
        madeKeyfile,
        requestId,
        warnings: [...warnings, ...header.warnings],
      };
    } catch (error) {
      for (const step of undo.reverse()) await step().catch(() => undefined);
      throw error;
    }
  });
}

/** Removes a slot, when another one opens the volume. Throws UserError. */
export async function removeSlot(options: SlotOptions & { readonly id: number }): Promise<SlotChange> {
  return withKey("slot-remove", options, options.id, async (volume) => {
    let removed: Slot | undefined;
    const { header, warnings } = await changeSlots(options.backing, volume, "new", (current) => {
      removed = slotWith(current, options.id);
      return slotsWithout(current, options.id);
    });
    return {
      header,
      slot: removed ?? slotWith(volume.header.slots, options.id),
      warnings,
    };
  });
}

/** Wraps the key anew in a slot that stays what it is: by KMS itself, or under a new file or passphrase. Throws UserError. */
export async function rotateSlot(options: RotateOptions): Promise<SlotChange> {
  const undo: (() => Promise<unknown>)[] = [];
  return withKey("slot-rotate", options, undefined, async (volume) => {
    try {
      const old = slotWith(volume.header.slots, options.id);
      const madeKeyfile =
        options.source === undefined
          ? undefined
          : await keyfileFor(options.source, await realpath(options.backing), undo);
      const { slot: content, requestId } = await rotated(old, volume, options);
      const slot: Slot = {
        ...content,
        id: old.id,
        label: options.label ?? old.label,
        created: new Date().toISOString(),
      };
      const tried = await tryNewSlot(slot, volume, options, "has-to-open");
      const { header, warnings } = await changeSlots(options.backing, volume, "new", (current) => {
        if (JSON.stringify(slotWith(current, old.id)) !== JSON.stringify(old)) {
          throw new UserError("InUse", `slot ${old.id} was changed meanwhile`, "look at it and try again");
        }
        return current.map((other) => (other.id === old.id ? slot : other));
      });
      return { header, slot, madeKeyfile, requestId, warnings: [...tried, ...warnings] };
    } catch (error) {
      for (const step of undo.reverse()) await step().catch(() => undefined);
      throw error;
    }
  });
}

async function rotated(old: Slot, volume: OpenedVolume, options: RotateOptions) {
  const { source, context, kmsTimeoutMs: timeoutMs } = options;
  if (old.provider !== (source?.provider ?? "aws-kms")) {
    const wants = { "aws-kms": "a KMS key", keyfile: "--new-keyfile", passphrase: "--new-passphrase-file" };
    throw new UserError(
      "Usage",
      `slot ${old.id} is a ${old.provider} slot and rotates with ${wants[old.provider]}`,
      "to exchange it for one of another kind: kmsfs key add, then kmsfs key remove",
    );
  }
  if (old.provider !== "aws-kms") {
    if (source === undefined) throw new UserError("Usage", "no new key named");
    return wrapKey(source, volume.dk, identityOf(volume));
  }
  const keyId = source?.provider === "aws-kms" ? { keyId: source.keyId } : {};
  const pairs = context === undefined ? {} : { context };
  return rewrap(old, identityOf(volume), { timeoutMs, ...keyId, ...pairs });
}

type Change = Omit<SlotChange, "warnings"> & {
  readonly warnings: string[];
  readonly requestId?: string | undefined;
};

/**
 * Opens the volume, without the slot `except`, writes what `work` did into the audit chain, and wipes the key. Under the
 * audit policy `require` the line of the unlocking stands there before anything is changed.
 */
async function withKey(
  event: "slot-add" | "slot-remove" | "slot-rotate",
  options: SlotOptions,
  except: number | undefined,
  work: (volume: OpenedVolume) => Promise<Change>,
): Promise<SlotChange> {
  const volume = await openVolume(options.backing, { ...options, purpose: "change", exceptSlot: except });
  const { audit } = volume;
  try {
    const { requestId, ...change } = await work(volume);
    const { slot, header } = change;
    const detail = { provider: slot.provider, label: slot.label, generation: header.generation };
    await audit.tell({ event, outcome: "ok", ...auditedSlot(slot), requestId, detail });
    return { ...change, warnings: [...volume.warnings, ...change.warnings] };
  } catch (error) {
    const told = error instanceof UserError ? error : notWritten(options.backing, error);
    await audit.tell({
      event,
      outcome: "failed",
      code: told.code,
      slot: "id" in options && typeof options.id === "number" ? options.id : undefined,
      requestId: error instanceof KmsFailure ? error.requestId : undefined,
      detail: { message: told.message },
    });
    throw told;
  } finally {
    volume.dk.fill(0);
    await audit.close();
  }
}

function notWritten(backing: string, error: unknown): UserError {
  const code = errnoOf(error) === "ENOSPC" ? "NoSpace" : "Backing";
  const hint = "nothing was changed; check the directory and its file system";
  return new UserError(code, `the key slots of ${backing} cannot be changed: ${messageOf(error)}`, hint);
}

function identityOf({ header }: OpenedVolume): DomainIdentity {
  return { uuid: header.uuid, domain: "volume" };
}

/**
 * Opens what a KMS slot will hold, before it is written: a wrapped key that does not open is found out now, and not when
 * it is needed. Who may wrap and not unwrap is told so when a slot is added, and refused where one is replaced.
 */
async function tryNewSlot(
  slot: Slot,
  volume: OpenedVolume,
  options: SlotOptions,
  denied: "may-be-denied" | "has-to-open",
): Promise<string[]> {
  if (slot.provider !== "aws-kms") return [];
  let key: Buffer;
  try {
    key = await unwrapOnce(slot, volume, options);
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== "KmsDenied" || denied === "has-to-open") throw error;
    return [`the new slot could not be tried: ${error.message}; try kmsfs key check where it will be used`];
  }
  const same = key.equals(volume.dk);
  key.fill(0);
  if (same) return [];
  throw new UserError(
    "KmsCiphertext",
    `${slot.keyArn} gave another key back than it was given`,
    "nothing was changed; check AWS_ENDPOINT_URL_KMS",
  );
}

async function unwrapOnce(slot: AwsKmsSlot, volume: OpenedVolume, options: SlotOptions): Promise<Buffer> {
  const { awsKmsProvider } = await import("../keys/aws-kms.js");
  const { domainKey } = await awsKmsProvider.unwrap(slot, identityOf(volume), {
    timeoutMs: options.kmsTimeoutMs,
  });
  return domainKey;
}

/**
 * Writes the header with other slots, as a new generation of what is there now: it may have changed since the volume was
 * opened. The pin allows new keys before the header names them, and lets go of old ones after: killed at any step, the
 * volume opens on this host.
 */
async function changeSlots(
  backing: string,
  { header: { uuid }, dk }: OpenedVolume,
  previous: Previous,
  change: (slots: readonly Slot[], generation: number) => readonly Slot[],
): Promise<{ header: VolumeHeader; warnings: string[] }> {
  const paths = await findVolume(backing);
  return underHeaderLock(paths, async () => {
    const current = await readHeader(paths.header);
    if (current?.uuid !== uuid || !commits(current, dk) || !authenticates(current, dk)) {
      throw new UserError("Damaged", `${paths.header} was changed without the volume's key`, "look at it");
    }
    const pin = await readPin(uuid);
    if (pin !== undefined) checkPin(pin, current, false);
    const { mac: _, ...body } = current;
    const generation = current.generation + 1;
    const slots = change(current.slots, generation);
    const bytes = sealHeader({ ...body, generation, slots }, dk);
    if (bytes.length > MAX_HEADER_BYTES) {
      throw new UserError("Usage", `volume.json would exceed ${MAX_HEADER_BYTES} bytes`, "remove a slot");
    }
    await allowKeys(uuid, slots);
    await replaceHeader(paths, bytes, previous);
    const header = { ...body, generation, slots, mac: JSON.parse(bytes.toString("utf8")).mac as string };
    return { header, warnings: await settlePin(header, current) };
  });
}

function keyArnsOf(slots: readonly Slot[]): string[] {
  return slots.flatMap((slot) => (slot.provider === "aws-kms" ? [slot.keyArn] : []));
}

async function allowKeys(uuid: string, slots: readonly Slot[]): Promise<void> {
  try {
    await updatePin(
      uuid,
      (pin) => pin && { ...pin, keyArns: [...new Set([...pin.keyArns, ...keyArnsOf(slots)])] },
    );
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      "Privilege",
      `the pin ${pinPath(uuid)} cannot be written: ${messageOf(error)}`,
      "nothing was changed; make it writable, this host would not trust the new slot",
    );
  }
}

/** Raises the pin to the new generation; keys that only the old one named are no longer trusted. */
async function settlePin(header: VolumeHeader, old: VolumeHeader): Promise<string[]> {
  const kept = keyArnsOf(header.slots);
  const gone = keyArnsOf(old.slots).filter((arn) => !kept.includes(arn));
  try {
    await updatePin(
      header.uuid,
      (pin) =>
        pin && {
          ...pin,
          keyArns: pin.keyArns.filter((arn) => !gone.includes(arn)),
          lowestGeneration: Math.max(pin.lowestGeneration, header.generation),
        },
    );
    return [];
  } catch (error) {
    return [`the pin ${pinPath(header.uuid)} is not up to date: ${messageOf(error)}`];
  }
}
