/** What an auditor should see first: rules over a report's facts. */

import type { Auditing, Finding, Limits, Severity, VolumeFacts } from "./facts.js";
import { custodyFindings } from "./findings-custody.js";
import { integrityFindings } from "./findings-integrity.js";
import type { Said } from "./said.js";

const RANK: Readonly<Record<Severity, number>> = { problem: 0, warning: 1, note: 2 };

/** The gravest first. */
export function findingsOf(
  volumes: readonly VolumeFacts[],
  auditing: Auditing,
  limits: Limits,
  now: Date,
): Finding[] {
  const findings: Finding[] = hostFindings(auditing).map((said) => ({ ...said, volume: null }));
  for (const facts of volumes) {
    const said = [...integrityFindings(facts, limits, now), ...custodyFindings(facts, limits)];
    findings.push(...said.map((each) => ({ ...each, volume: facts.uuid })));
  }
  return findings.sort((a, b) => RANK[a.severity] - RANK[b.severity]);
}

function hostFindings({ problem, anchor, syslog }: Auditing): Said[] {
  const findings: Said[] = [];
  if (problem !== null) {
    findings.push({
      severity: "problem",
      id: "audit-settings",
      what: `The audit settings of this host cannot be used: ${problem}.`,
      advice: "Correct the file. Until then no volume of this host can be opened.",
    });
  } else if (anchor === null) {
    findings.push({
      severity: "note",
      id: "audit-not-anchored",
      what: syslog
        ? "The audit chains have no anchor on another host. Their lines also go to the system's log."
        : "The audit chains are kept on this host alone: no anchor elsewhere, and no copy in the system's log.",
      advice:
        "Who is root on this host could cut off the end of a chain. Name an anchor in audit.json, or compare with a collected log.",
    });
  }
  return findings;
}
