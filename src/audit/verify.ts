/** Checks a chain: each line follows the one before, is signed where it has to be, and the anchors are still there. */

import { type AuditLine, UNKEYED } from "./event.js";
import type { Head } from "./head.js";
import { firstSessionKey, genesis, hashOf, isSigned, nextSessionKey, parseLine } from "./line.js";
import type { ChainFile } from "./read.js";

export interface Anchor extends Head {
  /** Where it comes from, for the operator */
  readonly source: string;
}

export interface Finding {
  readonly file: string;
  /** From 1, within the file; 0: the file as a whole */
  readonly line: number;
  readonly what: string;
}

export interface Verdict {
  readonly lines: number;
  readonly first: number | undefined;
  readonly head: Head | undefined;
  /** Lines whose MAC was verified; 0 without the key */
  readonly signed: number;
  /** Lines after the last signed one: somebody who can write the file can have put them there */
  readonly uncovered: number;
  readonly problems: readonly Finding[];
  readonly notes: readonly string[];
}

interface Session {
  key: Buffer;
  n: number;
}

/** `key`: the volume's audit key; undefined: only the hashes are checked. */
export function verifyChain(
  files: readonly ChainFile[],
  uuid: string,
  key: Buffer | undefined,
  anchors: readonly Anchor[],
): Verdict {
  return new Verifier(uuid, key, anchors).run(files);
}

class Verifier {
  readonly #problems: Finding[] = [];
  readonly #notes: string[] = [];
  readonly #sessions = new Map<string, Session>();
  readonly #anchored = new Map<number, string>();
  /** Mounts that have not ended yet, by session */
  readonly #mounts = new Map<string, AuditLine>();
  #lines = 0;
  #signed = 0;
  #uncovered = 0;
  #first: number | undefined;
  #seq = 0;
  /** Hash of the line before, whatever it is; undefined before the first */
  #prev: string | undefined;
  #head: Head | undefined;
  #garbage: Finding | undefined;
  #at = { file: "", line: 0 };

  constructor(
    readonly uuid: string,
    readonly key: Buffer | undefined,
    readonly anchors: readonly Anchor[],
  ) {}

  run(files: readonly ChainFile[]): Verdict {
    for (const { seq } of this.anchors) this.#anchored.set(seq, "");
    for (const file of files) this.#file(file);
    if (this.#garbage !== undefined) this.#problems.push(this.#garbage);
    this.#checkAnchors();
    for (const { key } of this.#sessions.values()) key.fill(0);
    for (const mount of this.#mounts.values()) {
      this.#notes.push(
        `the mount of ${mount.time} (line ${mount.seq}) has no end here: it is up, or its daemon was killed`,
      );
    }
    return {
      lines: this.#lines,
      first: this.#first,
      head: this.#head,
      signed: this.#signed,
      uncovered: this.#uncovered,
      problems: this.#problems,
      notes: this.#notes,
    };
  }

  #file({ path, lines, torn }: ChainFile): void {
    for (const [i, bytes] of lines.entries()) {
      this.#at = { file: path, line: i + 1 };
      this.#lines += 1;
      const text = bytes.toString("utf8");
      const line = parseLine(text);
      const isTornEnd = torn && i === lines.length - 1;
      if (line === undefined) this.#unreadable(isTornEnd);
      else this.#line(line, text, bytes, i === 0);
      this.#prev = hashOf(bytes);
    }
  }

  /** Allowed where a crash tore a line: the next one says so, or nothing was written since. */
  #unreadable(isTornEnd: boolean): void {
    if (this.#garbage !== undefined) this.#problems.push(this.#garbage);
    this.#garbage = undefined;
    this.#uncovered += 1;
    if (isTornEnd) {
      this.#notes.push(`${this.#at.file} ends in a line that is not whole: the next event will say so`);
      return;
    }
    this.#garbage = { ...this.#at, what: "this is no line of an audit chain" };
  }

