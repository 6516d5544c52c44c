/** `npm run bench:growth`: what operations cost as a file, a directory, a tree grow, on kmsfs and the plain file system. */

import { mkdirSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { makeBacking } from "./backings.js";
import { type Growth, growingDirectory, growingFile, growingTree, type Sizes } from "./growth/grow.js";
import { plotted } from "./growth/plot.js";
import type { GrowthResult, Plot } from "./growth/result.js";
import { commit, machine } from "./machine.js";
import { Subject } from "./subject.js";
import { Scratch } from "./support/scratch.js";
import { plain } from "./systems/all.js";
import { kmsfs } from "./systems/kmsfs.js";

const GIB = 2 ** 30;
const powers = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));

/** Of files that only have to be there. */
const BYTES = 100;
const USUAL: Sizes = {
  files: [GIB / 1024, GIB / 64, GIB / 4, 4 * GIB, 32 * GIB, 100 * GIB],
  directories: powers(1, 5),
  trees: powers(0, 5),
  bytes: BYTES,
  ops: 1000,
  repeats: 3,
};
const TINY: Sizes = {
  files: [GIB / 1024, GIB / 64],
  directories: [10, 100],
  trees: [1, 10],
  bytes: BYTES,
  ops: 20,
  repeats: 1,
};

const USAGE = `npm run bench:growth -- [options]
  --full             also directories of 1,000,000 entries and a tree of 10,000,000 files, which are empty: an hour or two
  --tiny             only that it runs
  --backing memory|disk   where the backing directories are (default disk)
  --disk DIR         a directory on the disk to measure (default /var/tmp)
  --out DIR          where growth.json and growth.svg go (default bench-out)`;

function options() {
  const { values } = parseArgs({
    options: {
      full: { type: "boolean", default: false },
      tiny: { type: "boolean", default: false },
      backing: { type: "string", default: "disk" },
      disk: { type: "string", default: "/var/tmp" },
      out: { type: "string", default: "bench-out" },
    },
  });
  const { full, tiny, backing } = values;
  if (backing !== "memory" && backing !== "disk") throw new Error("--backing is memory or disk");
  // Empty: with a header and a block each, they would take 80 GiB.
  const larger: Sizes = { ...USUAL, directories: powers(1, 6), trees: powers(0, 7), bytes: 0 };
  return { ...values, backing, sizes: tiny ? TINY : full ? larger : USUAL } as const;
}

async function run({ backing, disk, sizes }: ReturnType<typeof options>): Promise<Plot[]> {
  const scratch = new Scratch(disk);
  try {
    const { dir } = await makeBacking(backing, scratch, 0);
    const subjects: Subject[] = [];
    for (const system of [kmsfs(), plain]) subjects.push(await Subject.make(system, scratch, dir));
    const growth: Growth = { subjects, sizes, say: (line) => console.log(line) };
    const plots = [await growingFile(growth), await growingDirectory(growth), ...(await growingTree(growth))];
    for (const subject of subjects) await subject.unmount();
    return plots;
  } finally {
    scratch.remove();
  }
}

try {
  const chosen = options();
  const result: GrowthResult = {
    version: 1,
    commit: await commit(),
    date: new Date().toISOString(),
    machine: machine(),
    plots: await run(chosen),
  };
  mkdirSync(chosen.out, { recursive: true });
  writeFileSync(`${chosen.out}/growth.json`, `${JSON.stringify(result, null, 1)}\n`);
  writeFileSync(`${chosen.out}/growth.svg`, plotted(result));
  console.log(`${chosen.out}/growth.json and ${chosen.out}/growth.svg are written`);
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}\n${USAGE}`);
  process.exitCode = 1;
}
