/** A run as lines of text. */

import type { BenchResult, Cell, RowResult } from "./result.js";

export function number(value: number | null | undefined): string {
  if (value === null || value === undefined) return "-";
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  return value.toFixed(digits);
}

function shown(cell: Cell | undefined): string {
  if (cell === undefined) return "-";
  return cell.median === null ? "failed" : number(cell.median);
}

/** One row, with its cells in the order of `systems`. */
export function rowLine(row: RowResult, systems: readonly string[]): string {
  const cells = systems.map((system) => shown(row.cells[system]).padStart(10)).join("");
  const ratios = [row.peer, row.floor].map((ratio) =>
    ratio === undefined ? "-" : `${number(ratio.ratio)}x`,
  );
  const [peer = "", floor = ""] = ratios.map((text) => text.padStart(9));
  return `${`${row.backing} ${row.name}, ${row.unit}`.padEnd(34)}${cells}${peer}${floor}`;
}

export function heading(systems: readonly string[]): string {
  return `${"".padEnd(34)}${systems.map((system) => system.padStart(10)).join("")}${"/ peer".padStart(9)}${"/ floor".padStart(9)}`;
}

/** What the table has no room for. */
export function notes({ rows, leftOut, memoryMiB }: BenchResult): string[] {
  const failed = rows.flatMap((row) =>
    Object.entries(row.cells).flatMap(([system, cell]) =>
      cell.failed === undefined ? [] : [`${system} failed in ${row.backing} ${row.name}: ${cell.failed}`],
    ),
  );
  const cpu = rows.flatMap((row) => {
    const takes = Object.entries(row.cells).flatMap(([system, { cpuSecondsPerGiB }]) =>
      cpuSecondsPerGiB === undefined ? [] : [`${system} ${number(cpuSecondsPerGiB)}`],
    );
    const told = ["write", "rewrite", "read"].includes(row.name) && takes.length > 0;
    return told ? [`CPU seconds for a GiB, ${row.backing} ${row.name}: ${takes.join(", ")}`] : [];
  });
  const memory = Object.entries(memoryMiB).map(([backing, systems]) => {
    const held = Object.entries(systems).map(([system, mebibytes]) => `${system} ${number(mebibytes)}`);
    return `MiB of memory at most, ${backing}: ${held.join(", ")}`;
  });
  const out = Object.entries(leftOut).map(([system, why]) => `${system} is left out: ${why}`);
  return [...out, ...failed, ...cpu, ...memory];
}
