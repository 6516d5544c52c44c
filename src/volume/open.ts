/** Opens a volume for whoever needs its key: header, pin, key, commitment and MAC, in that order. */

import { realpath, stat } from "node:fs/promises";
import { Auditor } from "../audit/auditor.js";
import type { AuditEvent } from "../audit/event.js";
import { AuditSession } from "../audit/line.js";
import { auditSettings } from "../audit/settings.js";
import { forbidCoreDumps } from "../core-dumps.js";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { KmsFailure } from "../keys/aws-kms-errors.js";
import { HeaderDamage } from "../keys/parse.js";
import { type Slot, slotsWithout } from "../keys/slots.js";
import { type Unlocked, unlock } from "../keys/unlock.js";
import { authenticates, commits, sealHeader, type VolumeHeader } from "./header.js";
import type { VolumePaths } from "./paths.js";
import { checkClaims, checkPin, type Pin, pinOf, pinPath, pinsClaiming, readPin, updatePin } from "./pin.js";
import { findVolume, ReplacedControl, readHeader, replaceHeader, underHeaderLock } from "./store.js";

export interface OpenOptions {
  /** `mount` and `change` write or raise the pin and put a damaged volume.json back; `read` changes nothing anywhere. */
  readonly purpose: "mount" | "change" | "read";
  readonly keyfile?: string | undefined;
  readonly passphraseFile?: string | undefined;
  /** Milliseconds, for all slots and attempts together */
  readonly kmsTimeoutMs: number;
  /** ARNs of the only KMS keys that may be asked, instead of the pinned ones */
  readonly kmsKeys?: readonly string[] | undefined;
  /** Take volume.json.bak */
  readonly usePreviousHeader?: boolean | undefined;
  /** Do without this slot: it is to go */
  readonly exceptSlot?: number | undefined;
  /** Given the header as soon as it is read: nothing of it is verified yet */
  readonly onHeader?: ((header: VolumeHeader) => void) | undefined;
  /** Told, in one line, that KMS does not answer yet */
  readonly onWaiting?: ((line: string) => void) | undefined;
  /** Told, in one line, what went wrong beside the opening */
  readonly onWarning?: ((line: string) => void) | undefined;
}

export interface OpenedVolume {
  readonly header: VolumeHeader;
  /** The domain key, 32 bytes. The caller hands it on and wipes it. */
  readonly dk: Buffer;
  readonly slot: Slot;
  /** The volume's audit chain, signing; the caller closes it. */
  readonly audit: Auditor;
  /** For the operator, one line each */
  readonly warnings: readonly string[];
}

/**
 * Throws UserError: not a volume, newer format, damaged, pin, what the key's provider says, or AuditFailed. Leaves no key
 * behind then. That it was opened, or tried, is in the audit chain when this ends.
 */
export async function openVolume(backing: string, options: OpenOptions): Promise<OpenedVolume> {
  forbidCoreDumps();
  const paths = await findVolume(backing).catch(async (error: unknown) => {
    if (error instanceof ReplacedControl) await tellReplaced(backing, error, options);
    throw error;
  });
  const place = await realpath(backing);
  const previous = options.usePreviousHeader === true;
  let header: VolumeHeader;
  try {
    header = await headerOf(paths, previous);
  } catch (error) {
    if (error instanceof UserError) await tellOfUnreadable(error, place, options);
    throw error;
  }
  options.onHeader?.(header);
  const audit = new Auditor(auditSettings(), header.uuid, options.onWarning ?? (() => undefined));
  const failed: AuditEvent[] = [];
  let opened: Unlocked;
  let pin: Pin | undefined;
  try {
    pin = await readPin(header.uuid);
    // Whoever changes slots meanwhile writes the header, then raises the pin: one read after the pin cannot be older.
    if (!previous && pin !== undefined && header.generation < pin.lowestGeneration) {
      header = await headerOf(paths, false);
    }
    if (pin === undefined) await checkClaims(place, header);
    else {
      if (!previous) await refuseChanged(paths, header, pin);
      checkPin(pin, header, previous);
    }
    opened = await unlockHeader(header, pin, options, (slot, error) =>
      failed.push(unlockFailed(error, options, slot)),
    );
  } catch (error) {
    if (failed.length === 0 && error instanceof UserError && error.code !== "Usage") {
      const event = refused(error, options);
      // Of a volume in the place of another one, the other one's chain has to tell.
      if (pin !== undefined || !(await tellThatOf(place, header.uuid, event, options))) failed.push(event);
    }
    await audit.tell(...failed);
    throw previous ? error : await pointedAtPrevious(error, header, paths);
  }
  const { domainKey: dk, slot } = opened;
  try {
    const why = tampering(header, dk);
    if (why !== undefined) {
      await audit.tell(...failed, { event: "tamper", outcome: "detected", detail: { header: why } });
      throw await damaged(paths, previous, why);
    }
    audit.sign(AuditSession.of(dk, header.uuid));
    await audit.record(...failed, unlocked(opened, options));
    const found = { header, dk, slot, audit, warnings: [] };
    if (options.purpose === "read") return found;
    if (previous) return { ...found, ...(await putBackPrevious(backing, found)) };
    return { ...found, warnings: await raisePin(pin, header, slot, place) };
  } catch (error) {
    dk.fill(0);
    await audit.close();
    throw error;
  }
}

