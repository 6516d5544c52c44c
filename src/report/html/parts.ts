/** Small pieces that all sections are made of. */

import type { Severity } from "../facts.js";
import { type Html, html, type Value } from "./markup.js";

/** "2026-11-24 03:27:59 UTC"; what is no time, as it is. */
export function moment(time: string | null): Html {
  if (time === null) return html`<span class="none">unknown</span>`;
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(time)) return html`${time}`;
  return html`<time datetime="${time}">${time.slice(0, 10)} ${time.slice(11, 19)} UTC</time>`;
}

export function days(count: number): string {
  return count === 0 ? "today" : count === 1 ? "1 day" : `${count} days`;
}

/** Program text: names, paths, hashes; broken anywhere where there is no room. */
export function code(text: string): Html {
  return html`<code>${text}</code>`;
}

const LABELS = { problem: "Problem", warning: "Warning", note: "Note", ok: "OK" } as const;

/** Says what it is in words, not by its colour alone. */
export function badge(kind: Severity | "ok", label: string = LABELS[kind]): Html {
  return html`<span class="badge ${kind}">${label}</span>`;
}

/** Name and value; pairs without a value are left out. */
export function pairs(rows: readonly (readonly [string, Value])[]): Html {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return html`<dl>${shown.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

export interface Table {
  readonly caption: Value;
  readonly columns: readonly string[];
  /** the first cell of each is its header */
  readonly rows: readonly (readonly Value[])[];
}

/** On a narrow screen rows become cards, which takes their roles from tables: hence the attributes. */
export function table({ caption, columns, rows }: Table): Html {
  const head = columns.map((name) => html`<th scope="col" role="columnheader">${name}</th>`);
  return html`<table role="table"><caption>${caption}</caption>
<thead role="rowgroup"><tr role="row">${head}</tr></thead>
<tbody role="rowgroup">${rows.map((cells) => row(cells, columns))}</tbody></table>
`;
}

function row(cells: readonly Value[], columns: readonly string[]): Html {
  const made = cells.map((cell, i) => {
    const name = columns[i] ?? "";
    const content = isNothing(cell) ? html`<span class="none">none</span>` : html`<div>${cell}</div>`;
    return i === 0
      ? html`<th scope="row" role="rowheader" data-column="${name}">${content}</th>`
      : html`<td role="cell" data-column="${name}">${content}</td>`;
  });
  return html`<tr role="row">${made}</tr>
`;
}

function isNothing(cell: Value): boolean {
  return cell === null || cell === undefined || cell === false || cell === "";
}

export function list(items: readonly Value[]): Html {
  return html`<ul>${items.map((item) => html`<li>${item}</li>`)}</ul>`;
}

/** A section with a heading of level 3, within a volume's. */
export function subsection(title: string, ...content: readonly Value[]): Html {
  return html`<h3>${title}</h3>
${content}
`;
}
