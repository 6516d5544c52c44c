/** A run as a picture: for each row a bar for each system, as long as it is good beside the best of the row. */

import type { BenchResult, RowResult } from "./result.js";
import { number } from "./table.js";

const COLORS: Readonly<Record<string, string>> = {
  kmsfs: "#0b6e4f",
  gocryptfs: "#d1495b",
  securefs: "#edae49",
  cryfs: "#8d6a9f",
  encfs: "#a05195",
  bindfs: "#9aa5b1",
  floor: "#52606d",
  plain: "#cbd2d9",
};
const LABEL = 250;
const BARS = 420;
const VALUES = 250;
const BAR = 9;
const GAP = 12;
const TOP = 92;

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const text = (x: number, y: number, said: string, attributes = ""): string =>
  `<text x="${x}" y="${y.toFixed(1)}" ${attributes}>${escaped(said)}</text>`;

/** Between 0 and 1: how good a value is beside the best of its row, of which the plain file system is none. */
function goodness(row: RowResult, value: number): number {
  const served = Object.entries(row.cells).filter(([system]) => system !== "plain");
  const medians = served.flatMap(([, { median }]) => (median === null || median <= 0 ? [] : [median]));
  if (medians.length === 0) return 1;
  const share = row.better === "higher" ? value / Math.max(...medians) : Math.min(...medians) / value;
  return Math.min(1, Math.max(0, share));
}

function rowPicture(row: RowResult, systems: readonly string[], top: number): string[] {
  const ratios = [row.peer, row.floor].flatMap((r) =>
    r === undefined ? [] : [`${number(r.ratio)}x ${r.to}`],
  );
  const bars = systems.flatMap((system, i) => {
    const cell = row.cells[system];
    const y = top + i * BAR;
    if (cell?.median === null || cell === undefined) {
      return cell === undefined ? [] : [text(LABEL + 4, y + BAR - 1.5, `${system}: failed`, 'class="small"')];
    }
    const width = Math.max(1, goodness(row, cell.median) * BARS);
    const color = COLORS[system] ?? "#000";
    return [
      `<rect x="${LABEL}" y="${y}" width="${width.toFixed(1)}" height="${BAR - 1}" fill="${color}"/>`,
      text(LABEL + width + 4, y + BAR - 1.5, number(cell.median), 'class="small"'),
    ];
  });
  const middle = top + (systems.length * BAR) / 2;
  return [
    text(LABEL - 8, middle - 2, `${row.name} (${row.backing}), ${row.unit}`, 'text-anchor="end"'),
    text(LABEL - 8, middle + 10, row.what, 'text-anchor="end" class="small"'),
    ...bars,
    text(LABEL + BARS + 60, middle + 3, ratios.length > 0 ? `kmsfs: ${ratios.join(", ")}` : ""),
  ];
}

export function chart(result: BenchResult): string {
  const systems = Object.keys(result.systems);
  const height = systems.length * BAR + GAP;
  const { cpu, cores, kernel, memoryGiB } = result.machine;
  const legend = systems.map((system, i) => {
    const x = 20 + i * 110;
    const box = `<rect x="${x}" y="60" width="10" height="10" fill="${COLORS[system] ?? "#000"}"/>`;
    return box + text(x + 14, 69, system);
  });
  const rows = result.rows.flatMap((row, i) => rowPicture(row, systems, TOP + i * height));
  const width = LABEL + BARS + VALUES;
  const total = TOP + result.rows.length * height + 10;
  const where = `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${kernel}; ${result.date.slice(0, 10)}, ${result.commit}`;
  const how = `Longer is better: each bar beside the best of its row, where the plain file system is cut. Medians of ${result.runs} runs, ${result.scale} sizes.`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${total}" viewBox="0 0 ${width} ${total}" role="img">`,
    "<title>kmsfs beside other encrypting file systems</title>",
    "<style>text{font:11px sans-serif;fill:#1f2933}.small{font-size:8.5px;fill:#52606d}.head{font-size:15px}</style>",
    `<rect width="${width}" height="${total}" fill="#fff"/>`,
    text(20, 24, "kmsfs beside other encrypting file systems and bare FUSE", 'class="head"'),
    text(20, 40, where, 'class="small"'),
    text(20, 52, how, 'class="small"'),
    ...legend,
    ...rows,
    "</svg>\n",
  ].join("\n");
}
