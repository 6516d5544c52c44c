/** What fsck has to say of each way to damage `everything`, and what can be done about it. */

import { randomBytes } from "node:crypto";
import {
  linkSync,
  mkdirSync,
  renameSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Kind } from "../../src/fsck/finding.js";
import { type Everything, flip, rawXattr, tamperings } from "../reader/damage.js";
import { run, setXattr } from "../reader/fixture.js";

export interface Damage {
  readonly what: string;
  readonly does: (e: Everything) => unknown;
  /**
   * Kind and the beginning of the place, of everything that is found. A place that begins with "/" is below the directory
   * that is damaged, one with "//" below the root.
   */
  readonly finds: readonly (readonly [Kind, string])[];
  /** Kinds of `finds` that no repair helps. */
  readonly left?: readonly Kind[];
  /** After the repair every name of before the damage is there again. */
  readonly whole?: true;
  /** Damages with different numbers cannot be in one volume; 0 is by itself. */
  readonly group?: number;
}

/** How fsck calls what the reader's tests do. */
const NAMED: Readonly<Record<string, Pick<Damage, "finds" | "left" | "group" | "whole">>> = {
  "a bit of the header at 130 flipped": { finds: [["header", "/dir/direct"]] },
  "a bit of a block flipped": { finds: [["block", "/dir/direct"]], left: ["block"] },
  "a bit of a node flipped": { finds: [["block", "/dir/s1"]], left: ["block"] },
  "a home cut at a block's border": {
    finds: [
      ["too-short", "/dir/direct"],
      ["block", "/dir/direct"],
      ["block", "/dir/direct"],
    ],
    left: ["too-short", "block"],
  },
  "a home cut to nothing": { finds: [["header", "/dir/direct"]] },
  "a home extended": { whole: true, finds: [["too-long", "/dir/direct"]] },
  "two files' places exchanged": {
    finds: [
      ["wrong-place", "/dir/direct"],
      ["wrong-place", "/dir/other"],
    ],
  },
  "a file moved to another directory": { finds: [["wrong-place", "//<"]], whole: true },
  "an entry renamed to a name sealed for another": { finds: [["wrong-place", "/dir/renamed"]] },
  "a sidecar removed": { finds: [["name-lost", "/dir/<~"]] },
  "a bit of a sidecar flipped": { finds: [["name-lost", "/dir/<~"]] },
  "a bit of a record flipped": { finds: [["record", "/dir/direct"]] },
  "a record removed": { finds: [["directory-id", "/dir"]] },
  "the mode changed": { whole: true, finds: [["attributes", "/dir/direct"]] },
  "the owner of the root changed": { whole: true, finds: [["attributes", "//"]], group: 2 },
  "an ACL added": { whole: true, finds: [["acl", "/dir/direct"]] },
  "a file exchanged for a fifo with its record": { finds: [["wrong-type", "/dir/fifo"]] },
  "a device of another number in the place of one": { finds: [["wrong-type", "/dir/null"]] },
  "a copy of a file with its record beside it": { finds: [["duplicate-id", "/dir/"]] },
  "a symlink's target changed": { finds: [["target-lost", "/link"]] },
  "a bit of a long target flipped": { finds: [["target-lost", "/dir/long link"]] },
  "an xattr's value exchanged for another's": { finds: [["xattr", "/dir/direct"]] },
  "a file that no one sealed": { finds: [["garbage", "/dir/<plain.txt>"]] },
  "a control directory below the root": { finds: [["garbage", "/dir/<.kmsfs>"]] },
};

const ORPHAN = `~${"A".repeat(43)}.name`;
const control = ({ v }: Everything, ...names: string[]) => join(v.backing, ".kmsfs", ...names);

