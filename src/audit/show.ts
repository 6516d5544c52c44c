/** Lines of the chain for people. */

import { parseLine } from "./line.js";

export function isJsonLine(text: string): boolean {
  return parseLine(text) !== undefined;
}

/** One line for one line; what is none is shown as such, without its control characters. */
export function lineText(text: string): string {
  const line = parseLine(text);
  if (line === undefined) return `?        ${JSON.stringify(text.slice(0, 100))}`;
  const { seq, time, event, outcome, code, slot, keyArn, requestId, detail = {}, who, mac } = line;
  const actor = [
    `uid ${who.uid}`,
    who.sudoUid === undefined ? "" : `sudo from ${who.sudoUid}`,
    `pid ${who.pid}`,
  ];
  const facts = [
    code ?? "",
    slot === undefined ? "" : `slot ${slot}`,
    keyArn ?? "",
    requestId === undefined ? "" : `request ${requestId}`,
    ...Object.entries(detail).map(([name, value]) => `${name}=${JSON.stringify(value)}`),
    `by ${actor.filter((part) => part !== "").join(", ")}: ${who.command}`,
    mac === undefined ? "unsigned" : "",
  ];
  const shown = facts.filter((fact) => fact !== "").join(", ");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  return `${seq} ${time} ${event} ${outcome}: ${shown}`.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}
