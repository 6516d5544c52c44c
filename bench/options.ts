/** Command lines of the benchmarks. */

import { parseArgs } from "node:util";
import type { BackingKind } from "./rows/row.js";
import { FULL, QUICK, type Scale, TINY } from "./scale.js";

export interface RunOptions {
  readonly scale: Scale;
  readonly runs: number;
  readonly backings: readonly BackingKind[];
  readonly only: readonly string[];
  /** `only` has whole names, not beginnings. */
  readonly exactly?: boolean;
  /** undefined: all. */
  readonly systems: readonly string[] | undefined;
  /** A directory on the disk to measure. */
  readonly disk: string;
  readonly out: string;
}

const BACKINGS: Readonly<Record<string, readonly BackingKind[]>> = {
  memory: ["memory"],
  disk: ["disk"],
  slow: ["slow"],
  both: ["memory", "disk", "slow"],
};

export const USAGE = `npm run bench -- [options]
  --backing memory|disk|slow|both   where the backing directories are (default both, and then the slow device too)
  --disk DIR                        a directory on the disk to measure (default /var/tmp)
  --quick | --tiny                  small sizes; tiny shows only that it runs
  --runs N                          runs of each row (default 5)
  --only ROW,...                    rows whose name begins so
  --peers NAME,...                  these systems beside kmsfs (default all that are installed)
  --out DIR                         where bench.json and bench.svg go (default bench-out)`;

const list = (text: string): string[] => text.split(",").filter((word) => word !== "");

/** Throws an Error with a line for the user. */
export function parseRuns(text: string): number {
  const runs = Number(text);
  if (!Number.isInteger(runs) || runs < 1) throw new Error("--runs is a number from 1");
  return runs;
}

/** Throws an Error with a line for the user. */
export function parseRunOptions(args: readonly string[]): RunOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      backing: { type: "string", default: "both" },
      disk: { type: "string", default: "/var/tmp" },
      quick: { type: "boolean", default: false },
      tiny: { type: "boolean", default: false },
      runs: { type: "string", default: "5" },
      only: { type: "string", default: "" },
      peers: { type: "string" },
      out: { type: "string", default: "bench-out" },
    },
  });
  const backings = BACKINGS[values.backing];
  if (backings === undefined) throw new Error(`--backing is one of ${Object.keys(BACKINGS).join(", ")}`);
  return {
    scale: values.tiny ? TINY : values.quick ? QUICK : FULL,
    runs: parseRuns(values.runs),
    backings,
    only: list(values.only),
    systems: values.peers === undefined ? undefined : ["kmsfs", ...list(values.peers)],
    disk: values.disk,
    out: values.out,
  };
}
