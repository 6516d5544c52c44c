/**
 * The text that scrapers read. OpenMetrics 1.0 for those that ask the control socket, and Prometheus's older text format
 * 0.0.4 for the textfile collector of node_exporter, which knows neither `info` nor a counter's name without _total.
 */

import type { MountStatus } from "../mount/status.js";
import { type Buckets, FAMILIES, type Family, type Labels, type Sample } from "./definitions.js";

export type Format = "openmetrics" | "prometheus";

export const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
};

/** All metrics of these mounts. */
export function expose(mounts: readonly MountStatus[], format: Format): string {
  const families = FAMILIES.flatMap((family) => {
    const lines = samplesOf(family, mounts).flatMap((one) => sampleLines(family, one));
    return lines.length === 0 ? [] : [...metadata(family, format), ...lines];
  });
  return [...families, ...(format === "openmetrics" ? ["# EOF"] : []), ""].join("\n");
}

function samplesOf(family: Family, mounts: readonly MountStatus[]): readonly Sample[] {
  if ("readProgram" in family) return family.readProgram();
  return mounts.flatMap((mount) =>
    family.read(mount).map(({ labels, value }) => ({
      labels: { volume: mount.uuid ?? "", mountpoint: mount.dir, ...labels },
      value,
    })),
  );
}

function metadata(family: Family, format: Format): string[] {
  const { type, unit } = family;
  const help = `[${family.stability}] ${family.help}`;
  if (format === "openmetrics") {
    const units = unit === undefined ? [] : [`# UNIT ${family.name} ${unit}`];
    return [`# TYPE ${family.name} ${type}`, ...units, `# HELP ${family.name} ${escaped(help)}`];
  }
  const name = type === "histogram" ? family.name : sampleName(family);
  // Quotes are no special character here.
  const text = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return [`# HELP ${name} ${text}`, `# TYPE ${name} ${type === "info" ? "gauge" : type}`];
}

/** The name that a sample of it has. */
export function sampleName({ name, type }: Family): string {
  return name + (type === "counter" ? "_total" : type === "info" ? "_info" : "");
}

function sampleLines(family: Family, { labels = {}, value }: Sample): string[] {
  if (typeof value === "number") return [line(sampleName(family), labels, value)];
  return histogramLines(family.name, labels, value);
}

function histogramLines(name: string, labels: Labels, { bounds, counts, sum }: Buckets): string[] {
  let total = 0;
  const buckets = counts.map((count, i) => {
    total += count;
    const bound = bounds[i];
    return line(`${name}_bucket`, { ...labels, le: bound === undefined ? "+Inf" : canonical(bound) }, total);
  });
  return [...buckets, line(`${name}_sum`, labels, sum), line(`${name}_count`, labels, total)];
}

function line(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`;
}

/** A float as OpenMetrics wants it in `le`: a whole number keeps its point. */
function canonical(bound: number): string {
  return Number.isInteger(bound) ? bound.toFixed(1) : String(bound);
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}
