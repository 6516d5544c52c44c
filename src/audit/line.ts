/** Lines of the audit chain: their bytes, hashes and MACs (docs/audit.md). No I/O. */

import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { subkey } from "../keys/domain.js";
import { isRecord } from "../keys/parse.js";
import { type AuditLine, EVENTS } from "./event.js";

const LINE_MAC = /,"mac":"([A-Za-z0-9+/]{43}=)"\}$/;

export const SESSION_KEY_BYTES = 32;

/** SHA-256 of a line's bytes without the line end, hex. */
export function hashOf(line: string | Buffer): string {
  return createHash("sha256").update(line).digest("hex");
}

/** What the first line of a volume's chain follows. */
export function genesis(uuid: string): string {
  return hashOf(`kmsfs audit v1 ${uuid}`);
}

function hmac(key: Buffer, ...data: (string | Buffer)[]): Buffer {
  const mac = createHmac("sha256", key);
  for (const part of data) mac.update(part);
  return mac.digest();
}

/** The volume's audit key (docs/format.md §2), from which every session's comes. The caller wipes it. */
export function auditKey(domainKey: Buffer, uuid: string): Buffer {
  return subkey(domainKey, uuid, "audit", SESSION_KEY_BYTES);
}

export function firstSessionKey(key: Buffer, session: string): Buffer {
  return hmac(key, "session", Buffer.from(session, "hex"));
}

/** The key of the session's next line: who has it cannot make the one before (forward security). */
export function nextSessionKey(key: Buffer): Buffer {
  return hmac(key, "next");
}

/**
 * What one process signs its lines with. Its key is derived from the volume's audit key and a random session id, is
 * another one for each line, and can do nothing else: the daemon, which may see no other key, gets one.
 */
export class AuditSession {
  #key: Buffer;
  #n = 0;

  /** `key` becomes the session's, and is wiped by `wipe`. */
  constructor(
    readonly id: string,
    key: Buffer,
  ) {
    this.#key = key;
  }

  static of(domainKey: Buffer, uuid: string): AuditSession {
    const { id, key } = AuditSession.keyFor(domainKey, uuid);
    return new AuditSession(id, key);
  }

  /** A new session's id and first key, for another process. The caller wipes the key. */
  static keyFor(domainKey: Buffer, uuid: string): { id: string; key: Buffer } {
    const id = randomBytes(16).toString("hex");
    const volumeKey = auditKey(domainKey, uuid);
    try {
      return { id, key: firstSessionKey(volumeKey, id) };
    } finally {
      volumeKey.fill(0);
    }
  }

  /** Signs lines that are not written yet. */
  batch(): Batch {
    let key: Buffer = Buffer.from(this.#key);
    let n = this.#n;
    return {
      sign: (fields) => {
        const body = JSON.stringify({ ...fields, session: this.id, n });
        const mac = hmac(key, "line", body).toString("base64");
        const next = nextSessionKey(key);
        key.fill(0);
        key = next;
        n += 1;
        return `${body.slice(0, -1)},"mac":"${mac}"}`;
      },
      done: () => {
        this.#key.fill(0);
        this.#key = key;
        this.#n = n;
      },
      discard: () => {
        if (key !== this.#key) key.fill(0);
      },
    };
  }

  wipe(): void {
    this.#key.fill(0);
  }
}

export interface Batch {
  sign(fields: object): string;
  /** The lines are written: the session goes on after them. */
  done(): void;
  /** Wipes what `done` has not taken over: the session goes on where it was. */
  discard(): void;
}

/** Whether a line is the one that a session's key signed. */
export function isSigned(line: string, key: Buffer): boolean {
  const mac = LINE_MAC.exec(line)?.[1];
  if (mac === undefined) return false;
  const body = `${line.replace(LINE_MAC, "")}}`;
  return timingSafeEqual(hmac(key, "line", body), Buffer.from(mac, "base64"));
}

/** A line, when it has the shape of one: whoever shows it may rely on the types of its members. */
export function parseLine(text: string): AuditLine | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(raw) || !isRecord(raw.who)) return undefined;
  const { who, session, n, detail } = raw;
  const texts = [raw.time, raw.host, raw.volume, raw.domain, raw.outcome, raw.prev, who.command];
  const optionalTexts = [raw.code, raw.keyArn, raw.requestId, raw.mac];
  const optionalNumbers = [raw.slot, who.sudoUid, who.loginUid];
  const known = EVENTS.some((event) => event === raw.event);
  const shaped =
    texts.every((text) => typeof text === "string") &&
    [raw.seq, who.uid, who.pid].every(Number.isSafeInteger) &&
    optionalTexts.every((text) => text === undefined || typeof text === "string") &&
    optionalNumbers.every((number) => number === undefined || Number.isSafeInteger(number)) &&
    (detail === undefined || isRecord(detail));
  if (!known || !shaped || (raw.seq as number) < 1) return undefined;
  const numbered =
    session === undefined
      ? n === undefined
      : typeof session === "string" && /^[0-9a-f]{32}$/.test(session) && Number.isSafeInteger(n);
  return numbered ? (raw as unknown as AuditLine) : undefined;
}
