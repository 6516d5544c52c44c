/** Findings about what was changed, damaged, or not looked at. */

import type { EventFacts, Limits, VolumeFacts } from "./facts.js";
import { minute, plural, type Said } from "./said.js";

const DAY_MS = 86_400_000;
const REFUSED_DAYS = 30;

export function integrityFindings(facts: VolumeFacts, limits: Limits, now: Date): Said[] {
  return [
    ...headerFindings(facts),
    ...pinFindings(facts),
    ...chainFindings(facts),
    ...lostFindings(facts),
    ...tamperFindings(facts),
    ...checkFindings(facts, limits, now),
    ...refusedFindings(facts, now),
  ];
}

function headerFindings({ backing, header, headerProblem, key }: VolumeFacts): Said[] {
  const findings: Said[] = [];
  if (header === null && backing !== null) {
    findings.push({
      severity: "problem",
      id: "no-header",
      what: `The header of the volume cannot be read: ${headerProblem ?? "no reason given"}.`,
      advice:
        "Where the volume was removed on purpose, remove its pin and name the others. Else see kmsfs key list.",
    });
  }
  if (header === null && backing === null) {
    findings.push({
      severity: "note",
      id: "no-place",
      what: "This host has records of the volume and does not know where it is: only those are reported.",
      advice: "Name its backing directory, if it is still there.",
    });
  }
  if (key.state === "failed") {
    const tampered = key.code === "Damaged" || key.code === "PinMismatch";
    findings.push({
      severity: tampered ? "problem" : "warning",
      id: tampered ? "header-not-authentic" : "not-opened",
      what: tampered
        ? `The header of the volume is not what this host trusts: ${key.why}.`
        : `The key of the volume could not be opened, so that nothing was verified with it: ${key.why}.`,
      advice: tampered
        ? "Find out who wrote it before it is used."
        : "Give this host the key, and report again.",
    });
  }
  return findings;
}

function pinFindings({ pin, header }: VolumeFacts): Said[] {
  if (pin.state === "differs" || pin.state === "unusable") {
    return [
      {
        severity: "problem",
        id: "pin",
        what: `The volume is not the one that this host has pinned: ${pin.why ?? ""}.`,
        advice: "Find out who replaced it. If that was on purpose, remove the pin.",
      },
    ];
  }
  if (pin.state !== "absent" || header === null) return [];
  return [
    {
      severity: "note",
      id: "not-pinned",
      what: "The volume was never mounted on this host: nothing here says which key it should have.",
      advice: "The first mount pins it.",
    },
  ];
}

function chainFindings({ trail: { chain, problem } }: VolumeFacts): Said[] {
  if (problem !== null || (chain !== null && !chain.intact)) {
    const first = chain?.problems[0] ?? problem ?? "";
    const more = chain === null ? "" : `, in ${plural(chain.problemCount, "place")}`;
    return [
      {
        severity: "problem",
        id: "audit-broken",
        what: `The audit chain is broken${more}: ${first}.`,
        advice:
          "What it tells may be incomplete or false. Compare it with the system's log and with CloudTrail.",
      },
    ];
  }
  if (chain === null) {
    return [
      {
        severity: "warning",
        id: "audit-absent",
        what: "There is no audit chain of this volume on this host.",
        advice: "Look on the hosts where it was made and mounted.",
      },
    ];
  }
  if (chain.withKey) return [];
  return [
    {
      severity: "note",
      id: "unverified",
      what: "This report was made without the volume's key: the header's MAC and the signatures of the audit chain are unverified.",
      advice: "kmsfs report --verify opens the key, and verifies both.",
    },
  ];
}

function lostFindings({ trail: { lost } }: VolumeFacts): Said[] {
  const [latest] = lost.last;
  if (latest === undefined) return [];
  return [
    {
      severity: "warning",
      id: "audit-lost",
      what: `Events could not be written to the audit chain and were lost, the latest on ${minute(latest.time)}.`,
      advice:
        "Make room for the chain, or have audit.json say require: then nothing happens without its line.",
    },
  ];
}

function tamperFindings(facts: VolumeFacts): Said[] {
  const { tampering } = facts.trail;
  const [latest] = tampering.last;
  if (latest === undefined) return [];
  const clean = lastCleanCheck(facts);
  const cured = clean !== undefined && clean > latest.time;
  return [
    {
      severity: cured ? "warning" : "problem",
      id: "tampering",
      what: `${plural(tampering.count, "tamper event")}, the latest on ${minute(latest.time)}: content or header that does not authenticate.${
        cured ? ` A complete check on ${minute(clean)} found nothing wrong any more.` : ""
      }`,
      advice:
        "Find out who can write the backing store. Restore what is named below from a backup, then scrub.",
    },
  ];
}

/** When everything was last read and nothing was wrong. */
function lastCleanCheck(facts: VolumeFacts): string | undefined {
  return completeChecks(facts)
    .filter(({ problems }) => problems === 0)
    .map(({ time }) => time)
    .sort()
    .at(-1);
}

export interface Check {
  readonly kind: "verify" | "scrub";
  readonly time: string;
  readonly problems: number;
}

/** The last verify and the last scrub that looked at everything. */
export function completeChecks({ trail, scrub }: VolumeFacts): Check[] {
  const problemsOf = ({ detail }: EventFacts) => (typeof detail.problems === "number" ? detail.problems : 0);
  const checks: Check[] = [];
  const { lastVerify, lastScrub } = trail;
  if (lastVerify !== null) {
    checks.push({ kind: "verify", time: lastVerify.time, problems: problemsOf(lastVerify) });
  }
  if (lastScrub !== null) {
    checks.push({ kind: "scrub", time: lastScrub.time, problems: problemsOf(lastScrub) });
  } else if (scrub?.lastDone != null) {
    checks.push({ kind: "scrub", time: scrub.lastDone.ended, problems: scrub.lastDone.findingCount });
  }
  return checks.sort((a, b) => (a.time < b.time ? 1 : -1));
}

function checkFindings(facts: VolumeFacts, { checkDays }: Limits, now: Date): Said[] {
  const [latest] = completeChecks(facts);
  if (latest === undefined) {
    return [
      {
        severity: "warning",
        id: "never-checked",
        what: "This host has no record of a complete check of the volume's content.",
        advice: "kmsfs scrub checks it while it is mounted, kmsfs verify while it is not.",
      },
    ];
  }
  if (latest.problems > 0) {
    return [
      {
        severity: "problem",
        id: "check-found",
        what: `The last complete check (${latest.kind}, ${minute(latest.time)}) found ${plural(latest.problems, "problem")}.`,
        advice: "Restore what it named from a backup, then check again.",
      },
    ];
  }
  const days = Math.floor((now.getTime() - Date.parse(latest.time)) / DAY_MS);
  if (days <= checkDays) return [];
  return [
    {
      severity: "warning",
      id: "check-age",
      what: `The last complete check was ${days} days ago; the limit of this report is ${checkDays}.`,
      advice: "kmsfs scrub, once a month.",
    },
  ];
}

function refusedFindings({ trail: { refused } }: VolumeFacts, now: Date): Said[] {
  const recent = refused.last.filter(({ time }) => now.getTime() - Date.parse(time) < REFUSED_DAYS * DAY_MS);
  if (recent.length === 0) return [];
  const all = recent.length === refused.last.length && refused.count > recent.length ? "At least " : "";
  return [
    {
      severity: "note",
      id: "refused",
      what: `${all}${plural(recent.length, "opening was", "openings were")} refused or failed in the last ${REFUSED_DAYS} days.`,
      advice: "See who tried, below.",
    },
  ];
}