/**
 * A header that cannot be read names no volume that could be believed: the event belongs to the one that this host had
 * there, if any.
 */
async function tellOfUnreadable(error: UserError, place: string, options: OpenOptions): Promise<void> {
  await tellThatOf(place, "", refused(error, options), options);
}

/** Tells in the chain of the volume that this host had at `place`, other than `exceptUuid`. Whether it had one. */
async function tellThatOf(
  place: string,
  exceptUuid: string,
  event: AuditEvent,
  options: OpenOptions,
): Promise<boolean> {
  const [known] = await pinsClaiming(place, exceptUuid);
  if (known === undefined) return false;
  const audit = new Auditor(auditSettings(), known.uuid, options.onWarning ?? (() => undefined));
  await audit.tell(event);
  await audit.close();
  return true;
}

/**
 * Makes volume.json out of the volume.json.bak that `opened` is: a new generation, the pin raised, a line in the audit
 * chain. Throws UserError when it cannot be written.
 */
export async function putBackPrevious(
  backing: string,
  { header, dk, slot, audit }: OpenedVolume,
): Promise<Pick<OpenedVolume, "header" | "warnings">> {
  const [paths, place] = [await findVolume(backing), await realpath(backing)];
  const pin = await readPin(header.uuid);
  const current = await putBack(header, dk, pin, paths);
  const warnings = await raisePin(pin, current, slot, place);
  const [from, generation] = [header.generation, current.generation];
  warnings.push(`volume.json was put back from generation ${from}, as generation ${generation}`);
  const detail = { header: "put back", from, generation };
  await audit.tell({ event: "recovery", outcome: "ok", detail });
  return { header: current, warnings };
}

/** Into the chain of the volume that this host last had there, if it knows one. */
async function tellReplaced(backing: string, { is }: ReplacedControl, options: OpenOptions): Promise<void> {
  for (const pin of await pinsClaiming(await realpath(backing))) {
    const audit = new Auditor(auditSettings(), pin.uuid, options.onWarning ?? (() => undefined));
    await audit.tell({
      event: "tamper",
      outcome: "detected",
      detail: { control: `${is} in the place of .kmsfs` },
    });
    await audit.close();
  }
}

/** Why a header is not what somebody with the key wrote, or undefined. */
function tampering(header: VolumeHeader, dk: Buffer): string | undefined {
  if (!commits(header, dk)) return "it commits to another key than its slot holds";
  if (!authenticates(header, dk)) return "its MAC is wrong: it was changed without the volume's key";
  return undefined;
}

function unlocked({ slot, requestId }: Unlocked, { purpose }: OpenOptions): AuditEvent {
  return { event: "unlock", outcome: "ok", ...auditedSlot(slot), requestId, detail: { purpose } };
}

function unlockFailed(error: UserError, { purpose }: OpenOptions, slot?: Slot): AuditEvent {
  return {
    event: "unlock",
    outcome: "failed",
    code: error.code,
    ...(slot === undefined ? {} : auditedSlot(slot)),
    requestId: error instanceof KmsFailure ? error.requestId : undefined,
    detail: { purpose, message: error.message },
  };
}

/** Why a header was not opened: whatever is damaged may have been changed. */
function refused(error: UserError, options: OpenOptions): AuditEvent {
  if (error.code !== "Damaged") return unlockFailed(error, options);
  return { event: "tamper", outcome: "detected", detail: { header: error.message } };
}

/** What the audit chain says of a slot. */
export function auditedSlot(slot: Slot): Pick<AuditEvent, "slot" | "keyArn"> {
  return { slot: slot.id, keyArn: slot.provider === "aws-kms" ? slot.keyArn : undefined };
}

/** The header of a volume for listing it: parsed, its MAC unverified. */
export async function readUnverifiedHeader(backing: string, previous: boolean): Promise<VolumeHeader> {
  return headerOf(await findVolume(backing), previous);
}

async function unlockHeader(
  header: VolumeHeader,
  pin: Pin | undefined,
  options: OpenOptions,
  onFailed: (slot: Slot, error: UserError) => void,
): Promise<Unlocked> {
  const { exceptSlot } = options;
  const slots = exceptSlot === undefined ? header.slots : slotsWithout(header.slots, exceptSlot);
  try {
    return await unlock(
      slots,
      { uuid: header.uuid, domain: "volume" },
      {
        keyfile: options.keyfile,
        passphraseFile: options.passphraseFile,
        kmsTimeoutMs: options.kmsTimeoutMs,
        allowedKeyArns: options.kmsKeys ?? pin?.keyArns,
        onWaiting: options.onWaiting,
        onFailed,
      },
    );
  } catch (error) {
    if (exceptSlot === undefined || !(error instanceof UserError)) throw error;
    const what = `slot ${exceptSlot} stays: no other one opens the volume: ${error.message}`;
    throw new UserError(error.code, what, error.hint);
  }
}

