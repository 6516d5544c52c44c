/** Looks, and repairs until nothing is left that it can repair. */

import { readFile } from "node:fs/promises";
import { volumePaths } from "../volume/paths.js";
import { replacePreviousHeader, underHeaderLock } from "../volume/store.js";
import type { Finding } from "./finding.js";
import { Repair } from "./repair.js";
import type { Session } from "./session.js";
import { type Survey, type SurveyOptions, survey } from "./survey.js";

/** What a repair brings to light is repaired too: below a directory that came back, a sidecar whose entry went. */
const MOST_ROUNDS = 10;

export interface RepairResult {
  readonly repaired: readonly Finding[];
  /** As it is afterwards. */
  readonly left: Survey;
  /** Where what was taken out is; undefined where nothing was. */
  readonly lostAndFound: string | undefined;
  /** One line each */
  readonly warnings: readonly string[];
}

export interface RepairOptions {
  readonly onRepaired?: (finding: Finding) => void;
  readonly onProgress?: (inodes: number) => void;
}

/** Looks once and changes nothing. */
export async function look(session: Session, options: SurveyOptions): Promise<Survey> {
  const volume = session.volume();
  try {
    return await survey(volume, session.facts, options);
  } finally {
    volume.close();
  }
}

/** What `first` found, repaired. Rejects with UserErrors and the system's errors; what was done until then is whole. */
export async function repair(
  backing: string,
  session: Session,
  first: Survey,
  options: RepairOptions,
): Promise<RepairResult> {
  const volume = session.volume();
  const repaired: Finding[] = [];
  const warnings: string[] = [];
  try {
    const work = new Repair(backing, volume.keys, volume.id);
    let found = first;
    for (let round = 0; round < MOST_ROUNDS; round++) {
      let done = 0;
      for (const finding of found.findings) {
        if (!(await repairOne(backing, session, work, finding, warnings))) continue;
        done++;
        repaired.push(finding);
        options.onRepaired?.(finding);
      }
      if (done === 0) break;
      found = await look(session, { deep: false, ...options });
    }
    await work.lostAndFound.flush();
    // Blocks are looked at once: no repair changes them.
    const kept = first.findings.filter(({ kind }) => kind === "block");
    const left = { ...found, findings: [...found.findings.filter(({ kind }) => kind !== "block"), ...kept] };
    return { repaired, left, lostAndFound: work.lostAndFound.directory, warnings };
  } finally {
    volume.close();
  }
}

async function repairOne(
  backing: string,
  session: Session,
  work: Repair,
  { kind, action }: Finding,
  warnings: string[],
): Promise<boolean> {
  if (action === undefined) return false;
  if (action.does === "put-header-back") {
    warnings.push(...(await session.putHeaderBack()));
    return true;
  }
  if (action.does === "copy-header") {
    const paths = volumePaths(backing);
    await underHeaderLock(paths, async () => replacePreviousHeader(paths, await readFile(paths.header)));
    return true;
  }
  return work.run(kind, action);
}

/** Findings that count for the exit status. */
export function counted(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ severity }) => severity !== "expected");
}
