/** Plots with logarithmic axes: what does not grow is a flat line. */

import type { GrowthResult, Line, Plot } from "./result.js";

const COLORS = ["#0b6e4f", "#d1495b", "#00798c", "#edae49", "#52606d", "#a05195", "#8d6a9f", "#9aa5b1"];
const WIDTH = 460;
const HEIGHT = 300;
const LEFT = 60;
const RIGHT = 20;
const TOP = 40;
const BOTTOM = 110;

const escaped = (said: string): string =>
  said.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const text = (x: number, y: number, said: string, attributes = ""): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escaped(said)}</text>`;

/** 1 k, 10 M: powers of 1000. */
function short(value: number): string {
  const power = Math.max(0, Math.floor(Math.log10(value) / 3 + 1e-9));
  return `${Number((value / 1000 ** power).toPrecision(3))}${["", "k", "M", "G", "T"][power] ?? ""}`;
}

/** Whole powers of ten around some values. */
function decades(values: readonly number[]): [number, number] {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  if (logs.length === 0) return [0, 1];
  const [low, high] = [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs))];
  return low === high ? [low, high + 1] : [low, high];
}

function onePlot(plot: Plot, left: number, top: number): string[] {
  const points = plot.lines.flatMap(({ points }) => points);
  const [x0, x1] = decades(points.map(({ x }) => x));
  const [y0, y1] = decades(points.map(({ y }) => y));
  const [inner, tall] = [WIDTH - LEFT - RIGHT, HEIGHT - TOP];
  const px = (x: number): number => left + LEFT + ((Math.log10(x) - x0) / (x1 - x0)) * inner;
  const py = (y: number): number => top + HEIGHT - ((Math.log10(y) - y0) / (y1 - y0)) * tall;
  const steps = (from: number, to: number): number[] =>
    Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));
  const grid = [
    ...steps(x0, x1).map((x) => axis(px(x), top + TOP, px(x), top + HEIGHT)),
    ...steps(y0, y1).map((y) => axis(left + LEFT, py(y), left + WIDTH - RIGHT, py(y))),
    ...steps(x0, x1).map((x) =>
      text(px(x), top + HEIGHT + 14, short(x), 'text-anchor="middle" class="small"'),
    ),
    ...steps(y0, y1).map((y) =>
      text(left + LEFT - 6, py(y) + 3, short(y), 'text-anchor="end" class="small"'),
    ),
  ];
  const operations = [...new Set(plot.lines.map(({ operation }) => operation))];
  const lines = plot.lines.flatMap((line, i) => {
    const style = strokeOf(line, operations);
    const path = line.points
      .map(({ x, y }) => `${px(x).toFixed(1)},${py(Math.max(y, 10 ** y0)).toFixed(1)}`)
      .join(" ");
    const [column, row] = [i % 2, i >> 1];
    const [lx, ly] = [left + 20 + column * 220, top + HEIGHT + 46 + row * 14];
    return [
      `<polyline points="${path}" fill="none" ${style}/>`,
      `<line x1="${lx}" y1="${ly}" x2="${lx + 22}" y2="${ly}" ${style}/>`,
      text(lx + 27, ly + 3, `${line.system}: ${line.operation}`, 'class="small"'),
    ];
  });
  return [
    text(left + LEFT, top + 18, plot.name, 'class="head"'),
    text(left + LEFT, top + 32, plot.y, 'class="small"'),
    text(left + LEFT + inner / 2, top + HEIGHT + 28, plot.x, 'text-anchor="middle" class="small"'),
    ...grid,
    ...lines,
  ];
}

/** A color for each operation; kmsfs drawn through, what it is compared with dashed. */
function strokeOf({ system, operation }: Line, operations: readonly string[]): string {
  const color = COLORS[operations.indexOf(operation) % COLORS.length] ?? "#000";
  return `stroke="${color}" stroke-width="2" ${system === "kmsfs" ? "" : 'stroke-dasharray="4 3"'}`;
}

function axis(x1: number, y1: number, x2: number, y2: number): string {
  const at = [x1, y1, x2, y2].map((n) => n.toFixed(1));
  return `<line x1="${at[0]}" y1="${at[1]}" x2="${at[2]}" y2="${at[3]}" stroke="#e4e7eb"/>`;
}

export function plotted(result: GrowthResult): string {
  const columns = 2;
  const rows = Math.ceil(result.plots.length / columns);
  const [width, height] = [columns * WIDTH, 50 + rows * (HEIGHT + BOTTOM)];
  const { cpu, cores, kernel } = result.machine;
  const where = `${cpu}, ${cores} cores, ${kernel}; ${result.date.slice(0, 10)}, ${result.commit}; both axes logarithmic`;
  const plots = result.plots.flatMap((plot, i) =>
    onePlot(plot, (i % columns) * WIDTH, 50 + Math.floor(i / columns) * (HEIGHT + BOTTOM)),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    "<title>What operations on kmsfs cost as things grow</title>",
    "<style>text{font:11px sans-serif;fill:#1f2933}.small{font-size:9px;fill:#52606d}.head{font-size:14px}</style>",
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    text(20, 24, "What an operation costs as the file, the directory, the volume grows", 'class="head"'),
    text(20, 40, where, 'class="small"'),
    ...plots,
    "</svg>\n",
  ].join("\n");
}
