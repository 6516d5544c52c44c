/** HTML from templates in which every value is escaped: host names, labels and paths are whoever's who wrote them. */

/** Text that is markup already. Only `html` and `constant` make it. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Value = Html | string | number | null | undefined | false | readonly Value[];

/** The template's own text stands as it is; values are escaped, arrays joined, and null, undefined and false are nothing. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  return new Html(parts.map((part, i) => (i === 0 ? part : valueText(values[i - 1]) + part)).join(""));
}

/** Markup that is written in this program, such as the style sheet. Never for anything that was read. */
export function constant(text: string): Html {
  return new Html(text);
}

function valueText(value: Value): string {
  if (value === null || value === undefined || value === false) return "";
  if (value instanceof Html) return value.text;
  if (Array.isArray(value)) return value.map(valueText).join("");
  return escaped(visible(String(value)));
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** For content and for attributes in quotes. */
function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => ENTITIES[char] ?? "");
}

/** Characters without a shape of their own, which could turn the text around them or hide a part of it, by their number. */
function visible(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
