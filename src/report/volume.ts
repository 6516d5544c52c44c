/** Everything that is known of one volume. */

import { auditKey } from "../audit/line.js";
import type { AuditSettings } from "../audit/settings.js";
import { UserError } from "../errors.js";
import type { Slot } from "../keys/slots.js";
import { readScrub } from "../mount/scrub.js";
import type { MountStatus } from "../mount/status.js";
import type { VolumeHeader } from "../volume/header.js";
import { type OpenOptions, openVolume } from "../volume/open.js";
import { checkPin, pinPath, readPin } from "../volume/pin.js";
import { type Found, headerAt } from "./discover.js";
import type {
  EventFacts,
  HeaderFacts,
  KeyCheck,
  MountFacts,
  PinFacts,
  ScrubFacts,
  SlotFacts,
  VolumeFacts,
} from "./facts.js";
import { trailOf } from "./trail.js";

const DAY_MS = 86_400_000;
const SCRUB_FINDINGS_SHOWN = 20;

/** `open`: how its key is opened; undefined: it is not. Throws UserError (Privilege). */
export async function volumeFacts(
  found: Found,
  settings: AuditSettings,
  open: OpenOptions | undefined,
  now: Date,
): Promise<VolumeFacts> {
  const { uuid, mounts } = found;
  // The chain tells where it was, when nothing else does.
  const places =
    found.places.length > 0 ? found.places : placesFrom((await trailOf(settings, uuid, undefined)).events);
  const at = await headerAt(uuid, places);
  const { check, key } = await openKey(at.backing, open);
  try {
    const { facts: trail, events } = await trailOf(settings, uuid, key);
    const header = "header" in at ? at.header : undefined;
    return {
      uuid,
      backing: at.backing,
      header: header === undefined ? null : headerFacts(header, events, now),
      headerProblem: "why" in at ? at.why : null,
      key: check,
      pin: await pinFacts(uuid, header),
      mounts: mounts.map(mountFacts),
      trail,
      scrub: scrubFacts(uuid, mounts),
    };
  } finally {
    key?.fill(0);
  }
}

function placesFrom(events: readonly EventFacts[]): string[] {
  const backing = events.findLast(({ event }) => event === "mount" || event === "init")?.detail.backing;
  return typeof backing === "string" ? [backing] : [];
}

/** Verifies volume.json by opening the volume's key; the audit key then, which the caller wipes. */
async function openKey(
  backing: string | null,
  options: OpenOptions | undefined,
): Promise<{ check: KeyCheck; key?: Buffer }> {
  if (options === undefined || backing === null) return { check: { state: "not-asked" } };
  try {
    const { header, dk, slot, audit } = await openVolume(backing, options);
    try {
      return { check: { state: "verified", slot: slot.id }, key: auditKey(dk, header.uuid) };
    } finally {
      dk.fill(0);
      await audit.close();
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { check: { state: "failed", code: error.code, why: error.line } };
  }
}

function headerFacts(header: VolumeHeader, events: readonly EventFacts[], now: Date): HeaderFacts {
  const { format, blockSize, features, log, generation, created, uuid } = header;
  const slots = header.slots.map((slot) => slotFacts(slot, uuid, events, now));
  return { format, blockSize, features, log, generation, created, slots };
}

/** The wrapped key stays out. */
function slotFacts(slot: Slot, uuid: string, events: readonly EventFacts[], now: Date): SlotFacts {
  const { id, provider, label, created } = slot;
  const last = (name: EventFacts["event"]) =>
    events.findLast((e) => e.event === name && e.outcome === "ok" && e.slot === id) ?? null;
  const kms = provider === "aws-kms" ? slot : undefined;
  return {
    id,
    provider,
    label,
    wrapped: created,
    days: Math.max(0, Math.floor((now.getTime() - Date.parse(created)) / DAY_MS)),
    keyArn: kms?.keyArn ?? null,
    region: kms?.region ?? null,
    account: kms?.keyArn.split(":")[4] ?? null,
    // As KMS sees it: the kmsfs: pairs are computed at each use (docs/format.md §3).
    context: kms === undefined ? null : { ...kms.context, "kmsfs:volume": uuid, "kmsfs:domain": "volume" },
    path: provider === "keyfile" ? slot.path : null,
    scrypt: provider === "passphrase" ? { n: slot.n, r: slot.r, p: slot.p } : null,
    lastRotated: last("slot-rotate"),
    lastOpened: last("unlock"),
  };
}

async function pinFacts(uuid: string, header: VolumeHeader | undefined): Promise<PinFacts> {
  const path = pinPath(uuid);
  const facts = { path, why: null, keyArns: [], lowestGeneration: null };
  try {
    const pin = await readPin(uuid);
    if (pin === undefined) return { ...facts, state: "absent" };
    const { keyArns, lowestGeneration } = pin;
    const known = { ...facts, keyArns, lowestGeneration };
    if (header === undefined) return { ...known, state: "not-compared" };
    const why = differs(() => checkPin(pin, header, false));
    return { ...known, state: why === null ? "matches" : "differs", why };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { ...facts, state: "unusable", why: error.message };
  }
}

function differs(check: () => void): string | null {
  try {
    check();
    return null;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error.message;
  }
}

function mountFacts(mount: MountStatus): MountFacts {
  const { dir, condition, since, options, readOnly, memoryLocked, tamperEvents, warnings } = mount;
  return { dir, condition, since, options, readOnly, memoryLocked, tamperEvents, warnings };
}

function scrubFacts(uuid: string, mounts: readonly MountStatus[]): ScrubFacts | null {
  const scrub = mounts.find((mount) => mount.scrub !== null)?.scrub ?? readScrub(uuid);
  if (scrub == null) return null;
  const { state, started, ended, counts, findings, findingCount, message, lastDone } = scrub;
  return {
    state,
    started,
    ended,
    files: counts.files,
    blocks: counts.blocks,
    bytes: counts.bytes,
    findingCount,
    // Not `path`: that is in clear.
    findings: findings
      .slice(0, SCRUB_FINDINGS_SHOWN)
      .map(({ place, file, detail }) => `${place ?? `file ${file}`}: ${detail}`),
    message,
    lastDone: lastDone === null ? null : { ended: lastDone.ended, findingCount: lastDone.findingCount },
  };
}
