import { idText } from "./bytes.js";
import { DamageError } from "./errors.js";
import { openHeader } from "./header.js";
import type { Commit, CommitLog } from "./log.js";
import { type BlockSource, LocalSource } from "./source.js";
import { BlockOpener, type FileIdentity } from "./tree.js";

/** What a page of the home holds: a block written there directly, or an image that stands in the log. */
type Page = "straight" | { readonly segment: string; readonly at: number; readonly length: number };

/** Commits of the log by file (hex id), each list in the order of its numbers. */
export function commitsByFile(log: CommitLog): Map<string, Commit[]> {
  const files = new Map<string, Commit[]>();
  for (const commit of log.commits) {
    const key = idText(commit.fileId);
    const list = files.get(key);
    if (list) list.push(commit);
    else files.set(key, [commit]);
  }
  return files;
}

export interface Folded {
  /** The home with the commits taken laid over it. */
  readonly source: BlockSource;
  /** How many of the file's commits are in force; with none `source` is the home as it stands. */
  readonly taken: number;
  readonly mtime: Commit["mtime"];
  /** Set when the home is newer than the log. */
  readonly damage: DamageError | undefined;
}

/** The state of one file after its commits in the log (docs/format.md §9). `durable` is U. */
export async function fold(
  file: FileIdentity,
  home: BlockSource,
  commits: readonly Commit[],
  durable: bigint,
): Promise<Folded> {
  const last = commits.at(-1);
  if (last === undefined) return { source: home, taken: 0, mtime: undefined, damage: undefined };
  const homeCommit = await commitAtHome(file, home);
  if (homeCommit !== undefined && homeCommit > last.number) {
    const what = `the file is of commit ${homeCommit}, the log of it ends at ${last.number}`;
    return { source: home, taken: 0, mtime: undefined, damage: new DamageError("log", what) };
  }
  const taken = await commitsInForce(file, home, commits, durable);
  const inForce = commits.slice(0, taken);
  const state = new FoldedState(file);
  for (const commit of inForce) state.apply(commit, () => true);
  const end = inForce.at(-1);
  const source = end ? new OverlaySource(home, state.pages, end.physicalLength) : home;
  return { source, taken, mtime: inForce.findLast((commit) => commit.mtime)?.mtime, damage: undefined };
}

/** The largest k of the format: the state after k commits has no straight block that did not arrive. */
async function commitsInForce(
  file: FileIdentity,
  home: BlockSource,
  commits: readonly Commit[],
  durable: bigint,
): Promise<number> {
  const opener = new BlockOpener(file, home);
  const least = commits.filter((commit) => commit.number <= durable).length;
  const state = new FoldedState(file);
  let best = least;
  for (const [i, commit] of commits.entries()) {
    const arrived = new Set<bigint>();
    for (const block of commit.number > durable ? commit.straight : []) {
      const at = homeOf(file, block.index, commit);
      if (await opener.open(block.entry, 0, block.index, at, block.length)) arrived.add(block.index);
    }
    state.apply(commit, (index) => commit.number <= durable || arrived.has(index));
    if (state.missing.size === 0 && i + 1 > least) best = i + 1;
  }
  return best;
}

/** Pages of a home, by offset, after some commits of its file. */
class FoldedState {
  readonly pages = new Map<bigint, Page>();
  /** Pages whose last state is a straight block that did not arrive. */
  readonly missing = new Set<bigint>();
  #length = 0n;

  constructor(private readonly file: FileIdentity) {}

  apply(commit: Commit, arrived: (index: bigint) => boolean): void {
    this.#cut(commit);
    for (const { index } of commit.straight) {
      const home = homeOf(this.file, index, commit);
      this.pages.set(home, "straight");
      if (arrived(index)) this.missing.delete(home);
      else this.missing.add(home);
    }
    for (const { home, at, length } of commit.images) {
      this.pages.set(home, { segment: commit.segment, at: commit.offset + at, length });
      this.missing.delete(home);
    }
  }

  #cut({ physicalLength, punched }: Commit): void {
    // No page lies beyond the length of the commit before: where nothing shrinks, nothing need be looked for.
    const shrinks = physicalLength < this.#length;
    this.#length = physicalLength;
    if (!shrinks && punched.length === 0) return;
    for (const offset of this.pages.keys()) {
      const hollow = punched.some((range) => offset >= range.offset && offset < range.offset + range.length);
      if (offset < physicalLength && !hollow) continue;
      this.pages.delete(offset);
      this.missing.delete(offset);
    }
  }
}

function homeOf(file: FileIdentity, index: bigint, commit: Commit): bigint {
  if (index * file.geometry.block >= file.geometry.maxSize) {
    throw new DamageError("log", `log record ${commit.number} names block ${index}, which no file has`);
  }
  return file.geometry.home(index);
}

/** Number of the commit that wrote the header at home; undefined when that header does not authenticate. */
async function commitAtHome(file: FileIdentity, home: BlockSource): Promise<bigint | undefined> {
  const { keys, geometry, domainId, fileId } = file;
  try {
    return openHeader(keys, Number(geometry.block), domainId, fileId, await home.read(0n, 4096)).commit;
  } catch (error) {
    if (error instanceof DamageError) return undefined;
    throw error;
  }
}

/** A home under the images of commits that are not home yet. Reads go by page, as the format's do. */
class OverlaySource implements BlockSource {
  constructor(
    private readonly home: BlockSource,
    private readonly pages: ReadonlyMap<bigint, Page>,
    private readonly physicalLength: bigint,
  ) {}

  async length(): Promise<bigint> {
    return this.physicalLength;
  }

  async read(offset: bigint, length: number): Promise<Buffer> {
    const page = this.pages.get(offset);
    if (page === undefined || page === "straight") return this.home.read(offset, length);
    const log = new LocalSource(page.segment);
    try {
      return log.readSync(BigInt(page.at), Math.min(length, page.length));
    } finally {
      log.close();
    }
  }
}
