/** What `npm run bench:growth` says: docs/growth.json has this form. */

import type { Machine } from "../result.js";

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** One line: how long something takes as something grows. */
export interface Line {
  readonly system: string;
  readonly operation: string;
  readonly points: readonly Point[];
}

export interface Plot {
  readonly name: string;
  readonly x: string;
  readonly y: string;
  readonly lines: readonly Line[];
}

export interface GrowthResult {
  readonly version: 1;
  readonly commit: string;
  readonly date: string;
  readonly machine: Machine;
  readonly plots: readonly Plot[];
}

/** Lines that grow point by point. */
export class Lines {
  readonly #lines = new Map<string, { system: string; operation: string; points: Point[] }>();

  add(system: string, operation: string, x: number, y: number): void {
    const key = `${system} ${operation}`;
    const line = this.#lines.get(key) ?? { system, operation, points: [] };
    line.points.push({ x, y });
    this.#lines.set(key, line);
  }

  all(): Line[] {
    return [...this.#lines.values()];
  }
}
