/** What this host knows of snapshots, from its manifests and journals. AWS is not asked: EBS's direct APIs list none. */

import { readJournalFile } from "./digest-file.js";
import { isJournalHeader } from "./journal-header.js";
import { blocksOfGib, listState, type ManifestHeader, readManifest } from "./manifest.js";
import { journalFile } from "./places.js";

export interface KnownSnapshot extends ManifestHeader {
  /** that do not hold zeros alone */
  readonly blocks: number;
}

export interface Unfinished {
  readonly source: string;
  readonly started: string;
  readonly parent: string | null;
  /** blocks that are there already */
  readonly put: number;
}

export interface Known {
  readonly snapshots: readonly KnownSnapshot[];
  readonly unfinished: readonly Unfinished[];
  readonly damaged: readonly { snapshot: string; error: unknown }[];
}

/** Throws UserError (Privilege). Oldest first. */
export async function knownSnapshots(): Promise<Known> {
  const names = listState();
  const snapshots: KnownSnapshot[] = [];
  const damaged: { snapshot: string; error: unknown }[] = [];
  for (const snapshot of names.snapshots) {
    try {
      const manifest = await readManifest(snapshot);
      if (manifest !== undefined) snapshots.push({ ...manifest.header, blocks: manifest.digests.count });
    } catch (error) {
      damaged.push({ snapshot, error });
    }
  }
  snapshots.sort((a, b) => (a.created < b.created ? -1 : 1));
  const unfinished: Unfinished[] = [];
  for (const name of names.journals) {
    const journal = await readJournalFile(journalFile(name), (header) =>
      isJournalHeader(header) ? blocksOfGib(header.volumeGib) : 0,
    );
    if (journal === undefined || !isJournalHeader(journal.header)) continue;
    const { source, started, parent } = journal.header;
    unfinished.push({ source, started, parent, put: journal.digests.count });
  }
  return { snapshots, unfinished, damaged };
}
