/** Rows on mounted systems, in turns: each run of a row goes through all systems before the next run. */

import type { Cell, RowResult } from "./result.js";
import { type BackingKind, Bench, type Row, type Sample, type Shared } from "./rows/row.js";
import type { Scale } from "./scale.js";
import { median, ratioToBest, spread } from "./statistics.js";
import type { Subject } from "./subject.js";
import { command } from "./support/command.js";

export interface Settings {
  readonly scale: Scale;
  readonly runs: number;
  readonly shared: Shared;
  readonly say: (line: string) => void;
}

interface Taken extends Sample {
  readonly cpuSeconds: number;
}

class Column {
  readonly taken: (Taken | null)[] = [];
  failed: string | undefined;
  readonly bench: Bench;

  constructor(subject: Subject, row: Row, { scale, shared }: Settings) {
    this.bench = new Bench(subject, scale, row.name, shared, 1);
  }

  /** Runs something that may fail: then the cell says so and the others go on. */
  async try<T>(work: () => Promise<T>): Promise<T | null> {
    if (this.failed !== undefined) return null;
    try {
      return await work();
    } catch (error) {
      this.failed = error instanceof Error ? error.message : String(error);
      return null;
    }
  }

  async once(row: Row): Promise<void> {
    this.taken.push(
      await this.try(async () => {
        const sample = await row.run(this.bench);
        this.bench.subject.checkMounted();
        if (!Number.isFinite(sample.value)) throw new Error("no number came out of it");
        return { ...sample, cpuSeconds: this.bench.loadCpuSeconds };
      }),
    );
  }

  cell(): Cell {
    const taken = this.taken.filter((one) => one !== null);
    const values = taken.map(({ value }) => value);
    const middle = (of: (one: Taken) => number | undefined): number | null =>
      median(taken.map(of).filter((value) => value !== undefined));
    const [p50us, p99us] = [middle((one) => one.p50us), middle((one) => one.p99us)];
    const cpu = middle(({ bytes, cpuSeconds }) =>
      bytes === undefined || bytes === 0 ? undefined : cpuSeconds / (bytes / 2 ** 30),
    );
    return {
      values: this.taken.map((one) => one?.value ?? null),
      median: median(values),
      spread: spread(values),
      ...(p50us === null ? {} : { p50us }),
      ...(p99us === null ? {} : { p99us }),
      ...(cpu === null || this.bench.subject.pids.length === 0 ? {} : { cpuSecondsPerGiB: cpu }),
      ...(this.failed === undefined ? {} : { failed: this.failed }),
    };
  }

  /** The mount as it was before, with nothing of the row left. */
  async finish(row: Row): Promise<void> {
    const { subject } = this.bench;
    await row.finish?.(this.bench);
    try {
      await command(["rm", "-rf", this.bench.dir], { limit: 600 });
    } catch {
      await subject.remount().catch((error: unknown) => {
        this.failed ??= `it could not be mounted again: ${String(error)}`;
      });
    }
  }
}

export async function measureRow(
  row: Row,
  backing: BackingKind,
  subjects: readonly Subject[],
  settings: Settings,
): Promise<RowResult> {
  const columns = subjects.map((subject) => new Column(subject, row, settings));
  try {
    for (const column of columns) {
      await column.try(async () => {
        await column.bench.subject.ensureMounted();
        column.bench.subject.makeDirectory(row.name);
        await row.prepare?.(column.bench);
      });
    }
    for (let run = 0; run < settings.runs; run++) {
      for (let turn = 0; turn < columns.length; turn++) {
        const column = columns[(run + turn) % columns.length];
        if (column === undefined) continue;
        column.bench.seed = run + 1;
        await column.once(row);
      }
    }
  } finally {
    for (const column of columns) await column.finish(row);
  }
  const cells = Object.fromEntries(columns.map((column) => [column.bench.subject.name, column.cell()]));
  const { name, what, unit, better } = row;
  const peers = subjects
    .filter(({ system }) => system.encrypts && system.name !== "kmsfs")
    .map((s) => s.name);
  const [peer, floor] = [peers, ["floor"]].map((others) => ratioToBest(cells, "kmsfs", others, better));
  return {
    ...{ name, what, unit, better, backing, cells },
    ...(peer === undefined ? {} : { peer }),
    ...(floor === undefined ? {} : { floor }),
  };
}
