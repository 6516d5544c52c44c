/**
 * Attacks on recovery: a volume that was cut off in the middle of its work, whose log or files are changed before it is
 * mounted again. docs/threat-model.md has the results.
 */

import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { errnoOf } from "../../src/errors.js";
import { kill, TestVolume } from "../support/test-volume.js";
import { until } from "../support/until.js";
import { byInode, bytesAt, copy, flip, program, put } from "./backing.js";
import { sectionIs, table } from "./document.js";
import { chainOf } from "./stage.js";

/** Offset of the first record of a segment (docs/format.md §9) */
const RECORDS = 4096;
const FILES = ["first", "second", "third"];

const text = (name: string, version: string) => `${name}, ${version}. `.repeat(2000);

/** Writes a file and flushes it: a commit of its own. */
function save(volume: TestVolume, name: string, version: string): void {
  const fd = openSync(volume.at(name), "w");
  writeSync(fd, text(name, version));
  fsyncSync(fd);
  closeSync(fd);
}

async function crash(volume: TestVolume): Promise<void> {
  kill((await volume.status()).enginePid ?? 0);
  await until("the daemon has cleaned up", async () => (await volume.statuses()).length === 0);
}

/** Offsets of the records of a segment. */
function records(segment: string): number[] {
  const found: number[] = [];
  for (let at = RECORDS; ; ) {
    const head = bytesAt(segment, at, 24);
    if (head.toString("latin1", 16, 20) !== "kCR1") return found;
    found.push(at);
    at += head.readUInt32LE(20);
  }
}

interface Crashed {
  /** The backing directory to change */
  readonly backing: string;
  /** Backing directories of the same volume: synced before, and of a clone that went another way, crashed too */
  readonly earlier: string;
  readonly clone: string;
  /** Of another volume, crashed */
  readonly foreign: string;
  /** The segment in use */
  readonly segment: string;
  home(name: string): string;
}

interface LogAttack {
  readonly does: string;
  act(crashed: Crashed): void;
  /** What has to come of it */
  readonly verdict: "D" | "U" | "no effect";
}

const logDir = (backing: string) => join(backing, ".kmsfs/log");
const segments = (backing: string) =>
  readdirSync(logDir(backing))
    .filter((name) => name.endsWith(".seg"))
    .sort();

function replaceLog(to: string, from: string): void {
  rmSync(logDir(to), { recursive: true });
  copy(logDir(from), logDir(to));
}

const ATTACKS: readonly LogAttack[] = [
  { does: "nothing (a copy of the crashed volume)", act: () => undefined, verdict: "no effect" },
  { does: "the segment in use deleted", act: (c) => unlinkSync(c.segment), verdict: "U" },
  {
    does: "all segments deleted",
    act: (c) => {
      for (const name of segments(c.backing)) unlinkSync(join(logDir(c.backing), name));
    },
    verdict: "D",
  },
  {
    does: "the log's directory deleted",
    act: (c) => rmSync(logDir(c.backing), { recursive: true }),
    verdict: "D",
  },
  { does: "the segment in use zeroed", act: (c) => put(c.segment, 0, Buffer.alloc(1 << 20)), verdict: "U" },
  { does: "its header changed by a bit", act: (c) => flip(c.segment, 40), verdict: "U" },
  {
    does: "a bit of a record changed, which a later one calls durable",
    act: (c) => flip(c.segment, (records(c.segment)[2] ?? 0) + 700),
    verdict: "D",
  },
  {
    does: "two records exchanged",
    act: (c) => {
      const [, one = 0, two = 0, three = 0] = records(c.segment);
      const [first, second] = [bytesAt(c.segment, one, two - one), bytesAt(c.segment, two, three - two)];
      put(c.segment, one, Buffer.concat([second, first]));
    },
    verdict: "D",
  },
  {
    does: "a record cut out of the middle",
    act: (c) => {
      const [, one = 0, two = 0] = records(c.segment);
      put(c.segment, one, Buffer.concat([bytesAt(c.segment, two, 1 << 20)]));
    },
    verdict: "D",
  },
  {
    does: "the segment in use cut within its records",
    act: (c) => truncateSync(c.segment, (records(c.segment)[2] ?? 0) + 512),
    verdict: "D",
  },
  {
    does: "the last record zeroed",
    act: (c) => put(c.segment, records(c.segment).at(-1) ?? 0, Buffer.alloc(4096)),
    verdict: "U",
  },
  {
    does: "the segments exchange their names",
    act: (c) => {
      const [one = "", two = ""] = segments(c.backing).map((name) => join(logDir(c.backing), name));
      renameSync(one, `${one}.aside`);
      renameSync(two, one);
      renameSync(`${one}.aside`, two);
    },
    verdict: "no effect",
  },
  {
    does: "the segment in use copied over another",
    act: (c) => {
      const other = segments(c.backing).map((name) => join(logDir(c.backing), name));
      copy(c.segment, other.find((path) => path !== c.segment) ?? "");
    },
    verdict: "no effect",
  },
  {
    does: "the segments of another volume",
    act: (c) => replaceLog(c.backing, c.foreign),
    verdict: "D",
  },
  {
    does: "the log of an earlier time put back",
    act: (c) => replaceLog(c.backing, c.earlier),
    verdict: "U",
  },
  {
    does: "the log of a clone that went another way",
    act: (c) => replaceLog(c.backing, c.clone),
    verdict: "U",
  },
  {
    does: "the files of an earlier time under the log of now",
    act: (c) =>
      put(c.home("first"), 0, readFileSync(join(c.earlier, c.home("first").slice(c.backing.length)))),
    verdict: "no effect",
  },
  {
    does: "a home cut to nothing (what the log has of it comes back)",
    act: (c) => truncateSync(c.home("first"), 0),
    verdict: "no effect",
  },
  { does: "a home deleted", act: (c) => unlinkSync(c.home("first")), verdict: "U" },
  {
    does: "a symlink to a file outside in place of a home",
    act: (c) => {
      unlinkSync(c.home("first"));
      symlinkSync(`${c.backing}.outside`, c.home("first"));
    },
    verdict: "D",
  },
  {
    does: "a link to a file outside in place of a home",
    act: (c) => {
      unlinkSync(c.home("first"));
      linkSync(`${c.backing}.outside`, c.home("first"));
    },
    verdict: "D",
  },
  {
    does: "a fifo in place of a home",
    act: (c) => {
      unlinkSync(c.home("first"));
      program("mkfifo", c.home("first"));
    },
    verdict: "D",
  },
  {
    does: "a directory in place of a home",
    act: (c) => {
      unlinkSync(c.home("first"));
      mkdirSync(c.home("first"));
    },
    verdict: "D",
  },
];

