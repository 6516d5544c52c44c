/**
 * `npm run bench:check`: fails when kmsfs has become slower beside the session without a cipher, which meets the same machine,
 * by more than 15 % on any row of bench/baseline.json. `-- --update` writes that file.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { slower } from "./baseline.js";
import { parseRuns } from "./options.js";
import { QUICK, TINY } from "./scale.js";
import { runSuite } from "./suite.js";
import { CHECKOUT } from "./support/programs.js";
import { notes, number } from "./table.js";

/** Those of which one run says much on a noisy machine. */
const ROWS = [
  "write",
  "read",
  "randread-4",
  "randwrite-1",
  "fdatasync-1",
  "append",
  "create-1",
  "find",
  "stat-4",
  "remove",
];
const BASELINE = `${CHECKOUT}/bench/baseline.json`;

const USAGE = `npm run bench:check -- [options]
  --update          write the baseline, do not compare with it
  --baseline FILE   another one than bench/baseline.json
  --runs N          runs of each row (default 7)
  --tiny            sizes that only show that it runs
  --disk DIR        a directory for what is not in memory (default /var/tmp)`;

function parse() {
  try {
    const { values } = parseArgs({
      options: {
        update: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
        tiny: { type: "boolean", default: false },
        runs: { type: "string", default: "7" },
        baseline: { type: "string", default: BASELINE },
        disk: { type: "string", default: "/var/tmp" },
      },
    });
    if (!values.help) return { ...values, runs: parseRuns(values.runs) };
    console.log(USAGE);
    process.exit(0);
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : error}\n${USAGE}`);
    process.exit(2);
  }
}

const values = parse();

const result = await runSuite(
  {
    scale: values.tiny ? TINY : QUICK,
    runs: values.runs,
    backings: ["memory"],
    only: ROWS,
    exactly: true,
    systems: ["kmsfs", "floor"],
    disk: values.disk,
    out: "",
  },
  (line) => console.log(line),
);
for (const note of notes(result)) console.log(note);
const ratios = Object.fromEntries(
  result.rows.flatMap(({ name, floor }) => (floor ? [[name, floor.ratio]] : [])),
);
const failed = ROWS.filter((row) => ratios[row] === undefined);
if (failed.length > 0) {
  console.error(`bench: no ratio for ${failed.join(", ")}`);
  process.exitCode = 1;
} else if (values.update) {
  writeFileSync(
    values.baseline,
    `${JSON.stringify({ commit: result.commit, machine: result.machine, ratios }, null, 2)}\n`,
  );
  console.log(`${values.baseline} is written`);
} else {
  const { ratios: before } = JSON.parse(readFileSync(values.baseline, "utf8")) as {
    ratios: Record<string, number>;
  };
  const found = slower(before, ratios);
  for (const { row, was, is } of found) {
    console.error(`bench: ${row} fell from ${number(was)} to ${number(is)} of the floor`);
  }
  if (found.length > 0) process.exitCode = 1;
  else console.log("no row fell by more than 15 %");
}
