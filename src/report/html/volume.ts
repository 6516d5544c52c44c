/** One volume's section. */

import type { MountFacts, Report, ScrubFacts, VolumeFacts } from "../facts.js";
import { completeChecks } from "../findings-integrity.js";
import { plural } from "../said.js";
import { chainPart } from "./chain.js";
import { eventTable, tamperTable } from "./events.js";
import { type Html, html, type Value } from "./markup.js";
import { badge, code, list, moment, pairs, subsection, table } from "./parts.js";
import { slotsPart } from "./slots.js";

export function sectionId({ uuid }: VolumeFacts): string {
  return `volume-${uuid}`;
}

/** Where it is, or what it is. */
export function volumeName({ backing, uuid }: VolumeFacts): string {
  return backing ?? uuid;
}

export function volumeSection(volume: VolumeFacts, report: Report): Html {
  const { trail } = volume;
  const id = sectionId(volume);
  return html`<section id="${id}" class="volume" aria-labelledby="${id}-title">
<h2 id="${id}-title">Volume ${volumeName(volume)}</h2>
${identity(volume)}
${mountsPart(volume.mounts)}
${slotsPart(volume, report)}
${subsection(
  "Openings of the key",
  trail.opened.count === 0
    ? html`<p>The audit chain of this host tells of none.</p>`
    : eventTable("Openings that succeeded", trail.opened, report, "opening"),
  trail.refused.count > 0 &&
    eventTable("Openings that were refused or failed", trail.refused, report, "refusal"),
)}
${checksPart(volume)}
${subsection(
  "Tamper events",
  trail.tampering.count === 0
    ? html`<p>The audit chain of this host tells of none.</p>`
    : tamperTable(trail.tampering),
)}
${subsection(
  "Mounts, lately",
  trail.mounts.count === 0
    ? html`<p>The audit chain of this host tells of none.</p>`
    : eventTable("Mounts, their ends, and recoveries", trail.mounts, report, "event"),
  trail.exports.count > 0 &&
    eventTable("Copies made in clear (kmsfs export)", trail.exports, report, "event"),
)}
${chainPart(volume, report)}
</section>
`;
}

function identity(volume: VolumeFacts): Html {
  const { uuid, backing, header, headerProblem } = volume;
  return pairs([
    ["Uuid", code(uuid)],
    ["Sealed content is in", backing === null ? "unknown on this host" : code(backing)],
    [
      "Header",
      headerProblem === null
        ? headerState(volume)
        : html`${badge("problem", "not readable")} ${headerProblem}`,
    ],
    ["Pinned on this host", pinState(volume)],
    ["Made", header && moment(header.created)],
    ["Format", header && `${header.format}, generation ${header.generation} of the header`],
    ["Content", header && `AES-256-GCM, blocks of ${header.blockSize} bytes, each with a tag of its own`],
    ["Features", header && (header.features.join(", ") || "none")],
    [
      "Commit log",
      header && `${header.log.segments} segments of ${header.log.segmentSize / 2 ** 20} MiB, AES-256-GCM`,
    ],
  ]);
}

function headerState({ key }: VolumeFacts): Value {
  if (key.state === "verified")
    return html`${badge("ok", "authentic")} MAC and key commitment verified, opened by slot ${key.slot}`;
  if (key.state === "failed") return html`${badge("problem", "not verified")} ${key.why}`;
  return html`${badge("note", "not verified")} read without the key`;
}

function pinState({ pin }: VolumeFacts): Value {
  switch (pin.state) {
    case "matches":
      return html`${badge("ok", "matches")} key commitment and generation are what this host has seen`;
    case "not-compared":
      return "yes; there is no header to compare with";
    case "absent":
      return "no: it was never mounted here";
    default:
      return html`${badge("problem", pin.state)} ${pin.why}`;
  }
}

function mountsPart(mounts: readonly MountFacts[]): Html {
  if (mounts.length === 0) return html`<p>The volume is not mounted.</p>`;
  return table({
    caption: "Where it is mounted now",
    columns: ["Mount point", "State", "Since", "Options", "Memory", "Tamper events"],
    rows: mounts.map((mount) => [
      code(mount.dir),
      html`${mount.condition}${mount.readOnly !== null && `; ${mount.readOnly}`}${mount.warnings.length > 0 && list(mount.warnings)}`,
      moment(mount.since),
      mount.options.join(", "),
      mount.memoryLocked === null
        ? "unknown"
        : mount.memoryLocked
          ? "locked"
          : badge("warning", "not locked"),
      mount.tamperEvents === null ? "unknown" : String(mount.tamperEvents),
    ]),
  });
}

function checksPart(volume: VolumeFacts): Html {
  const { scrub, trail } = volume;
  const found = completeChecks(volume);
  const state = (kind: "verify" | "scrub"): Value => {
    const check = found.find((each) => each.kind === kind);
    if (check === undefined) return html`<span class="none">none is recorded</span>`;
    const result =
      check.problems === 0
        ? badge("ok", "nothing wrong")
        : badge("problem", plural(check.problems, "problem"));
    return html`${moment(check.time)} ${result}${looked(kind === "verify" ? trail.lastVerify?.detail : trail.lastScrub?.detail)}`;
  };
  return subsection(
    "Checks of the whole content",
    pairs([
      ["Last verify (second implementation, not mounted)", state("verify")],
      ["Last scrub that went to its end (engine, mounted)", state("scrub")],
      ["Scrub now", scrub !== null && scrub.state !== "done" ? scrubText(scrub) : null],
    ]),
    scrub !== null &&
      scrub.findings.length > 0 && [
        html`<p>What the last scrub found, by sealed names${scrub.findingCount > scrub.findings.length && `, the first ${scrub.findings.length} of ${scrub.findingCount}`}:</p>`,
        list(scrub.findings.map(code)),
      ],
  );
}

function looked(detail: Readonly<Record<string, unknown>> | undefined): Value {
  const { files, blocks } = detail ?? {};
  return typeof files === "number" && typeof blocks === "number" && ` ${files} files, ${blocks} blocks`;
}

function scrubText({ state, started, files, blocks, findingCount, message }: ScrubFacts): Value {
  return html`${state}, begun ${moment(started)}: ${files} files, ${blocks} blocks, ${plural(findingCount, "problem")} so far${message !== null && `; ${message}`}`;
}