  #line(line: AuditLine, text: string, bytes: Buffer, isFirstOfFile: boolean): void {
    if (this.#garbage !== undefined) {
      if (line.event === "torn")
        this.#notes.push(`a crash tore line ${this.#garbage.line} of ${this.#at.file}`);
      else this.#problems.push(this.#garbage);
      this.#garbage = undefined;
    }
    this.#checkPlace(line, isFirstOfFile);
    this.#checkSignature(line, text);
    this.#follow(line);
    this.#seq = line.seq;
    this.#head = { seq: line.seq, hash: hashOf(bytes) };
    if (this.#anchored.has(line.seq)) this.#anchored.set(line.seq, this.#head.hash);
  }

  #checkPlace(line: AuditLine, isFirstOfFile: boolean): void {
    if (line.volume !== this.uuid) this.#problem(`it is of volume ${line.volume}`);
    if (isFirstOfFile && line.event !== "begin" && line.event !== "continue") {
      this.#problem("lines were cut off the beginning of this file");
    }
    if (this.#prev === undefined) {
      this.#first = line.seq;
      if (line.seq > 1) this.#notes.push(`lines 1 to ${line.seq - 1} are in no file here (rotated away?)`);
      else if (line.prev !== genesis(this.uuid))
        this.#problem("it is not the beginning of this volume's chain");
      return;
    }
    if (line.prev !== this.#prev) {
      this.#problem("it does not follow the line before it: one was altered, removed, inserted or moved");
    }
    if (line.event === "gap") {
      const noted = String(line.detail?.notedSeq ?? "?");
      this.#problem(`the file had lost its end when this was written: line ${noted} had been its last`);
    } else if (line.seq !== this.#seq + 1) {
      this.#problem(`its number is ${line.seq} and not ${this.#seq + 1}`);
    }
  }

  #checkSignature(line: AuditLine, text: string): void {
    const { session: id, n } = line;
    if (id === undefined) {
      this.#uncovered += 1;
      if (!UNKEYED.has(line.event)) this.#problem(`an event ${line.event} has to be signed, this one is not`);
      return;
    }
    if (this.key === undefined) return;
    const session = this.#sessions.get(id) ?? { key: firstSessionKey(this.key, id), n: 0 };
    // A session whose beginning is in no file here is wound forward.
    if (!this.#sessions.has(id) && (this.#first ?? 1) > 1) windForward(session, n ?? 0);
    this.#sessions.set(id, session);
    const right = n === session.n && isSigned(text, session.key);
    const next = nextSessionKey(session.key);
    session.key.fill(0);
    session.key = next;
    session.n += 1;
    if (!right) {
      this.#uncovered += 1;
      this.#problem("its MAC is wrong: it was not written by somebody with this volume's key");
      return;
    }
    this.#signed += 1;
    this.#uncovered = 0;
  }

  #follow(line: AuditLine): void {
    const { session, event } = line;
    if (session === undefined) return;
    if (event === "mount" && line.outcome === "ok") this.#mounts.set(session, line);
    if (event === "unmount" || event === "engine-death") this.#mounts.delete(session);
  }

  #checkAnchors(): void {
    const last = this.#seq;
    for (const { seq, hash, source } of this.anchors) {
      const found = this.#anchored.get(seq);
      if (found === hash) continue;
      if (seq > last)
        this.#whole(`the end is missing: ${source} knows line ${seq}, the last one here is ${last}`);
      else if (found !== "")
        this.#whole(`line ${seq} is not the one that ${source} knows: the chain was replaced`);
      else this.#notes.push(`line ${seq}, which ${source} knows, is in no file here`);
    }
  }

  #problem(what: string): void {
    this.#problems.push({ ...this.#at, what });
  }

  #whole(what: string): void {
    this.#problems.push({ file: this.#at.file, line: 0, what });
  }
}

/** No session of kmsfs gets that far: each line is an event of one mount. */
const MOST_LINES = 10_000_000;

function windForward(session: Session, n: number): void {
  while (session.n < Math.min(n, MOST_LINES)) {
    const next = nextSessionKey(session.key);
    session.key.fill(0);
    session.key = next;
    session.n += 1;
  }
}
