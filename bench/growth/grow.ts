/** What grows: a file, a directory, a tree, a volume with what a crash left in its log. */

import { closeSync, ftruncateSync, openSync } from "node:fs";
import { median } from "../statistics.js";
import type { Subject } from "../subject.js";
import { command } from "../support/command.js";
import { kill } from "../support/processes.js";
import { load, type Measured } from "../support/programs.js";
import { Lines, type Plot } from "./result.js";

export interface Sizes {
  /** Bytes of the file. */
  readonly files: readonly number[];
  readonly directories: readonly number[];
  readonly trees: readonly number[];
  /** Bytes of each file of them. */
  readonly bytes: number;
  /** Operations for one point, and how often it is measured. */
  readonly ops: number;
  readonly repeats: number;
}

export interface Growth {
  readonly subjects: readonly Subject[];
  readonly sizes: Sizes;
  readonly say: (line: string) => void;
}

const LIMIT = 2 * 3600;
/** Clients that make what only has to be there. */
const MAKERS = 4;
const micros = ({ seconds, ops }: Measured): number => (seconds / ops) * 1e6;

/** The median of some measurements, each of them on all systems before the next. */
async function inTurns(
  { subjects, sizes }: Growth,
  measure: (subject: Subject, repeat: number) => Promise<number>,
): Promise<Map<Subject, number>> {
  const taken = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]));
  for (let repeat = 0; repeat < sizes.repeats; repeat++) {
    for (const subject of repeat % 2 === 0 ? subjects : [...subjects].reverse()) {
      taken.get(subject)?.push(await measure(subject, repeat));
    }
  }
  return new Map([...taken].map(([subject, values]) => [subject, median(values) ?? 0]));
}

async function cold(subject: Subject): Promise<void> {
  await subject.remount();
  await subject.dropCaches();
}

/** One operation at one size, on all systems; a line of text for each. */
async function point(
  growth: Growth,
  lines: Lines,
  operation: string,
  x: number,
  measure: (subject: Subject, repeat: number) => Promise<number>,
): Promise<void> {
  for (const [subject, y] of await inTurns(growth, measure)) {
    lines.add(subject.name, operation, x, y);
    growth.say(`${subject.name} ${operation} at ${x}: ${y.toFixed(1)} us`);
  }
}

/** Sparse: truncated to its size, and written at random. */
export async function growingFile(growth: Growth): Promise<Plot> {
  const lines = new Lines();
  for (const size of growth.sizes.files) {
    const file = (subject: Subject) => `${subject.dir}/file`;
    for (const subject of growth.subjects) {
      const fd = openSync(file(subject), "w");
      ftruncateSync(fd, size);
      closeSync(fd);
    }
    const args = (repeat: number) => ["--seed", repeat + 1, "--ops", growth.sizes.ops];
    // Each write durable on its own: without that only the kernel's page cache is measured.
    await point(growth, lines, "write 4 KiB, fdatasync", size, async (subject, repeat) =>
      micros(await load(LIMIT, "fdatasync", file(subject), "--size", size, ...args(repeat))),
    );
    await point(growth, lines, "read 4 KiB, cold", size, async (subject, repeat) => {
      await cold(subject);
      return micros(await load(LIMIT, "randread", file(subject), ...args(repeat)));
    });
    for (const subject of growth.subjects) await command(["rm", file(subject)]);
  }
  return { name: "A file", x: "bytes of the file", y: "us for one operation", lines: lines.all() };
}

/** Lookup, stat and create with `per` entries in each directory. */
async function entries(
  growth: Growth,
  lines: Lines,
  total: number,
  per: number,
  made: Map<Subject, number>,
): Promise<void> {
  const { ops, bytes } = growth.sizes;
  const content = bytes === 0 ? ["--empty"] : ["--size", bytes];
  const tree = (subject: Subject) => `${subject.dir}/tree`;
  for (const subject of growth.subjects) {
    const first = made.get(subject) ?? 0;
    const more = ["--first", first, "--files", total - first, "--per-dir", per, "--threads", MAKERS];
    await load(LIMIT, "create", tree(subject), ...more, ...content);
    made.set(subject, total);
  }
  const all = ["--files", total, "--per-dir", per];
  await point(growth, lines, "lookup and stat, cold", total, async (subject, repeat) => {
    await cold(subject);
    return micros(await load(LIMIT, "stat", tree(subject), ...all, "--ops", ops, "--seed", repeat + 1));
  });
  await point(growth, lines, "stat, warm", total, async (subject, repeat) => {
    const same = [...all, "--ops", ops, "--seed", repeat + 1];
    await load(LIMIT, "stat", tree(subject), ...same);
    return micros(await load(LIMIT, "stat", tree(subject), ...same));
  });
  await point(growth, lines, "create 100 bytes", total, async (subject) => {
    const fresh = ["--first", total, "--files", ops, "--per-dir", per, "--size", 100];
    const measured = await load(LIMIT, "create", tree(subject), ...fresh);
    await load(LIMIT, "remove", tree(subject), ...fresh);
    return micros(measured);
  });
}

/** All entries in one directory. */
export async function growingDirectory(growth: Growth): Promise<Plot> {
  const lines = new Lines();
  const made = new Map<Subject, number>();
  // Wider than any of them with what is created beside: all are in the first directory.
  for (const total of growth.sizes.directories) await entries(growth, lines, total, 1e9, made);
  for (const subject of growth.subjects)
    await command(["rm", "-rf", `${subject.dir}/tree`], { limit: LIMIT });
  return { name: "A directory", x: "entries", y: "us for one operation", lines: lines.all() };
}

/** 100 files in each directory; and how long the volume takes to mount, cleanly and after a crash. */
export async function growingTree(growth: Growth): Promise<Plot[]> {
  const [lines, mounts] = [new Lines(), new Lines()];
  const made = new Map<Subject, number>();
  for (const total of growth.sizes.trees) {
    await entries(growth, lines, total, 100, made);
    const volumes = { ...growth, subjects: growth.subjects.filter(({ system }) => system.encrypts) };
    await point(volumes, mounts, "mount, clean", total, async (subject) => (await subject.timeMount()) * 1e6);
    await point(volumes, mounts, "mount, after kill -9", total, (subject) =>
      afterCrash(subject, growth.sizes),
    );
  }
  return [
    { name: "A tree", x: "files", y: "us for one operation", lines: lines.all() },
    { name: "Mounting", x: "files in the volume", y: "us for one mount", lines: mounts.all() },
  ];
}

/** Kills engine and daemon with commits in the log that are not home yet. */
async function afterCrash(subject: Subject, { ops }: Sizes): Promise<number> {
  const crash = `${subject.dir}/crash`;
  await load(LIMIT, "create", crash, "--files", ops, "--size", 4096);
  const pids = subject.pids;
  for (const pid of pids) kill(pid);
  await command(["umount", "-i", "-l", subject.dir]);
  await subject.place.scratch.ended(pids);
  subject.crashed();
  const seconds = await subject.timeMount();
  await command(["rm", "-rf", crash]);
  return seconds * 1e6;
}
