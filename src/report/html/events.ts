/** Events of the audit chain as tables. */

import type { EventFacts, Listed, Report } from "../facts.js";
import { type Html, html, type Value } from "./markup.js";
import { badge, code, moment, table } from "./parts.js";

type Kind = "opening" | "refusal" | "slot" | "event";

/** The last of them, newest first, with who and where. */
export function eventTable(caption: string, listed: Listed, report: Report, kind: Kind): Html {
  const columns = ["Line", "When", kind === "event" || kind === "slot" ? "What" : "By which key", "By whom"];
  return table({
    caption: html`${caption}${how(listed)}`,
    columns,
    rows: listed.last.map((event) => [
      String(event.seq),
      moment(event.time),
      kind === "event" || kind === "slot" ? what(event) : opening(event),
      whom(event, report),
    ]),
  });
}

function how({ count, last }: Listed): string {
  return count > last.length
    ? `: the last ${last.length} of ${count}; kmsfs audit show has all`
    : ` (${count})`;
}

function opening(event: EventFacts): Value {
  const { slot, detail, outcome, code: exit } = event;
  return html`${slot === null ? "no slot" : `slot ${slot}`}${purposeText(detail.purpose)}${
    outcome !== "ok" && html`<br>${badge("note", exit ?? outcome)} ${text(detail.message)}`
  }${aws(event)}${unsigned(event)}`;
}

function purposeText(purpose: unknown): string {
  const known = { mount: ", to mount", change: ", to change slots", read: ", to read or check" };
  return typeof purpose === "string" && Object.hasOwn(known, purpose)
    ? known[purpose as keyof typeof known]
    : "";
}

function aws({ keyArn, requestId }: EventFacts): Value {
  return [
    keyArn !== null && html`<br>${code(keyArn)}`,
    requestId !== null && html`<br>KMS request ${code(requestId)}`,
  ];
}

function what(event: EventFacts): Value {
  const { outcome, slot, code: exit, detail } = event;
  const details = Object.entries(detail)
    .filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && value.length === 0))
    .map(([name, value]) => `${name} ${text(value)}`);
  return html`${event.event}${slot !== null && ` of slot ${slot}`}${
    outcome !== "ok" && html` ${badge("warning", exit ?? outcome)}`
  }${details.length > 0 && html`<br><span class="quiet">${details.join("; ")}</span>`}${aws(event)}${unsigned(event)}`;
}

function unsigned({ signed }: EventFacts): Value {
  return !signed && html`<br><span class="quiet">unsigned</span>`;
}

function text(value: unknown): string {
  return typeof value === "string"
    ? value
    : Array.isArray(value)
      ? value.join(", ")
      : (JSON.stringify(value) ?? "");
}

function whom({ who, host }: EventFacts, report: Report): Value {
  const { uid, sudoUid, loginUid, pid, command } = who;
  const parts = [
    `uid ${text(uid)}`,
    loginUid === undefined ? "" : `logged in as uid ${text(loginUid)}`,
    sudoUid === undefined ? "" : `sudo from uid ${text(sudoUid)}`,
    `pid ${text(pid)}`,
    host === report.host ? "" : `on ${host}`,
  ];
  return html`${parts.filter((part) => part !== "").join(", ")}<br>${code(command)}`;
}

export function tamperTable(listed: Listed): Html {
  return table({
    caption: html`Content or header that did not authenticate${how(listed)}`,
    columns: ["Line", "When", "What", "Where"],
    rows: listed.last.map((event) => {
      const { detail } = event;
      const { file, place, block, header, what, repeats } = detail;
      const place_ = [
        typeof place === "string" ? code(place) : null,
        typeof file === "string" && html`<br><span class="quiet">file id</span> ${code(file)}`,
        typeof block === "number" && html`<br>block ${block}`,
      ];
      const said =
        typeof repeats === "number"
          ? `met again ${repeats} times`
          : typeof header === "string"
            ? `the volume's header: ${header}`
            : text(what ?? "");
      return [
        String(event.seq),
        moment(event.time),
        html`${said}${unsigned(event)}`,
        place_.some(Boolean) ? place_ : null,
      ];
    }),
  });
}
