/** Key slots of volume.json (docs/format.md §3): their types, and strict parsing of what an adversary may have written. */

import { UserError } from "../errors.js";
import { decodeBase64, exactMembers, HeaderDamage, integerIn, isRecord, timestamp } from "./parse.js";

interface SlotBase {
  readonly id: number;
  readonly label: string;
  readonly created: string;
}

export interface AwsKmsSlot extends SlotBase {
  readonly provider: "aws-kms";
  readonly keyArn: string;
  readonly region: string;
  /** The user's pairs alone; the `kmsfs:` ones are computed at each use. */
  readonly context: Readonly<Record<string, string>>;
  readonly blob: string;
}

export interface KeyfileSlot extends SlotBase {
  readonly provider: "keyfile";
  readonly path: string;
  readonly nonce: string;
  readonly blob: string;
}

export interface PassphraseSlot extends SlotBase {
  readonly provider: "passphrase";
  readonly salt: string;
  readonly n: number;
  readonly r: number;
  readonly p: number;
  readonly nonce: string;
  readonly blob: string;
}

export type Slot = AwsKmsSlot | KeyfileSlot | PassphraseSlot;

/** What a provider adds to a slot; id, label and date come from who keeps the slots. */
export type NewSlot<S extends Slot> = Omit<S, "id" | "label" | "created">;

const BASE = ["id", "provider", "label", "created"];
const MAX_TEXT = 4096;
/** KMS: an encryption context has at most 8192 bytes, a ciphertext blob at most 6144. */
export const MAX_CONTEXT_BYTES = 8192;
const MAX_BLOB_BYTES = 6144;

const ARN =
  /^arn:(aws[a-z-]*):kms:([a-z]{2,4}(?:-[a-z]{2,12}){1,3}-\d{1,2}):(\d{12}):key\/[A-Za-z0-9-]{1,128}$/;

/** The slot of this id. Throws UserError (Usage). */
export function slotWith(slots: readonly Slot[], id: number): Slot {
  const slot = slots.find((slot) => slot.id === id);
  if (slot !== undefined) return slot;
  const ids = slots.map((slot) => slot.id).join(", ");
  throw new UserError("Usage", `the volume has no slot ${id}, only ${ids}`, "see kmsfs key list");
}

/** All other slots, of which there has to be one. Throws UserError (Usage). */
export function slotsWithout(slots: readonly Slot[], id: number): readonly Slot[] {
  const rest = slots.filter((slot) => slot !== slotWith(slots, id));
  if (rest.length > 0) return rest;
  throw new UserError(
    "Usage",
    `slot ${id} is the last one: without it nothing opens the volume, ever`,
    "add another one first",
  );
}

/** The region of a KMS key ARN, or undefined when the text is no such ARN. */
export function regionOfArn(arn: string): string | undefined {
  return ARN.exec(arn)?.[2];
}

/** Whether a slot may hold it: control characters would let a hostile header write to the terminal. */
export function isPlainText(value: string, max = MAX_TEXT): boolean {
  return value.length <= max && !/\p{Cc}/u.test(value);
}

function text(value: unknown, what: string, max = MAX_TEXT): string {
  if (typeof value !== "string" || !isPlainText(value, max)) {
    throw new HeaderDamage(`${what} is not a plain string`);
  }
  return value;
}

function bytes(value: unknown, what: string, length: number): string {
  if (decodeBase64(value, what).length !== length) {
    throw new HeaderDamage(`${what} is not ${length} bytes`);
  }
  return value as string;
}

function context(value: unknown, what: string): Record<string, string> {
  if (!isRecord(value)) throw new HeaderDamage(`${what} is not an object`);
  const problem = contextProblem(value);
  if (problem !== undefined) throw new HeaderDamage(`${what}: ${problem}`);
  return value as Record<string, string>;
}

