/** Whether the record itself can be believed. */

import type { ChainFacts, Report, VolumeFacts } from "../facts.js";
import { plural } from "../said.js";
import { type Html, html, type Value } from "./markup.js";
import { badge, code, list, moment, pairs, subsection } from "./parts.js";

export function chainPart({ trail }: VolumeFacts, report: Report): Html {
  const { chain, problem, files } = trail;
  if (problem !== null)
    return subsection("Audit chain", html`<p>${badge("problem", "unreadable")} ${problem}</p>`);
  if (chain === null) {
    const none = html`<p>${badge("warning", "absent")} This host has no audit chain of this volume.</p>`;
    return subsection("Audit chain", none);
  }
  const { policy, anchor, syslog } = report.auditing;
  return subsection(
    "Audit chain",
    html`<p>${verdict(chain)}</p>`,
    chain.problems.length > 0 && [
      html`<p>What is wrong${chain.problemCount > chain.problems.length && `, the first ${chain.problems.length} of ${chain.problemCount}`}:</p>`,
      list(chain.problems),
    ],
    pairs([
      [
        "Lines",
        `${chain.lines}${chain.withKey ? `, ${chain.signed} with a signature that was verified` : ""}`,
      ],
      ["Period", chain.from === null ? null : html`${moment(chain.from)} to ${moment(chain.to)}`],
      ["Lines that no signature covers yet", chain.withKey ? String(chain.uncovered) : null],
      ["Files", files.map((file, i) => [i > 0 && html`<br>`, code(file)])],
      ["Head", chain.head && html`line ${chain.head.seq}, ${code(chain.head.hash)}`],
      ["Compared with the heads in", heads(chain)],
      ["Anchored elsewhere", anchor === null ? "no" : code(anchor)],
      ["Copied to the system's log", syslog ? "yes" : "no"],
      [
        "When it cannot be written",
        policy === "require"
          ? "nothing is opened, mounted or changed"
          : "volumes open all the same, with a warning",
      ],
    ]),
    chain.notes.length > 0 && [html`<p>Notes of the verification:</p>`, list(chain.notes)],
  );
}

function verdict(chain: ChainFacts): Html {
  if (!chain.intact) {
    return html`${badge("problem", "broken")} Lines were altered, removed, inserted or cut off, in ${plural(chain.problemCount, "place")}. What is told above may be incomplete or false.`;
  }
  if (!chain.withKey) {
    return html`${badge("note", "intact by its hashes")} Each line follows the one before. The signatures were not checked: who can write the file could have made this chain.`;
  }
  return html`${badge("ok", "intact")} Each line follows the one before, and the signatures are those of processes that had the volume's key.`;
}

function heads({ anchors }: ChainFacts): Value {
  if (anchors.length === 0) return "none: that nothing was cut off the end is unverified";
  return anchors.map(({ source, seq }, i) => [i > 0 && html`<br>`, code(source), ` (line ${seq})`]);
}
