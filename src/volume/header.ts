/** volume.json (docs/format.md §3): strict parsing, the canonical bytes, MAC and commitment. No I/O. */

import { createHmac, timingSafeEqual } from "node:crypto";
import canonicalize from "canonicalize";
import { UserError } from "../errors.js";
import { subkey } from "../keys/domain.js";
import { decodeBase64, exactMembers, HeaderDamage, integerIn, isRecord, timestamp } from "../keys/parse.js";
import { parseSlot, type Slot } from "../keys/slots.js";

export const FORMAT = 1;
export const BLOCK_SIZES = [4096, 16384, 65536] as const;
export const FEATURES: readonly string[] = ["trusted-records"];
/** volume.json is read whole; 64 slots with the largest blobs and contexts stay below. */
export const MAX_HEADER_BYTES = 2 ** 20;
export const MAX_SLOTS = 64;

export const LOG_BOUNDS = {
  minSegmentSize: 2 ** 22,
  maxSegmentSize: 2 ** 30,
  minSegments: 4,
  maxSegments: 256,
} as const;

export interface LogParameters {
  /** bytes, a multiple of 4096 */
  readonly segmentSize: number;
  readonly segments: number;
}

/** A volume's header without its MAC. */
export interface HeaderBody {
  readonly format: typeof FORMAT;
  readonly kind: "files";
  readonly uuid: string;
  readonly blockSize: (typeof BLOCK_SIZES)[number];
  readonly features: readonly string[];
  readonly log: LogParameters;
  readonly generation: number;
  readonly created: string;
  readonly commitment: string;
  readonly slots: readonly Slot[];
}

export interface VolumeHeader extends HeaderBody {
  /** base64 of HMAC-SHA-256 */
  readonly mac: string;
}

const MEMBERS = [
  "format",
  "kind",
  "uuid",
  "blockSize",
  "features",
  "log",
  "generation",
  "created",
  "commitment",
  "slots",
  "mac",
];
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** RFC 8785 (JCS), UTF-8. */
function canonicalBytes(value: unknown): Buffer {
  const text = canonicalize(value);
  if (text === undefined) throw new HeaderDamage("it has no canonical form");
  return Buffer.from(text, "utf8");
}

/**
 * A header from the bytes of volume.json. Nothing in it is to be believed before `authenticate`.
 * Throws HeaderDamage, or UserError (NewerFormat) for what a newer kmsfs wrote.
 */
export function parseHeader(bytes: Buffer): VolumeHeader {
  const raw = parseObject(bytes);
  if (typeof raw.format === "number" && Number.isSafeInteger(raw.format) && raw.format > FORMAT) {
    throw newer(`it has format ${raw.format}, this kmsfs knows format ${FORMAT}`);
  }
  if (raw.format !== FORMAT) throw new HeaderDamage(`format is not ${FORMAT}`);
  if (typeof raw.kind !== "string") throw new HeaderDamage("kind is not a string");
  if (raw.kind !== "files") throw newer(`it is of another kind than "files"`);
  const features = parseFeatures(raw.features);
  if (!isCanonical(raw, bytes)) throw new HeaderDamage("it is not in canonical form (RFC 8785)");
  exactMembers(raw, MEMBERS, "the header");
  if (typeof raw.uuid !== "string" || !UUID.test(raw.uuid))
    throw new HeaderDamage("uuid is not a lower-case uuid");
  const blockSize = BLOCK_SIZES.find((size) => size === raw.blockSize);
  if (blockSize === undefined) throw new HeaderDamage(`blockSize is none of ${BLOCK_SIZES.join(", ")}`);
  return {
    format: FORMAT,
    kind: "files",
    uuid: raw.uuid,
    blockSize,
    features,
    log: parseLog(raw.log),
    generation: integerIn(raw.generation, "generation", 1, Number.MAX_SAFE_INTEGER - 1),
    created: timestamp(raw.created, "created"),
    commitment: digest(raw.commitment, "commitment"),
    slots: parseSlots(raw.slots),
    mac: digest(raw.mac, "mac"),
  };
}

