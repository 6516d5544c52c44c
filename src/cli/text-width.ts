/** In the bundle, yargs's measure of a text's width: ours are plain, and its own takes long to load (scripts/bundle.mjs). */

import { stripVTControlCharacters } from "node:util";

/** Columns on a terminal. */
export default function textWidth(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}