async function headerOf(paths: VolumePaths, previous: boolean): Promise<VolumeHeader> {
  try {
    const header = await readHeader(previous ? paths.previousHeader : paths.header);
    if (header !== undefined) return header;
  } catch (error) {
    if (error instanceof HeaderDamage) throw await damaged(paths, previous, error.message);
    throw error;
  }
  throw await damaged(paths, previous, "it is missing");
}

/**
 * A volume.json that commits to another key than the pin, beside a copy that does not: the file was changed, and the
 * volume is no other one. Without its pin it would open no better.
 */
async function refuseChanged(paths: VolumePaths, header: VolumeHeader, pin: Pin): Promise<void> {
  if (header.commitment === pin.commitment) return;
  const copy = await readHeader(paths.previousHeader).catch(() => undefined);
  if (copy?.uuid !== pin.uuid || copy.commitment !== pin.commitment) return;
  throw await damaged(paths, false, `it commits to another key than its copy and ${pinPath(pin.uuid)}`);
}

const NO_PREVIOUS = "put .kmsfs/volume.json back from a backup or snapshot";

/** The error for a damaged header, which says whether the previous generation is there and how to take it. */
async function damaged(paths: VolumePaths, previous: boolean, why: string): Promise<UserError> {
  if (previous)
    return new UserError("Damaged", `${paths.previousHeader} is damaged too: ${why}`, NO_PREVIOUS);
  return new UserError("Damaged", `${paths.header} is damaged: ${why}`, await previousHint(paths));
}

async function previousHint(paths: VolumePaths): Promise<string> {
  try {
    const header = await readHeader(paths.previousHeader);
    if (header === undefined) return `there is no previous generation; ${NO_PREVIOUS}`;
    const written = (await stat(paths.previousHeader)).mtime.toISOString();
    return (
      `generation ${header.generation} of ${written} is in ${paths.previousHeader}: ` +
      "if you know why this one is damaged, take that with --use-previous-header"
    );
  } catch {
    return `the previous generation cannot be used either; ${NO_PREVIOUS}`;
  }
}

/**
 * A volume.json that parses and yet opens with no key may be damaged: where the copy of the same generation differs,
 * the message says so.
 */
async function pointedAtPrevious(error: unknown, header: VolumeHeader, paths: VolumePaths): Promise<unknown> {
  // What is damaged says so already.
  if (!(error instanceof UserError) || error.code === "Damaged") return error;
  const previous = await readHeader(paths.previousHeader).catch(() => undefined);
  if (previous === undefined || previous.generation !== header.generation) return error;
  if (JSON.stringify(previous) === JSON.stringify(header)) return error;
  return new UserError(
    error.code,
    `${error.message}; volume.json differs from its copy ${paths.previousHeader}`,
    `one of the two was changed: ${await previousHint(paths)}`,
  );
}

/** Writes a generation taken from volume.json.bak back as a new one, so that the pin's lowest still holds. */
async function putBack(
  header: VolumeHeader,
  dk: Buffer,
  pin: Pin | undefined,
  paths: VolumePaths,
): Promise<VolumeHeader> {
  const { mac: _, ...body } = header;
  const generation = Math.max(header.generation + 1, pin?.lowestGeneration ?? 0);
  const bytes = sealHeader({ ...body, generation }, dk);
  try {
    await underHeaderLock(paths, () => replaceHeader(paths, bytes, "kept"));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      errnoOf(error) === "ENOSPC" ? "NoSpace" : "Backing",
      `${paths.header} cannot be written: ${messageOf(error)}`,
      "make the backing directory writable",
    );
  }
  return { ...body, generation, mac: JSON.parse(bytes.toString("utf8")).mac };
}

/** Pins the volume on its first mount here, or raises the pin to what was just verified. Returns warnings. */
async function raisePin(
  pin: Pin | undefined,
  header: VolumeHeader,
  slot: Slot,
  place: string,
): Promise<string[]> {
  try {
    await updatePin(header.uuid, (now) =>
      now === undefined ? pinOf(header, place) : raised(now, header, slot, place),
    );
  } catch (error) {
    return [
      `the volume is not pinned on this host: ${pinPath(header.uuid)} cannot be written: ${messageOf(error)}`,
    ];
  }
  return pin === undefined
    ? [`first mount of volume ${header.uuid} on this host: pinned in ${pinPath(header.uuid)}`]
    : [];
}

/** A key that the operator named and that opened the volume is allowed from now on. */
function raised(pin: Pin, header: VolumeHeader, slot: Slot, place: string): Pin {
  const used = slot.provider === "aws-kms" && !pin.keyArns.includes(slot.keyArn) ? [slot.keyArn] : [];
  return {
    ...pin,
    keyArns: [...pin.keyArns, ...used],
    lowestGeneration: Math.max(pin.lowestGeneration, header.generation),
    backing: place,
  };
}
