/** `npm run bench`: kmsfs beside its peers, bare FUSE and the plain file system. docs/bench.md tells what comes out. */

import { mkdirSync, writeFileSync } from "node:fs";
import { chart } from "./chart.js";
import { parseRunOptions, type RunOptions, USAGE } from "./options.js";
import { runSuite } from "./suite.js";
import { notes } from "./table.js";

const say = (line: string): void => console.log(line);

function options(): RunOptions | undefined {
  try {
    return parseRunOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : error}\n${USAGE}`);
    return undefined;
  }
}

const asked = process.argv.includes("--help");
const chosen = asked ? undefined : options();
if (asked) say(USAGE);
else if (chosen === undefined) process.exitCode = 2;
else {
  const result = await runSuite(chosen, say);
  for (const note of notes(result)) say(note);
  mkdirSync(chosen.out, { recursive: true });
  writeFileSync(`${chosen.out}/bench.json`, `${JSON.stringify(result, null, 1)}\n`);
  writeFileSync(`${chosen.out}/bench.svg`, chart(result));
  say(`${chosen.out}/bench.json and ${chosen.out}/bench.svg are written`);
}
