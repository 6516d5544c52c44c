/** Text for man(7): what troff would take for its own is escaped. */

/** Running text. Dashes stay ASCII, so that what is copied from a page can be typed. */
export function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti")
    .replace(/[^\x20-\x7e\n]/gu, (character) => `\\[u${codeOf(character)}]`)
    .replace(/^\./gm, "\\&.");
}

function codeOf(character: string): string {
  return (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
}

export function bold(text: string): string {
  return `\\fB${roff(text)}\\fR`;
}

export function italic(text: string): string {
  return `\\fI${roff(text)}\\fR`;
}

/** An argument of a request, such as a heading. */
export function quoted(text: string): string {
  return `"${roff(text).replaceAll('"', "\\(dq")}"`;
}

/** Lines as they stand. */
export function verbatim(text: string): string {
  return [".nf", ...text.split("\n").map(roff), ".fi"].join("\n");
}

/** A term and what it means. */
export function tagged(term: string, text: string): string {
  return [".TP", term, text].join("\n");
}
