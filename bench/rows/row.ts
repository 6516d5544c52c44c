/** What is measured of a system: one line of the table. */

import { rmSync } from "node:fs";
import type { Scale } from "../scale.js";
import type { Subject } from "../subject.js";
import { command } from "../support/command.js";
import { load, type Measured } from "../support/programs.js";

export interface Sample {
  readonly value: number;
  readonly p50us?: number;
  readonly p99us?: number;
  /** Bytes that the load moved: the processor time of the daemon is told for a GiB of them. */
  readonly bytes?: number;
}

export type BackingKind = "memory" | "disk" | "slow";

export interface Row {
  readonly name: string;
  readonly what: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  readonly backings: readonly BackingKind[];
  /** Programs without which there is no such row. */
  readonly needs?: readonly string[];
  /** Once for each system, before the first run; what it makes below `at` stays until the row is over. */
  readonly prepare?: (at: Bench) => Promise<unknown>;
  readonly run: (at: Bench) => Promise<Sample>;
  /** When the row is over for this system, whatever happened. */
  readonly finish?: (at: Bench) => Promise<unknown>;
}

/** What a row works with: one system, and a directory of the row's own in its mount. */
export class Bench {
  #loadCpuSeconds = 0;

  constructor(
    readonly subject: Subject,
    readonly scale: Scale,
    readonly row: string,
    /** What is the same for all systems: tar files, the repository. Made once. */
    readonly shared: Shared,
    public seed: number,
  ) {}

  get dir(): string {
    return `${this.subject.dir}/${this.row}`;
  }

  file(name: string): string {
    return `${this.dir}/${name}`;
  }

  async load(what: string, name: string, ...args: (string | number)[]): Promise<Measured> {
    const before = this.subject.cpuSeconds();
    const measured = await load(this.scale.limit, what, this.file(name), "--seed", this.seed, ...args);
    this.#loadCpuSeconds = this.subject.cpuSeconds() - before;
    return measured;
  }

  /** Of the daemon, while the last load ran: not what a remount before it took. */
  get loadCpuSeconds(): number {
    return this.#loadCpuSeconds;
  }

  command(argv: readonly string[], input?: string): Promise<string> {
    return command(argv, {
      cwd: this.dir,
      limit: this.scale.limit,
      ...(input === undefined ? {} : { input }),
    });
  }

  remove(...names: string[]): void {
    for (const name of names) rmSync(this.file(name), { recursive: true, force: true });
  }

  /** Nothing of the system is in any cache: not the kernel's, not the daemon's own. */
  async cold(): Promise<void> {
    await this.subject.remount();
    await this.subject.dropCaches();
  }
}

/** Things that rows unpack or clone, made when first asked for. */
export interface Shared {
  sourceTar(files: number): Promise<string>;
  smallFilesTar(files: number): Promise<string>;
  repository(): Promise<string>;
}

export const everywhere: readonly BackingKind[] = ["memory", "disk"];

/** A quarter of some blocks, shared by all clients: so few are read twice that the cold ones count. */
export function once(at: Bench, blocks: number, threads: number): (string | number)[] {
  return ["--ops", Math.ceil(blocks / 4 / threads), "--seconds", at.scale.seconds];
}

const latencies = ({ p50us, p99us }: Measured) => ({ p50us, p99us });

export const bandwidth = (m: Measured): Sample => ({
  value: m.bytes / 2 ** 20 / m.seconds,
  ...latencies(m),
  bytes: m.bytes,
});

export const rate = (m: Measured): Sample => ({
  value: m.ops / m.seconds,
  ...latencies(m),
  ...(m.bytes > 0 ? { bytes: m.bytes } : {}),
});

export const duration = (m: Measured): Sample => ({ value: m.seconds, ...latencies(m) });
