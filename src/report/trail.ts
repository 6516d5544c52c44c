/** What a volume's audit chain on this host tells, for a report. */

import type { AuditLine } from "../audit/event.js";
import { parseLine } from "../audit/line.js";
import { type ChainFile, readChain } from "../audit/read.js";
import { anchorsFrom } from "../audit/report.js";
import type { AuditSettings } from "../audit/settings.js";
import { type Anchor, type Verdict, verifyChain } from "../audit/verify.js";
import { UserError } from "../errors.js";
import { isRecord } from "../keys/parse.js";
import type { ChainFacts, EventFacts, Listed, TrailFacts } from "./facts.js";

/** Of each kind of event; the chain has them all. */
const SHOWN = 20;
const PROBLEMS_SHOWN = 50;

export interface Trail {
  readonly facts: TrailFacts;
  /** all of them, oldest first */
  readonly events: readonly EventFacts[];
}

/**
 * `key`: the volume's audit key; undefined: the hashes alone are checked. Throws UserError (Privilege) for a directory
 * that cannot be read.
 */
export async function trailOf(
  settings: AuditSettings,
  uuid: string,
  key: Buffer | undefined,
): Promise<Trail> {
  let files: ChainFile[];
  try {
    files = await readChain(settings, uuid);
  } catch (error) {
    if (!(error instanceof UserError) || error.code === "Privilege") throw error;
    return { facts: { files: [], problem: error.message, chain: null, ...trailFrom([]) }, events: [] };
  }
  const anchors = await anchorsFrom(settings, uuid, [], []);
  const events = files.flatMap(({ lines }) =>
    lines.flatMap((bytes) => {
      const line = parseLine(bytes.toString("utf8"));
      return line === undefined ? [] : [eventFrom(line)];
    }),
  );
  const verdict = files.length === 0 && anchors.length === 0 ? null : verifyChain(files, uuid, key, anchors);
  const facts = {
    files: files.map(({ path }) => path),
    problem: null,
    chain: verdict === null ? null : chainFrom(verdict, anchors, events, key !== undefined),
    ...trailFrom(events),
  };
  return { facts, events };
}

function chainFrom(
  verdict: Verdict,
  anchors: readonly Anchor[],
  events: readonly EventFacts[],
  withKey: boolean,
): ChainFacts {
  const { lines, signed, uncovered, head, problems, notes } = verdict;
  const shown = problems.slice(0, PROBLEMS_SHOWN);
  return {
    intact: problems.length === 0,
    withKey,
    lines,
    signed,
    uncovered,
    from: events[0]?.time ?? null,
    to: events.at(-1)?.time ?? null,
    head: head ?? null,
    anchors: anchors.map(({ source, seq }) => ({ source, seq })),
    problemCount: problems.length,
    problems: shown.map(({ file, line, what }) => (line === 0 ? what : `${file}, line ${line}: ${what}`)),
    notes,
  };
}

/** Who can write the file may have written anything where a line's shape is not checked. */
function eventFrom(line: AuditLine): EventFacts {
  const { seq, time, host, event, outcome, code, slot, keyArn, requestId, who, mac, detail } = line;
  const text = (value: unknown) => (typeof value === "string" ? value : null);
  return {
    seq,
    time,
    host,
    event,
    outcome,
    code: text(code),
    slot: typeof slot === "number" ? slot : null,
    keyArn: text(keyArn),
    requestId: text(requestId),
    who,
    signed: mac !== undefined,
    detail: isRecord(detail) ? detail : {},
  };
}

type Told = Omit<TrailFacts, "files" | "problem" | "chain">;

function trailFrom(events: readonly EventFacts[]): Told {
  const listed = (those: (event: EventFacts) => boolean): Listed => {
    const found = events.filter(those);
    return { count: found.length, last: found.slice(-SHOWN).reverse() };
  };
  const last = (those: (event: EventFacts) => boolean) => events.findLast(those) ?? null;
  const opened = (event: EventFacts) => event.event === "unlock" && event.outcome === "ok";
  return {
    opened: listed(opened),
    refused: listed(({ event, outcome }) => event === "unlock" && outcome !== "ok"),
    mounts: listed(({ event }) => ["mount", "unmount", "engine-death", "recovery"].includes(event)),
    slotChanges: listed(({ event }) => event === "init" || event.startsWith("slot-")),
    tampering: listed(({ event }) => event === "tamper"),
    exports: listed(({ event }) => event === "export"),
    lost: listed(({ event }) => event === "lost"),
    lastOpened: last(opened),
    lastVerify: last(({ event }) => event === "verify"),
    lastScrub: last(({ event, detail }) => event === "scrub" && detail.state === "done"),
  };
}
