/** Key custody: who can open a volume. */

import type { Report, SlotFacts, VolumeFacts } from "../facts.js";
import { eventTable } from "./events.js";
import { type Html, html, type Value } from "./markup.js";
import { badge, code, days, moment, pairs, subsection, table } from "./parts.js";

export function slotsPart({ header, trail }: VolumeFacts, report: Report): Html {
  const changes =
    trail.slotChanges.count > 0 && eventTable("Changes of the slots", trail.slotChanges, report, "slot");
  if (header === null)
    return subsection("Key custody", html`<p>Unknown: the header cannot be read.</p>`, changes);
  return subsection(
    "Key custody",
    html`<p>The volume has one key of 256 bits. It stands on the volume only wrapped, once in each slot; each slot opens the volume.</p>`,
    table({
      caption: "Key slots",
      columns: ["Slot", "Wrapped by", "Wrapped", "Last rotated", "Last opened by it"],
      rows: header.slots.map((slot) => slotRow(slot, report)),
    }),
    changes,
  );
}

function slotRow(slot: SlotFacts, { limits }: Report): Value[] {
  const old = slot.days > limits.keyDays;
  const { lastRotated, lastOpened } = slot;
  return [
    html`${slot.id}${slot.label !== "" && html` <q>${slot.label}</q>`}`,
    custodian(slot),
    html`${moment(slot.wrapped)}<br>${old ? badge("warning", days(slot.days)) : days(slot.days)}`,
    lastRotated === null ? "not recorded here" : moment(lastRotated.time),
    lastOpened === null ? "not recorded here" : moment(lastOpened.time),
  ];
}

function custodian(slot: SlotFacts): Html {
  if (slot.provider === "aws-kms") {
    const context = Object.entries(slot.context ?? {}).map(([name, value]) => code(`${name}=${value}`));
    return html`AWS KMS${pairs([
      ["KMS key", code(slot.keyArn ?? "")],
      ["Region and account", `${slot.region}, ${slot.account}`],
      ["Encryption context", context.map((pair, i) => (i === 0 ? pair : html`<br>${pair}`))],
    ])}`;
  }
  if (slot.provider === "keyfile") {
    return html`${badge("warning", "not KMS")} key file ${code(slot.path ?? "")}: whoever has it opens the volume`;
  }
  const { n, r, p } = slot.scrypt ?? { n: 0, r: 0, p: 0 };
  return html`${badge("note", "not KMS")} recovery key or passphrase, scrypt n=${n}, r=${r}, p=${p}: whoever knows it opens the volume`;
}
