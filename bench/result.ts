/** What a run says: docs/bench.json has this form. */

import type { BackingKind } from "./rows/row.js";

export interface Cell {
  /** One for each run, in order; null for one that failed. */
  readonly values: readonly (number | null)[];
  readonly median: number | null;
  /** Of the runs: (largest - smallest) / median. */
  readonly spread: number | null;
  readonly p50us?: number;
  readonly p99us?: number;
  /** Of the processes that serve the mount, for a GiB that the load moved. */
  readonly cpuSecondsPerGiB?: number;
  readonly failed?: string;
}

/** Above 1 kmsfs is the better one, whatever the unit. */
export interface Ratio {
  readonly to: string;
  readonly ratio: number;
}

export interface RowResult {
  readonly name: string;
  readonly what: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  readonly backing: BackingKind;
  readonly cells: Readonly<Record<string, Cell>>;
  readonly peer?: Ratio;
  readonly floor?: Ratio;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
}

export interface BenchResult {
  readonly version: 1;
  readonly commit: string;
  readonly date: string;
  readonly machine: Machine;
  readonly scale: string;
  readonly runs: number;
  readonly systems: Readonly<Record<string, string>>;
  readonly leftOut: Readonly<Record<string, string>>;
  readonly rows: readonly RowResult[];
  /** MiB that the processes of a mount held at most, over all rows of a backing. */
  readonly memoryMiB: Readonly<Record<string, Readonly<Record<string, number>>>>;
}
