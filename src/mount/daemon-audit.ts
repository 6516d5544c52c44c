/** The daemon's lines in the audit chain, signed with a session key that the CLI derived for nothing else. */

import type { Auditor } from "../audit/auditor.js";
import type { Ended, RemountReply } from "./control.js";
import type { OpenedMessage, TamperMessage } from "./protocol.js";
import type { ScrubStatus } from "./scrub.js";

/** Told apart up to so many; what is more only counts. */
const KINDS = 1000;
/** How often repetitions are told, and what could not be written is tried again. Milliseconds. */
const INTERVAL = 60_000;

const REMOUNT_OUTCOMES = {
  done: ["ok", undefined],
  busy: ["failed", "Busy"],
  failed: ["failed", "EngineFailed"],
} as const;

export interface MountFacts {
  readonly backing: string;
  readonly dir: string;
  readonly optionNames: readonly string[];
  readonly enginePid: number | undefined;
}

export class DaemonAudit {
  readonly #auditor: Auditor;
  readonly #seen = new Set<string>();
  #repeats = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(auditor: Auditor) {
    this.#auditor = auditor;
  }

  /** Throws UserError (AuditFailed) when that line is required and cannot be written: the mount may not stay then. */
  async mounted(facts: MountFacts, recovery: OpenedMessage["recovery"]): Promise<void> {
    const { backing, dir, optionNames: options, enginePid = null } = facts;
    await this.#auditor.record({
      event: "mount",
      outcome: "ok",
      detail: { backing, dir, options, enginePid },
    });
    if (recovery.commits > 0 || recovery.droppedTail) {
      const { commits, files, gone, droppedTail } = recovery;
      const detail = { commits, files, gone, droppedTail };
      await this.#auditor.tell({ event: "recovery", outcome: "ok", detail });
    }
    this.#timer = setInterval(() => void this.#again(), INTERVAL).unref();
  }

  /** `detail`: why it was not, when it failed. */
  remounted(dir: string, readOnly: boolean, reply: RemountReply): void {
    const [outcome, code] = REMOUNT_OUTCOMES[reply.remount];
    const message = reply.detail === "" ? {} : { message: reply.detail };
    const detail = { dir, access: readOnly ? "ro" : "rw", ...message };
    void this.#auditor.tell({ event: "remount", outcome, code, detail });
  }

  /** The same finding is told once and counted after that: a damaged block can be read a thousand times a second. */
  tampered({ file, place, block, detail }: TamperMessage): void {
    const kind = `${file ?? ""} ${place ?? ""} ${block ?? ""} ${detail ?? ""}`;
    if (this.#seen.has(kind) || this.#seen.size >= KINDS) {
      this.#repeats += 1;
      return;
    }
    this.#seen.add(kind);
    const found = { file: file ?? null, place: place ?? null, block: block ?? null, what: detail ?? null };
    void this.#auditor.tell({ event: "tamper", outcome: "detected", detail: found });
  }

  /** When a scrub begins, and when it ends however it does. */
  scrubbed({ state, started, counts, findingCount }: ScrubStatus): void {
    const found = findingCount > 0 ? "detected" : "ok";
    const outcome = state === "failed" ? "failed" : state === "running" ? "ok" : found;
    const { files, blocks, bytes } = counts;
    const detail = { state, started, files, blocks, bytes, problems: findingCount };
    void this.#auditor.tell({ event: "scrub", outcome, detail });
  }

  async ended(ended: Ended, dir: string): Promise<void> {
    clearInterval(this.#timer);
    this.#tellRepeats();
    const detail = { dir, message: ended.message };
    await this.#auditor.tell(
      ended.code === "Ok"
        ? { event: "unmount", outcome: "ok", detail }
        : { event: "engine-death", outcome: "failed", code: ended.code, detail },
    );
    await this.#auditor.close();
  }

  #tellRepeats(): void {
    if (this.#repeats === 0) return;
    const detail = { repeats: this.#repeats };
    this.#repeats = 0;
    void this.#auditor.tell({ event: "tamper", outcome: "detected", detail });
  }

  async #again(): Promise<void> {
    this.#tellRepeats();
    await this.#auditor.tell();
  }
}
