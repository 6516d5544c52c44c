/** What to see first: the findings, and all volumes in one table. */

import type { Finding, Report, Severity, VolumeFacts } from "../facts.js";
import { completeChecks } from "../findings-integrity.js";
import { plural } from "../said.js";
import { type Html, html, type Value } from "./markup.js";
import { badge, moment, table } from "./parts.js";
import { sectionId, volumeName } from "./volume.js";

export function result(report: Report): Html {
  const { findings, volumes } = report;
  const count = (severity: Severity) => findings.filter((finding) => finding.severity === severity).length;
  const [problems, warnings, notes] = [count("problem"), count("warning"), count("note")];
  const worst = problems > 0 ? "problem" : warnings > 0 ? "warning" : "ok";
  const said = [
    problems > 0 ? plural(problems, "problem") : "",
    warnings > 0 ? plural(warnings, "warning") : "",
    notes > 0 ? plural(notes, "note") : "",
  ].filter((part) => part !== "");
  const looked = `${plural(volumes.length, "volume")} looked at`;
  const verdict = worst === "ok" ? "No problem and no warning was found" : "This report has findings";
  return html`<section id="result" aria-labelledby="result-title">
<h2 id="result-title">Result</h2>
<p class="verdict ${worst}">${badge(worst)} <strong>${verdict}</strong>: ${looked}${said.length > 0 && `; ${said.join(", ")}`}.</p>
${
  findings.length > 0 &&
  table({
    caption: "Findings, the gravest first",
    columns: ["Severity", "Volume", "Finding", "What to do"],
    rows: findings.map((finding) => findingRow(finding, volumes)),
  })
}
</section>`;
}

function findingRow(finding: Finding, volumes: readonly VolumeFacts[]): Value[] {
  const volume = volumes.find(({ uuid }) => uuid === finding.volume);
  return [
    badge(finding.severity),
    volume === undefined ? "this host" : html`<a href="#${sectionId(volume)}">${volumeName(volume)}</a>`,
    finding.what,
    html`<span class="advice">${finding.advice}</span>`,
  ];
}

export function overview({ volumes }: Report): Html {
  return html`<section id="volumes" aria-labelledby="volumes-title">
<h2 id="volumes-title">Volumes</h2>
${
  volumes.length === 0
    ? html`<p>This host knows no volume.</p>`
    : table({
        caption: "Every volume of this report",
        columns: [
          "Volume",
          "Mounted on",
          "Opened by",
          "Last opened",
          "Last complete check",
          "Tamper events",
          "Audit chain",
        ],
        rows: volumes.map(overviewRow),
      })
}
</section>`;
}

function overviewRow(volume: VolumeFacts): Value[] {
  const { mounts, header, trail } = volume;
  const [check] = completeChecks(volume);
  const custody = header?.slots.map((slot) =>
    slot.provider === "aws-kms"
      ? `KMS ${slot.region}`
      : slot.provider === "keyfile"
        ? "key file"
        : "passphrase",
  );
  return [
    html`<a href="#${sectionId(volume)}">${volumeName(volume)}</a>`,
    mounts.length === 0 ? "not mounted" : mounts.map(({ dir }) => dir).join(", "),
    custody === undefined ? "unknown" : [...new Set(custody)].join(", "),
    trail.lastOpened === null ? null : moment(trail.lastOpened.time),
    check === undefined
      ? badge("warning", "never")
      : html`${moment(check.time)}${check.problems > 0 && html` ${badge("problem", plural(check.problems, "problem"))}`}`,
    trail.tampering.count === 0 ? "0" : badge("problem", String(trail.tampering.count)),
    chainBadge(volume),
  ];
}

export function chainBadge({ trail: { chain, problem } }: VolumeFacts): Html {
  if (problem !== null) return badge("problem", "unreadable");
  if (chain === null) return badge("warning", "absent");
  if (!chain.intact) return badge("problem", "broken");
  return chain.withKey ? badge("ok", "intact") : badge("note", "intact by its hashes");
}
