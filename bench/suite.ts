/** All chosen rows on all chosen systems, one backing after the other. */

import { makeBacking } from "./backings.js";
import { commit, machine, versionOf } from "./machine.js";
import { measureRow, type Settings } from "./measure.js";
import type { RunOptions } from "./options.js";
import type { BenchResult, RowResult } from "./result.js";
import { ROWS } from "./rows/all.js";
import type { BackingKind, Row } from "./rows/row.js";
import { SharedThings } from "./shared.js";
import { Subject } from "./subject.js";
import { isInstalled } from "./support/command.js";
import { Scratch } from "./support/scratch.js";
import { SYSTEMS } from "./systems/all.js";
import type { System } from "./systems/system.js";
import { heading, rowLine } from "./table.js";

export async function runSuite(options: RunOptions, say: (line: string) => void): Promise<BenchResult> {
  const suite = new Suite(options, say);
  try {
    return await suite.run();
  } finally {
    suite.scratch.remove();
  }
}

class Suite {
  readonly scratch: Scratch;
  readonly #options: RunOptions;
  readonly #settings: Settings;
  readonly #leftOut: Record<string, string> = {};
  readonly #rows: RowResult[] = [];
  readonly #memory: Record<string, Record<string, number>> = {};

  constructor(options: RunOptions, say: (line: string) => void) {
    this.#options = options;
    this.scratch = new Scratch(options.disk);
    const { scale, runs } = options;
    this.#settings = { scale, runs, say, shared: new SharedThings(this.scratch) };
  }

  async run(): Promise<BenchResult> {
    const { only, backings, runs, scale } = this.#options;
    const chosen = ROWS.filter(
      ({ name }) => only.length === 0 || only.some((start) => name.startsWith(start)),
    );
    const rows = await this.#possible(chosen);
    const systems = await this.#installed();
    for (const kind of backings) {
      const here = rows.filter((row) => row.backings.includes(kind));
      if (here.length > 0) await this.#onBacking(kind, here, systems);
    }
    const versions = systems.map(async ({ name, program }) => [name, await versionOf(program)] as const);
    return {
      version: 1,
      commit: await commit(),
      date: new Date().toISOString(),
      machine: machine(),
      scale: scale.name,
      runs,
      systems: Object.fromEntries(await Promise.all(versions)),
      leftOut: this.#leftOut,
      rows: this.#rows,
      memoryMiB: this.#memory,
    };
  }

  async #possible(rows: readonly Row[]): Promise<Row[]> {
    const possible: Row[] = [];
    for (const row of rows) {
      const needs = row.needs ?? [];
      const there = await Promise.all(needs.map(isInstalled));
      const missing = needs.filter((_, i) => !there[i]);
      if (missing.length === 0) possible.push(row);
      else this.#leave(`row ${row.name}`, `${missing.join(", ")} not installed`);
    }
    return possible;
  }

  async #installed(): Promise<System[]> {
    const { systems: wanted } = this.#options;
    const unknown = wanted?.filter((name) => !SYSTEMS.some((system) => system.name === name)) ?? [];
    if (unknown.length > 0) throw new Error(`there is no system ${unknown.join(", ")}`);
    const systems: System[] = [];
    for (const system of SYSTEMS.filter(({ name }) => wanted?.includes(name) ?? true)) {
      if (system.program === undefined || (await isInstalled(system.program))) systems.push(system);
      else this.#leave(system.name, "not installed");
    }
    return systems;
  }

  #leave(what: string, why: string): void {
    this.#leftOut[what] = why;
    this.#settings.say(`${what} is left out: ${why}`);
  }

  async #onBacking(kind: BackingKind, rows: readonly Row[], systems: readonly System[]): Promise<void> {
    const { say } = this.#settings;
    const backing = await makeBacking(kind, this.scratch, this.#options.scale.slowDisk);
    const subjects: Subject[] = [];
    for (const system of systems) {
      try {
        subjects.push(await Subject.make(system, this.scratch, backing.dir));
      } catch (error) {
        this.#leave(`${system.name} on ${kind}`, error instanceof Error ? error.message : String(error));
      }
    }
    const names = systems.map(({ name }) => name);
    say(heading(names));
    for (const row of rows) {
      const result = await measureRow(row, kind, subjects, this.#settings);
      this.#rows.push(result);
      say(rowLine(result, names));
    }
    const served = subjects.filter(({ pids }) => pids.length > 0);
    this.#memory[kind] = Object.fromEntries(served.map((s) => [s.name, s.peakMemory() / 2 ** 20]));
    for (const subject of subjects) await subject.unmount();
    await backing.remove();
  }
}
