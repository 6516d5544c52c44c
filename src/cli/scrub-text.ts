/** A scrub for people. */

import { join } from "node:path";
import { progressOf, type ScrubFinding, type ScrubStatus } from "../mount/scrub.js";
import { durationText, sizeText } from "./units.js";

const BAR = 24;

/** One line: how far it is, or how it ended. */
export function scrubText(scrub: ScrubStatus): string {
  const { state, counts, findingCount, ended, message } = scrub;
  const looked = `${counts.files} files, ${counts.blocks} blocks, ${sizeText(counts.bytes)}`;
  const problems =
    findingCount === 0 ? "nothing wrong" : findingCount === 1 ? "1 problem" : `${findingCount} problems`;
  if (state === "running") return `running, ${percent(scrub)}${eta(scrub)}: ${looked}, ${problems} so far`;
  if (state === "done") return `done ${ended ?? ""}: ${looked}, ${problems}`;
  if (state === "failed") return `failed: ${message ?? "no reason given"}`;
  const on = state === "stopped" ? "" : "; kmsfs scrub goes on with it";
  return `${state} at ${percent(scrub)}: ${looked}, ${problems} so far${on}`;
}

/** "[######      ]  43 %, 12.3 GiB, 2 min left" */
export function scrubBar(scrub: ScrubStatus): string {
  const full = Math.round(progressOf(scrub) * BAR);
  const bar = `${"#".repeat(full)}${" ".repeat(BAR - full)}`;
  return `[${bar}] ${percent(scrub)}, ${sizeText(scrub.counts.bytes)}${eta(scrub)}, problems: ${scrub.findingCount}`;
}

function percent(scrub: ScrubStatus): string {
  return scrub.totalBytes === 0 && scrub.state === "running"
    ? "counting"
    : `${Math.floor(progressOf(scrub) * 100)} %`;
}

function eta({ seconds, counts, totalBytes }: ScrubStatus): string {
  const left = totalBytes - counts.bytes;
  if (seconds < 2 || counts.bytes === 0 || left <= 0) return "";
  return `, about ${durationText((left * seconds) / counts.bytes)} left`;
}

/** By its path on the mount as far as that is known. */
export function findingLine(dir: string, { path, place, block, file, detail }: ScrubFinding): string {
  const name = path === null ? (place ?? `file ${file}`) : join(dir, path);
  return `${name}: ${block === null || detail.startsWith("block ") ? "" : `block ${block} `}${detail}`;
}