const OWN: readonly Damage[] = [
  { what: "nothing", does: () => undefined, finds: [], group: 4 },
  {
    what: "temporary names of a crash, one a directory with something in it",
    whole: true,
    does: ({ v, dir }) => {
      writeFileSync(join(dir.path, ".t-0011"), "unfinished");
      mkdirSync(join(v.backing, ".t-0022"));
      writeFileSync(join(v.backing, ".t-0022/x"), "x");
      writeFileSync(join(v.backing, ".kmsfs/links/.t-0033"), "x");
    },
    finds: [
      ["temporary", ".kmsfs/links/<.t-0033>"],
      ["temporary", "//<.t-0022>"],
      ["temporary", "/dir/<.t-0011>"],
    ],
  },
  {
    what: "a sidecar whose entry is gone",
    whole: true,
    does: ({ dir }) => writeFileSync(join(dir.path, ORPHAN), "orphan"),
    finds: [["name-sidecar", `/dir/<${ORPHAN}>`]],
  },
  {
    what: "a target whose symlink is gone",
    does: ({ longLink }) => unlinkSync(longLink.path),
    finds: [["target-sidecar", ".kmsfs/links/"]],
  },
  {
    what: "the sidecar of a long target removed",
    does: (e) => unlinkSync(control(e, "links", e.longLink.id.toString("hex"))),
    finds: [["target-lost", "/dir/long link"]],
  },
  {
    what: "a binding that no name has, as of a rename that a crash cut",
    whole: true,
    does: ({ v, dir, files }) => {
      const bindings = [
        ...files.direct.bindings,
        { parentId: dir.id, stored: v.bind(dir, "direct as it will be") },
      ];
      v.writeRecord(files.direct, { bindings });
    },
    finds: [["stale-binding", "/dir/direct"]],
  },
  {
    what: "a name that is gone from one of two, its binding still there",
    does: ({ top, files }) => unlinkSync(join(top.path, files.one.bindings[1]?.stored ?? "")),
    finds: [["stale-binding", "/one"]],
  },
  {
    what: "a record that was being replaced: the new one stands aside",
    whole: true,
    does: ({ files }) => {
      setXattr(files.direct.path, "user.kmsfs.new", rawXattr(files.direct.path, "user.kmsfs"));
      setXattr(files.direct.path, "user.kmsfs", Buffer.from("torn"));
    },
    finds: [["record-aside", "/dir/direct"]],
  },
  {
    what: "the root's record removed",
    whole: true,
    does: ({ v }) => run("setfattr", ["-x", "user.kmsfs", v.backing]),
    finds: [["root-record", "//"]],
    group: 1,
  },
  {
    what: "a directory's record flipped, a long symlink and a hard link below it",
    does: ({ dir }) => {
      const record = rawXattr(dir.path, "user.kmsfs");
      record[30] = (record[30] ?? 0) ^ 1;
      setXattr(dir.path, "user.kmsfs", record);
    },
    finds: [["directory-id", "/dir"]],
  },
  {
    what: "a directory moved into another one",
    whole: true,
    does: ({ v, top, dir }) => {
      const inner = v.directory(top, "inner");
      v.file(inner, "file", Buffer.from("inside"));
      renameSync(inner.path, join(dir.path, inner.path.replace(/.*\//, "")));
    },
    finds: [["wrong-place", "/dir/<"]],
  },
  {
    what: "a hard link that nobody asked for",
    whole: true,
    does: ({ v, dir, files }) => linkSync(files.one.path, join(dir.path, v.bind(dir, "another name of one"))),
    finds: [["wrong-place", "/dir/another name of one"]],
  },
  {
    what: "a copy of a directory with all that is in it",
    whole: true,
    does: ({ v, top, dir }) =>
      run("cp", ["-a", "--sparse=always", dir.path, join(top.path, v.bind(top, "copy"))]),
    finds: [["wrong-place", "/copy"]],
  },
  {
    what: "garbage of every kind",
    whole: true,
    does: ({ v, dir }) => {
      symlinkSync("/etc/passwd", join(dir.path, "AAAA"));
      mkdirSync(join(dir.path, "BBBB/CCCC"), { recursive: true });
      writeFileSync(Buffer.concat([Buffer.from(`${v.backing}/`), Buffer.of(0xff, 0xfe)]), "odd bytes");
      run("mkfifo", [join(v.backing, "a.fifo")]);
    },
    finds: [
      ["garbage", "//<\\xff\\xfe>"],
      ["garbage", "//<a.fifo>"],
      ["garbage", "/dir/<AAAA>"],
      ["garbage", "/dir/<BBBB>"],
    ],
  },
  {
    what: "garbage in the control directory",
    whole: true,
    does: (e) => {
      writeFileSync(control(e, "notes.txt"), "x");
      writeFileSync(control(e, "log/0007.seg"), randomBytes(100));
      writeFileSync(control(e, "log/0000.seg.new"), "x");
      writeFileSync(control(e, "links/readme"), "x");
    },
    finds: [
      ["garbage", ".kmsfs/<notes.txt>"],
      ["temporary", ".kmsfs/log/<0000.seg.new>"],
      ["garbage", ".kmsfs/log/<0007.seg>"],
      ["garbage", ".kmsfs/links/<readme>"],
    ],
  },
  {
    what: "the copy of the header torn",
    whole: true,
    does: (e) => truncateSync(control(e, "volume.json.bak"), 100),
    finds: [["header-copy", ".kmsfs/volume.json.bak"]],
    group: 1,
  },
  {
    what: "the copy of the header changed by a bit",
    does: (e) => flip(control(e, "volume.json.bak"), 120),
    finds: [["header-copy", ".kmsfs/volume.json.bak"]],
    group: 2,
  },
  {
    what: "the copy of the header gone",
    does: (e) => unlinkSync(control(e, "volume.json.bak")),
    finds: [["header-copy", ".kmsfs/volume.json.bak"]],
    group: 3,
  },
  {
    what: "a segment of the log cut behind what counts",
    whole: true,
    does: (e) => truncateSync(control(e, "log/0000.seg"), 100_000),
    finds: [["segment-size", ".kmsfs/log/0000.seg"]],
    group: 1,
  },
  {
    what: "a segment of the log extended",
    whole: true,
    does: (e) => truncateSync(control(e, "log/0000.seg"), 5 * 2 ** 20),
    finds: [["segment-size", ".kmsfs/log/0000.seg"]],
    group: 2,
  },
  {
    what: "the log's header changed, and a file's with it",
    does: (e) => {
      flip(control(e, "log/0000.seg"), 30);
      flip(e.files.direct.path, 130);
    },
    finds: [
      ["log", "the commit log"],
      ["header", "/dir/direct"],
    ],
    left: ["log", "header"],
    group: 0,
  },
];

export const DAMAGES: readonly Damage[] = [
  ...OWN,
  ...tamperings.flatMap(({ what, does }) => {
    const named = NAMED[what];
    return named === undefined ? [] : [{ what, does, ...named }];
  }),
];

/** So that none of `NAMED` is lost when the reader's tests are renamed. */
export const NAMED_COUNT = Object.keys(NAMED).length + OWN.length;
