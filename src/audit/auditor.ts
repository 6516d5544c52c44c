/** Writes a process's events to a volume's chain. */

import { hostname } from "node:os";
import { messageOf, UserError } from "../errors.js";
import type { AuditEvent, AuditLine } from "./event.js";
import { type AuditSession, hashOf } from "./line.js";
import { type AuditSettings, chainFile } from "./settings.js";
import { toSyslog } from "./syslog.js";
import { append, type Place } from "./trail.js";
import { whoIsThis } from "./who.js";

/** Events that could not be written are kept, up to so many, for the next time. */
const KEPT = 1000;
/** So many of a kind in one go: a volume that is tampered with everywhere must not fill the disk. */
const BATCH = 200;

interface Pending {
  readonly event: AuditEvent;
  readonly time: string;
}

export class Auditor {
  readonly #settings: AuditSettings;
  readonly #uuid: string;
  readonly #onProblem: (line: string) => void;
  #session: AuditSession | undefined;
  #pending: Pending[] = [];
  #dropped = 0;
  #writing: Promise<void> = Promise.resolve();

  /** `onProblem` is told, in one line, what could not be written under the policy `try`. */
  constructor(settings: AuditSettings, uuid: string, onProblem: (line: string) => void) {
    this.#settings = settings;
    this.#uuid = uuid;
    this.#onProblem = onProblem;
  }

  get settings(): AuditSettings {
    return this.#settings;
  }

  /** Lines carry MACs from now on. */
  sign(session: AuditSession): void {
    this.#session?.wipe();
    this.#session = session;
  }

  /**
   * Writes events, and those that could not be written before. Throws UserError (AuditFailed) when it cannot be and the
   * policy is `require`; the event is kept then, and under `try` too, for as long as this process lives.
   */
  async record(...events: readonly AuditEvent[]): Promise<void> {
    for (const event of events) {
      if (this.#pending.length < KEPT) this.#pending.push({ event, time: new Date().toISOString() });
      else this.#dropped += 1;
    }
    const turn = this.#writing.then(() => this.#flush());
    this.#writing = turn.catch(() => undefined);
    try {
      await turn;
    } catch (error) {
      const file = chainFile(this.#settings.directory, this.#uuid);
      const what = `the audit chain ${file} cannot be written: ${messageOf(error)}`;
      if (this.#settings.policy === "require") {
        throw new UserError("AuditFailed", what, "make room or make it writable (audit.json says require)");
      }
      this.#onProblem(what);
    }
  }

  /** As `record`, for what cannot be held back any more, as it has happened: a failure is only told. */
  async tell(...events: readonly AuditEvent[]): Promise<void> {
    try {
      await this.record(...events);
    } catch (error) {
      this.#onProblem(messageOf(error));
    }
  }

  /** Ends signing; the key is wiped. Waits for what is being written. */
  async close(): Promise<void> {
    await this.#writing;
    this.#session?.wipe();
    this.#session = undefined;
  }

  async #flush(): Promise<void> {
    while (this.#pending.length > 0) {
      const some = this.#pending.slice(0, BATCH);
      const dropped = this.#dropped;
      const batch = this.#session?.batch();
      let lines: readonly string[] = [];
      const make = (place: Place): readonly string[] => {
        lines = this.#linesFor(place, some, dropped, batch?.sign);
        return lines;
      };
      // Before the heads are noted: what fails there takes no line back.
      const written = (): void => {
        batch?.done();
        this.#pending = this.#pending.slice(some.length);
        this.#dropped -= dropped;
        if (this.#settings.syslog) toSyslog(lines);
      };
      try {
        await append(this.#settings, this.#uuid, make, written);
      } finally {
        batch?.discard();
      }
    }
  }

  #linesFor(
    place: Place,
    pending: readonly Pending[],
    dropped: number,
    sign: ((fields: object) => string) | undefined,
  ): string[] {
    const lines: string[] = [];
    let { seq, prev } = place;
    const add = (event: AuditEvent, time: string): void => {
      seq += 1;
      const line = (sign ?? JSON.stringify)(this.#fields(event, seq, time, prev));
      prev = hashOf(line);
      lines.push(line);
    };
    const now = pending[0]?.time ?? new Date().toISOString();
    for (const { event, detail } of place.remarks) {
      const outcome = event === "torn" || event === "gap" ? "detected" : "ok";
      add({ event, outcome, detail }, now);
    }
    for (const { event, time } of pending) add(event, time);
    if (dropped > 0) add({ event: "lost", outcome: "failed", detail: { events: dropped } }, now);
    return lines;
  }

  #fields(event: AuditEvent, seq: number, time: string, prev: string): Omit<AuditLine, "mac"> {
    const { event: name, outcome, code, slot, keyArn, requestId, detail } = event;
    return {
      seq,
      time,
      host: hostname(),
      volume: this.#uuid,
      domain: "volume",
      event: name,
      outcome,
      code,
      slot,
      keyArn,
      requestId,
      detail,
      who: whoIsThis(),
      prev,
    };
  }
}
