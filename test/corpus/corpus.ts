/**
 * Volumes that were made once and are kept, and what was seen of them: test/corpus/FORMAT/NAME.tar.gz with NAME.json, and
 * damaged.json with changes to them. The key of all of them is the file `key`.
 */

import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { UserError } from "../../src/errors.js";
import { packageRoot } from "../../src/package-root.js";
import { exportTree } from "../../src/reader/export.js";
import { withVolume } from "../../src/reader/open.js";
import { type Problem, verify } from "../../src/reader/verify.js";
import { listTree } from "../apps/rich-tree.js";
import { TestVolume } from "../support/test-volume.js";
import { program } from "../tamper/backing.js";
import { chainOf } from "../tamper/stage.js";
import { type Change, change } from "./change.js";

export const CORPORA = join(packageRoot(), "test/corpus");

/** A volume, as its JSON says. */
export interface Kept {
  /** Version of kmsfs that made it */
  readonly madeBy: string;
  /** Commits and files that its first mount has to bring home */
  readonly recovered: { readonly commits: number; readonly files: number } | null;
  /** test/apps/list-tree.sh of what it holds */
  readonly tree: readonly string[];
}

/** What comes of a damage. */
export interface Findings {
  /** "Ok", or the exit code of `kmsfs mount` */
  readonly mount: string;
  /** What programs see otherwise than in the undamaged volume, as `differences` says it */
  readonly seen: Readonly<Record<string, string>>;
  /** What the mount told the audit chain that is wrong: each thing once, sorted */
  readonly told: readonly string[];
  /** Problems of the reference reader by code and place, sorted; or the exit code that it ends in */
  readonly problems: readonly string[];
}

export interface Damaged {
  readonly what: string;
  /** Name of the volume */
  readonly of: string;
  readonly changes: readonly Change[];
  readonly findings: Findings;
}

export function corpora(): string[] {
  const entries = readdirSync(CORPORA, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

export function volumesOf(corpus: string): string[] {
  const names = readdirSync(join(CORPORA, corpus)).filter((name) => name.endsWith(".tar.gz"));
  return names.map((name) => name.replace(/\.tar\.gz$/, "")).sort();
}

export const kept = (corpus: string, name: string) => read(corpus, name) as Kept;
export const damages = (corpus: string) => read(corpus, "damaged") as Damaged[];

function read(corpus: string, name: string): unknown {
  return JSON.parse(readFileSync(join(CORPORA, corpus, `${name}.json`), "utf8"));
}

/** All that makes a volume of the files: git keeps no extended attributes. */
const WITH_ATTRIBUTES = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"];

export function pack(backing: string, archive: string): void {
  const how = ["--format=posix", "--sparse", "--sort=name", ...WITH_ATTRIBUTES];
  program("tar", ...how, "-I", "gzip -9n", "-C", backing, "-cf", archive, ".");
}

/** A test's places with a volume of a corpus as its backing directory: a copy, so that handles in its log do not hold. */
export function unpacked(t: Test, corpus: string, name: string): TestVolume {
  const volume = TestVolume.bare(t);
  Object.assign(process.env, volume.env);
  mkdirSync(volume.backing);
  program(
    "tar",
    ...WITH_ATTRIBUTES,
    "-p",
    "-C",
    volume.backing,
    "-xzf",
    join(CORPORA, corpus, `${name}.tar.gz`),
  );
  copyFileSync(join(CORPORA, corpus, "key"), volume.keyfile);
  chmodSync(volume.keyfile, 0o600);
  return volume;
}

export function damage(volume: TestVolume, changes: readonly Change[]): void {
  for (const one of changes) change(volume.backing, one);
}

/** By the reference reader: its problems and, with `out`, the whole tree in clear. */
export async function readWhole(volume: TestVolume, out?: string): Promise<string[]> {
  const problems: Problem[] = [];
  const onProblem = (problem: Problem) => problems.push(problem);
  const open = { purpose: "read", keyfile: volume.keyfile, kmsTimeoutMs: 1000 } as const;
  try {
    await withVolume(volume.backing, open, async (reader) => {
      await verify(reader, { onProblem, onProgress: () => undefined });
      if (out !== undefined) await exportTree(reader, out, { onProblem });
    });
  } catch (error) {
    if (error instanceof UserError) return [error.code];
    throw error;
  }
  return problems
    .map(({ code, place, block }) => `${code}: ${place}${block === undefined ? "" : ` ${block}`}`)
    .sort();
}

export function mount(volume: TestVolume) {
  return volume.mount("--keyfile", volume.keyfile);
}

/** What the last mount brought home. */
export function recovered(volume: TestVolume): Kept["recovered"] {
  const line = chainOf(volume).findLast(({ event }) => event === "recovery");
  if (line === undefined) return null;
  const { commits, files } = line.detail as { commits: number; files: number };
  return { commits, files };
}

/** The listing of a tree without its root, which an export gives attributes of its own. */
export async function listed(dir: string): Promise<string[]> {
  const lines = await listTree(dir);
  return lines.filter((line) => !/^ d /.test(line));
}