/** What programs find in each file after a recovery, or that the mount was refused. */
function found(volume: TestVolume): string[] {
  return FILES.map((name) => {
    try {
      const is = readFileSync(volume.at(name), "utf8");
      for (const version of ["new", "old", "cloned"])
        if (is === text(name, version)) return `${name}: ${version}`;
      return `${name}: ${is === "" ? "empty" : "content that was never there"}`;
    } catch (error) {
      return `${name}: ${errnoOf(error)}`;
    }
  });
}

t.test("attacks on recovery", async (t) => {
  const volume = await TestVolume.make(t);
  const dirs = Object.fromEntries(
    ["earlier", "clone", "foreign", "trial"].map((name) => [name, volume.scratch.file(name)]),
  ) as Record<"earlier" | "clone" | "foreign" | "trial", string>;
  await volume.up(t);
  for (const name of FILES) save(volume, name, "old");
  await crash(volume);
  copy(volume.backing, dirs.earlier);
  copy(volume.backing, dirs.clone);
  await mountAt(t, volume, dirs.clone);
  for (const name of FILES) save(volume, name, "cloned");
  await crash(volume);
  await volume.up(t);
  for (const name of FILES) save(volume, name, "new");
  const homes = homesOf(volume);
  await crash(volume);
  const other = await TestVolume.make(t);
  await other.up(t);
  for (const name of FILES) save(other, name, "foreign");
  await crash(other);
  copy(other.backing, dirs.foreign);

  const lines: string[][] = [];
  for (const attack of ATTACKS) {
    rmSync(dirs.trial, { recursive: true, force: true });
    copy(volume.backing, dirs.trial);
    writeFileSync(`${dirs.trial}.outside`, "outside");
    const named = segments(dirs.trial).map((name) => join(logDir(dirs.trial), name));
    const segment = named.find((path) => records(path).length > 3) ?? "";
    attack.act({
      ...dirs,
      backing: dirs.trial,
      segment,
      home: (name) => join(dirs.trial, homes.get(name) ?? ""),
    });
    const verified = await volume.run("verify", dirs.trial, "--json");
    const told = chainOf(volume).length;
    const mounted = await volume.run("mount", dirs.trial, volume.dir);
    const files = mounted.code === "Ok" ? found(volume) : [];
    if (mounted.code === "Ok") await volume.down(t);
    const events = chainOf(volume)
      .slice(told)
      .filter(({ event }) => event === "tamper")
      .map(({ detail }) => String((detail as { what?: string }).what));
    const whole = files.length > 0 && files.every((file) => file.endsWith(": new"));
    const verdict = mounted.code !== "Ok" || events.length > 0 ? "D" : whole ? "no effect" : "U";
    t.equal(verdict, attack.verdict, `${attack.does}: ${files} ${events} ${mounted.stderr}`);
    t.notOk(
      files.some((file) => file.endsWith("never there")),
      "nothing that was never there",
    );
    t.equal(readFileSync(`${dirs.trial}.outside`, "utf8"), "outside", "and nothing outside was touched");
    const seen = mounted.code === "Ok" ? files.join("; ") : `mount: exit ${mounted.status} (${mounted.code})`;
    lines.push([
      attack.does,
      whole ? "all as it was synced" : seen,
      [...new Set(events)].join("; ") || "nothing",
      verified.code === "Ok" ? "authentic" : `exit ${verified.status} (${verified.code})`,
      verdict,
    ]);
  }
  sectionIs(t, "log", table(["what was done", "what programs see", "events", "`verify`", ""], lines));
});

async function mountAt(t: Test, volume: TestVolume, backing: string): Promise<void> {
  t.equal((await volume.run("mount", backing, volume.dir)).code, "Ok");
}

function homesOf(volume: TestVolume): Map<string, string> {
  const stored = byInode(volume.backing);
  return new Map([...byInode(volume.dir)].map(([ino, name]) => [name, stored.get(ino) ?? ""]));
}