function parseObject(bytes: Buffer): Record<string, unknown> {
  let raw: unknown;
  try {
    raw = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    throw new HeaderDamage("it is not JSON");
  }
  if (!isRecord(raw)) throw new HeaderDamage("it is not a JSON object");
  return raw;
}

function isCanonical(raw: Record<string, unknown>, bytes: Buffer): boolean {
  try {
    return canonicalBytes(raw).equals(bytes);
  } catch {
    // Lone surrogates, or nesting deeper than the stack.
    return false;
  }
}

function newer(why: string): UserError {
  return new UserError("NewerFormat", `volume.json is not for this kmsfs: ${why}`, "upgrade kmsfs");
}

function parseFeatures(raw: unknown): readonly string[] {
  if (!Array.isArray(raw)) throw new HeaderDamage("features is not an array");
  const features = raw.map((feature: unknown) => {
    if (typeof feature !== "string") throw new HeaderDamage("features has something other than strings");
    if (!FEATURES.includes(feature)) throw newer(`it has the unknown feature "${feature.slice(0, 64)}"`);
    return feature;
  });
  if (features.some((feature, i) => i > 0 && feature <= (features[i - 1] ?? ""))) {
    throw new HeaderDamage("features is not sorted");
  }
  return features;
}

function parseLog(raw: unknown): LogParameters {
  if (!isRecord(raw)) throw new HeaderDamage("log is not an object");
  exactMembers(raw, ["segmentSize", "segments"], "log");
  const { minSegmentSize, maxSegmentSize, minSegments, maxSegments } = LOG_BOUNDS;
  const segmentSize = integerIn(raw.segmentSize, "log.segmentSize", minSegmentSize, maxSegmentSize);
  if (segmentSize % 4096 !== 0) throw new HeaderDamage("log.segmentSize is not a multiple of 4096");
  return { segmentSize, segments: integerIn(raw.segments, "log.segments", minSegments, maxSegments) };
}

function parseSlots(raw: unknown): readonly Slot[] {
  if (!Array.isArray(raw) || raw.length < 1 || raw.length > MAX_SLOTS) {
    throw new HeaderDamage(`slots is not an array of 1 to ${MAX_SLOTS}`);
  }
  const slots = raw.map(parseSlot);
  if (new Set(slots.map((slot) => slot.id)).size !== slots.length)
    throw new HeaderDamage("two slots have one id");
  return slots;
}

function digest(raw: unknown, what: string): string {
  if (decodeBase64(raw, what).length !== 32) throw new HeaderDamage(`${what} is not 32 bytes`);
  return raw as string;
}

function macOf(body: HeaderBody, domainKey: Buffer): Buffer {
  const key = subkey(domainKey, body.uuid, "header", 32);
  try {
    return macUnder(body, key);
  } finally {
    key.fill(0);
  }
}

function macUnder(body: HeaderBody, headerKey: Uint8Array): Buffer {
  return createHmac("sha256", headerKey).update(canonicalBytes(body)).digest();
}

/** The bytes of volume.json for this header, with its MAC. */
export function sealHeader(body: HeaderBody, domainKey: Buffer): Buffer {
  return canonicalBytes({ ...body, mac: macOf(body, domainKey).toString("base64") });
}

/** Whether the domain key is the one that the header commits to. */
export function commits(header: HeaderBody, domainKey: Buffer): boolean {
  const own = subkey(domainKey, header.uuid, "commitment", 32);
  return timingSafeEqual(own, Buffer.from(header.commitment, "base64"));
}

/** Whether the header is as someone with the domain key wrote it. */
export function authenticates(header: VolumeHeader, domainKey: Buffer): boolean {
  const { mac, ...body } = header;
  return timingSafeEqual(macOf(body, domainKey), Buffer.from(mac, "base64"));
}

/** The same, for who has the volume's subkey `header` alone. */
export function authenticatesUnder(header: VolumeHeader, headerKey: Uint8Array): boolean {
  const { mac, ...body } = header;
  return timingSafeEqual(macUnder(body, headerKey), Buffer.from(mac, "base64"));
}