/** Why these pairs cannot be a user's encryption context, or undefined. */
export function contextProblem(pairs: Record<string, unknown>): string | undefined {
  let total = 0;
  for (const [key, value] of Object.entries(pairs)) {
    if (typeof value !== "string") return "values must be strings";
    if (key === "" || value === "") return "keys and values must not be empty";
    if (key === "__proto__" || /\p{Cc}/u.test(key + value)) return "it has characters that are not allowed";
    if (key.toLowerCase().startsWith("kmsfs:")) return `pairs named kmsfs:* are kmsfs's own (${key})`;
    if (key.toLowerCase().startsWith("aws:")) return `pairs named aws:* are AWS's own (${key})`;
    total += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  return total > MAX_CONTEXT_BYTES - 256 ? `it is larger than ${MAX_CONTEXT_BYTES - 256} bytes` : undefined;
}

/** One slot of volume.json. Throws HeaderDamage for whatever format 1 does not allow. */
export function parseSlot(raw: unknown): Slot {
  if (!isRecord(raw)) throw new HeaderDamage("a key slot is not an object");
  const id = integerIn(raw.id, "a slot's id", 1, 2 ** 31 - 1);
  const at = `slot ${id}`;
  const base = {
    id,
    label: text(raw.label, `${at}: label`, 256),
    created: timestamp(raw.created, `${at}: created`),
  };
  switch (raw.provider) {
    case "aws-kms": {
      exactMembers(raw, [...BASE, "keyArn", "region", "context", "blob"], at);
      const keyArn = text(raw.keyArn, `${at}: keyArn`);
      const region = regionOfArn(keyArn);
      // The region chooses the host that gets asked: it may only be the one that the key's name says.
      if (region === undefined) throw new HeaderDamage(`${at}: keyArn is not the ARN of a KMS key`);
      if (raw.region !== region) throw new HeaderDamage(`${at}: region is not the one of its key ARN`);
      const blob = decodeBase64(raw.blob, `${at}: blob`);
      if (blob.length < 1 || blob.length > MAX_BLOB_BYTES)
        throw new HeaderDamage(`${at}: blob has no valid length`);
      return {
        ...base,
        provider: "aws-kms",
        keyArn,
        region,
        context: context(raw.context, `${at}: context`),
        blob: raw.blob as string,
      };
    }
    case "keyfile": {
      exactMembers(raw, [...BASE, "path", "nonce", "blob"], at);
      const path = text(raw.path, `${at}: path`);
      if (!path.startsWith("/")) throw new HeaderDamage(`${at}: path is not absolute`);
      return {
        ...base,
        provider: "keyfile",
        path,
        nonce: bytes(raw.nonce, `${at}: nonce`, 12),
        blob: bytes(raw.blob, `${at}: blob`, 48),
      };
    }
    case "passphrase": {
      exactMembers(raw, [...BASE, "salt", "n", "r", "p", "nonce", "blob"], at);
      const n = integerIn(raw.n, `${at}: n`, SCRYPT_BOUNDS.minN, SCRYPT_BOUNDS.maxN);
      const r = integerIn(raw.r, `${at}: r`, 1, SCRYPT_BOUNDS.maxR);
      const p = integerIn(raw.p, `${at}: p`, 1, SCRYPT_BOUNDS.maxP);
      if ((n & (n - 1)) !== 0) throw new HeaderDamage(`${at}: n is not a power of two`);
      if (128 * n * r > SCRYPT_BOUNDS.maxMemory)
        throw new HeaderDamage(`${at}: n and r ask for too much memory`);
      return {
        ...base,
        provider: "passphrase",
        salt: bytes(raw.salt, `${at}: salt`, 16),
        n,
        r,
        p,
        nonce: bytes(raw.nonce, `${at}: nonce`, 12),
        blob: bytes(raw.blob, `${at}: blob`, 48),
      };
    }
    default:
      throw new HeaderDamage(`${at}: provider is none of aws-kms, keyfile, passphrase`);
  }
}

/** What a header may ask of scrypt: at most 256 MiB and p times the work. */
export const SCRYPT_BOUNDS = { minN: 2 ** 14, maxN: 2 ** 18, maxR: 16, maxP: 4, maxMemory: 2 ** 28 } as const;
