/** A chain in a scratch directory, written by the real writer and read by the real reader. */

import { readFileSync, writeFileSync } from "node:fs";
import type { Test } from "tap";
import { Auditor } from "../../src/audit/auditor.js";
import type { AuditEvent } from "../../src/audit/event.js";
import { type Head, readHead } from "../../src/audit/head.js";
import { AuditSession, auditKey } from "../../src/audit/line.js";
import { readChain } from "../../src/audit/read.js";
import { type AuditSettings, chainFile, headFile } from "../../src/audit/settings.js";
import { type Anchor, type Verdict, verifyChain } from "../../src/audit/verify.js";
import { newDomainKey } from "../../src/keys/domain.js";
import { Scratch } from "../support/run-kmsfs.js";

export const UNLOCK: AuditEvent = { event: "unlock", outcome: "ok", slot: 1 };
export const REFUSED: AuditEvent = { event: "unlock", outcome: "failed", code: "WrongKey" };
export const TAMPER: AuditEvent = { event: "tamper", outcome: "detected", detail: { what: "a block" } };

export class Trail {
  readonly scratch = new Scratch();
  readonly dk = newDomainKey();
  readonly problems: string[] = [];

  constructor(
    t: Test,
    readonly uuid = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f1",
    readonly policy: AuditSettings["policy"] = "try",
  ) {
    t.teardown(() => this.scratch.remove());
  }

  get settings(): AuditSettings {
    return { policy: this.policy, anchor: undefined, syslog: false, directory: this.scratch.file("log") };
  }

  get file(): string {
    return chainFile(this.settings.directory, this.uuid);
  }

  get headFile(): string {
    return headFile(this.settings.directory, this.uuid);
  }

  auditor(signing: boolean, settings = this.settings): Auditor {
    const auditor = new Auditor(settings, this.uuid, (line) => this.problems.push(line));
    if (signing) auditor.sign(AuditSession.of(this.dk, this.uuid));
    return auditor;
  }

  /** By a writer of its own: without a key when it is what can stand there unsigned. */
  async write(...events: AuditEvent[]): Promise<void> {
    const auditor = this.auditor(events.some((event) => event.outcome === "ok"));
    await auditor.record(...events);
    await auditor.close();
  }

  lines(): string[] {
    return readFileSync(this.file, "utf8").trimEnd().split("\n");
  }

  put(lines: readonly string[]): void {
    writeFileSync(this.file, lines.map((line) => `${line}\n`).join(""));
  }

  async head(): Promise<Head> {
    const head = await readHead(this.headFile);
    if (head === undefined) throw new Error("no head was noted");
    return head;
  }

  async verify(anchors: readonly Anchor[] = [], withKey = true): Promise<Verdict> {
    const chain = await readChain(this.settings, this.uuid);
    return verifyChain(chain, this.uuid, withKey ? auditKey(this.dk, this.uuid) : undefined, anchors);
  }

  /** The anchor that `kmsfs audit verify` takes by itself: the head beside the chain. */
  async anchors(): Promise<Anchor[]> {
    return [{ ...(await this.head()), source: "head" }];
  }
}
