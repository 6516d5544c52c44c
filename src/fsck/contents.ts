/** What a regular file's home is worth (docs/format.md §5, §9). */

import type { Node } from "../reader/entry.js";
import type { DamageError } from "../reader/errors.js";
import type { InodeRecord } from "../reader/record.js";
import type { SealedFile } from "../reader/tree.js";
import { asDamage } from "../reader/verify.js";
import type { OpenFile, Volume } from "../reader/volume.js";
import { findingAt, rawRecord } from "./entries.js";
import { type Finding, type Kind, type Place, RESTORE, SET_ASIDE } from "./finding.js";

export interface Contents {
  /** Of the header; undefined for a file without one, and for one that does not open. */
  readonly commit: bigint | undefined;
  /** Set when nothing of the file can be read. */
  readonly lost: DamageError | undefined;
  readonly findings: readonly Finding[];
}

const EXPORT = "kmsfs export has what is left of it";

/** Looks at a file; at every block of it where it is `deep`. */
export async function contentsOf(
  volume: Volume,
  node: Node,
  record: InodeRecord,
  at: Place,
  deep: boolean,
): Promise<Contents> {
  let open: OpenFile;
  try {
    open = await volume.openFile(node.path, record);
  } catch (error) {
    return { commit: undefined, lost: asDamage(error), findings: [] };
  }
  try {
    const findings = shape(volume, node, record, at, open);
    if (deep) findings.push(...(await blocks(node, open.file)));
    return { commit: open.file.commit, lost: undefined, findings };
  } finally {
    open.close();
  }
}

/** The finding for a file that `contentsOf` calls lost. */
export function lostFinding(volume: Volume, node: Node, at: Place, lost: DamageError): Finding {
  if (lost.code === "unreadable")
    return findingAt(node, ["unreadable", "damage"], lost.message, "look at the disk, and run it again");
  if (volume.logDamage !== undefined) {
    const remedy = `nothing, as long as the commit log is damaged, which may hold it; ${RESTORE}`;
    return findingAt(node, ["header", "damage"], lost.message, remedy);
  }
  const action = { does: "set-aside", at, record: rawRecord(node) } as const;
  const what = `${lost.message}: nothing of its contents can be opened`;
  return findingAt(node, ["header", "damage"], what, `${SET_ASIDE}; ${RESTORE}`, action);
}

function shape(volume: Volume, node: Node, record: InodeRecord, at: Place, open: OpenFile): Finding[] {
  const { file, folded } = open;
  const found: Finding[] = [];
  const damage = (kind: Kind, error: DamageError, remedy: string, length?: bigint) =>
    found.push(
      findingAt(
        node,
        [kind, "damage"],
        error.message,
        remedy,
        length === undefined ? undefined : { does: "cut", at, length },
      ),
    );
  if (folded.damage) damage("log-older", folded.damage, "none: the file is used as it is at home");
  const right = volume.geometry.physicalLength(file.size);
  const settled = folded.taken === 0;
  if (file.lengthDamage !== undefined && settled && volume.logDamage === undefined) {
    if (node.stats.size > right)
      damage("too-long", file.lengthDamage, "cuts it there; what is behind goes to lost+found", right);
    else damage("too-short", file.lengthDamage, `none: ${RESTORE}; ${EXPORT}`);
  } else if (file.lengthDamage !== undefined) {
    damage("too-short", file.lengthDamage, `none: ${RESTORE}; ${EXPORT}`);
  }
  // An empty file that was never written has neither header nor length, and keeps the mark.
  if (record.growing && settled && (file.commit !== undefined || node.stats.size > 0n)) {
    const what = "it was being written when the engine ended: its length proves nothing";
    const remedy = "settled by the mount when the file is next opened";
    found.push(findingAt(node, ["growing", "expected"], what, remedy));
  }
  return found;
}

async function blocks(node: Node, file: SealedFile): Promise<Finding[]> {
  const found: Finding[] = [];
  for await (const one of file.walk()) {
    if (one.kind !== "damage") continue;
    const { message, block } = one.error;
    const finding = findingAt(node, ["block", "damage"], message, `none: ${RESTORE}; ${EXPORT}`);
    found.push({ ...finding, ...(block !== undefined && { block: `${block}` }) });
  }
  return found;
}
