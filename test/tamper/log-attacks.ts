/** What is done to the log of a volume that crashed, and to the files that recovery is to bring home. */

import {
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
} from "node:fs";
import { basename, join } from "node:path";
import { bytesAt, copy, flip, program, put } from "./backing.js";
import { logDir, records, segmentInUse, segments } from "./crash.js";

export interface Crashed {
  /** The backing directory to change */
  readonly backing: string;
  /** Of the same volume: synced before, crashed; between the first and the second of the last commits, crashed */
  readonly earlier: string;
  readonly between: string;
  /** Of a clone that went another way, crashed; of another volume, crashed */
  readonly clone: string;
  readonly foreign: string;
  /** The segment in use */
  readonly segment: string;
  home(name: string): string;
}

export interface LogAttack {
  readonly row: string;
  readonly does: string;
  act(crashed: Crashed): void;
  /** What has to come of it: D, no effect, or U and why */
  readonly verdict: string;
}

function row(row: string, verdict: string, attacks: Record<string, LogAttack["act"]>): LogAttack[] {
  return Object.entries(attacks).map(([does, act]) => ({ row, does, act, verdict }));
}

function replaceLog(to: string, from: string): void {
  rmSync(logDir(to), { recursive: true });
  copy(logDir(from), logDir(to));
}

/** The segment in use is gone and something else stands there. */
const instead = (make: (path: string, aside: string) => void) => (c: Crashed) => {
  const aside = `${c.backing}.aside`;
  rmSync(aside, { force: true });
  renameSync(c.segment, aside);
  make(c.segment, aside);
};

const LOG = "log changed before its end";
const TAIL = "log cut at its tail, or all of it put back";
const HOME = "a home changed before its recovery";
const END = "U: nothing is behind the end of the log that could say that it went on";
const THEN = "U: it is what the log once was, or a clone's is: as with the whole volume";

export const LOG_ATTACKS: readonly LogAttack[] = [
  ...row(LOG, "no effect", {
    "nothing (a copy of the crashed volume)": () => undefined,
    "the segments exchange their names": ({ backing }) => {
      const [one = "", two = ""] = segments(backing);
      renameSync(one, `${one}.aside`);
      renameSync(two, one);
      renameSync(`${one}.aside`, two);
    },
    "the segment in use copied over another": (c) =>
      copy(c.segment, segments(c.backing).find((path) => path !== c.segment) ?? ""),
  }),
  ...row(LOG, "D", {
    "all segments deleted": ({ backing }) => {
      for (const path of segments(backing)) unlinkSync(path);
    },
    "the log's directory deleted": ({ backing }) => rmSync(logDir(backing), { recursive: true }),
    "a bit of a record changed, which a later one calls durable": ({ segment }) =>
      flip(segment, (records(segment)[2] ?? 0) + 700),
    "two records exchanged": ({ segment }) => {
      const [, one = 0, two = 0, three = 0] = records(segment);
      const [first, second] = [bytesAt(segment, one, two - one), bytesAt(segment, two, three - two)];
      put(segment, one, Buffer.concat([second, first]));
    },
    "a record cut out of the middle": ({ segment }) => {
      const [, one = 0, two = 0] = records(segment);
      put(segment, one, bytesAt(segment, two, 1 << 20));
    },
    "the segments of another volume": (c) => replaceLog(c.backing, c.foreign),
  }),
  ...row(LOG, "D", {
    "a symlink in place of the segment in use, to it": instead((path, aside) => symlinkSync(aside, path)),
    "a directory in its place": instead((path) => mkdirSync(path)),
    "a fifo in its place": instead((path) => program("mkfifo", path)),
    "a device in its place": instead((path) => program("mknod", path, "c", "1", "5")),
    "a symlink in place of the log's directory, to it": ({ backing }) => {
      const aside = `${backing}.log`;
      rmSync(aside, { recursive: true, force: true });
      renameSync(logDir(backing), aside);
      symlinkSync(aside, logDir(backing));
    },
  }),
  ...row(TAIL, END, {
    "the segment in use deleted": ({ segment }) => unlinkSync(segment),
    "the segment in use zeroed": ({ segment }) => put(segment, 0, Buffer.alloc(1 << 20)),
    "its header changed by a bit": ({ segment }) => flip(segment, 40),
    "the last record zeroed": ({ segment }) => put(segment, records(segment).at(-1) ?? 0, Buffer.alloc(4096)),
    "the segment in use as it was two commits before": (c) =>
      put(c.segment, 0, readFileSync(segmentInUse(c.between))),
  }),
  ...row(TAIL, THEN, {
    "the log of an earlier time put back": (c) => replaceLog(c.backing, c.earlier),
    "the log of a clone that went another way": (c) => replaceLog(c.backing, c.clone),
    "the segment in use of that clone": (c) =>
      copy(segmentInUse(c.clone), join(logDir(c.backing), basename(segmentInUse(c.clone)))),
  }),
  ...row(HOME, "no effect", {
    "the files of an earlier time under the log of now": (c) =>
      put(c.home("first"), 0, readFileSync(join(c.earlier, c.home("first").slice(c.backing.length)))),
    "cut to nothing (what the log has of it comes back)": (c) => truncateSync(c.home("first"), 0),
  }),
  ...row(HOME, "U: as any file that is deleted", { deleted: (c) => unlinkSync(c.home("first")) }),
  ...row(HOME, "D", {
    "a symlink to a file outside in its place": (c) => {
      unlinkSync(c.home("first"));
      symlinkSync(`${c.backing}.outside`, c.home("first"));
    },
    "a link to a file outside in its place": (c) => {
      unlinkSync(c.home("first"));
      linkSync(`${c.backing}.outside`, c.home("first"));
    },
    "a fifo in its place": (c) => {
      unlinkSync(c.home("first"));
      program("mkfifo", c.home("first"));
    },
    "a directory in its place": (c) => {
      unlinkSync(c.home("first"));
      mkdirSync(c.home("first"));
    },
  }),
];
