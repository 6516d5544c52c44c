/**
 * Recovery where the handles in the log hold: each attack on the home of a file of its own, in one volume that crashed, on
 * a file system that nobody else uses. docs/threat-model.md has the results.
 */

import {
  linkSync,
  lstatSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { smallDisk } from "../support/small-disk.js";
import { TestVolume } from "../support/test-volume.js";
import { copy, removeXattr, setXattr, xattr } from "./backing.js";
import { crash, found, homesOf, SMALL_LOG, save } from "./crash.js";
import { sectionIs } from "./document.js";
import { chainOf } from "./stage.js";
import { problemsIn } from "./verified.js";

const ROW = "a home exchanged before its recovery, where handles hold";
const RECORD = "user.kmsfs";
const FORMER =
  "U: a former state with its record, and of what is gone the log does not tell (docs/format.md §9)";

interface HandleAttack {
  readonly does: string;
  /** `home`: of the attacked file; `other`: of a file that nothing else is done to; `former`: content before the log's */
  act(home: string, other: string, former: Buffer): void;
  readonly verdict: string;
}

/** Another inode under the number of the one that stood at `home`, which is gone. */
function reuseNumber(home: string, content: Buffer | string): void {
  const { ino } = lstatSync(home);
  unlinkSync(home);
  for (let tries = 0; tries < 5000; tries++) {
    const trial = `${home}.${tries}`;
    writeFileSync(trial, content);
    const got = lstatSync(trial).ino;
    if (got === ino) renameSync(trial, home);
    if (got === ino) break;
  }
  for (let tries = 0; tries < 5000; tries++) rmSync(`${home}.${tries}`, { force: true });
  if (lstatSync(home).ino !== ino) throw new Error("the inode number was not given again");
}

const ATTACKS: readonly HandleAttack[] = [
  { does: "nothing", act: () => undefined, verdict: "no effect" },
  {
    does: "a foreign inode behind the handle's number",
    act: (home) => reuseNumber(home, "foreign"),
    verdict: "D",
  },
  {
    does: "a foreign inode behind it, with the record of the file",
    act: (home) => {
      const record = xattr(home, RECORD);
      reuseNumber(home, "foreign");
      setXattr(home, RECORD, record);
    },
    verdict: "D",
  },
  {
    does: "the former content in an inode behind it, with the record of the file",
    act: (home, _, former) => {
      const record = xattr(home, RECORD);
      reuseNumber(home, former);
      setXattr(home, RECORD, record);
    },
    verdict: FORMER,
  },
  { does: "the record removed", act: (home) => removeXattr(home, RECORD), verdict: "D" },
  {
    does: "the record of another file",
    act: (home, other) => setXattr(home, RECORD, xattr(other, RECORD)),
    verdict: "D",
  },
  {
    does: "another file in its place, with that one's record",
    act: (home, other) => {
      unlinkSync(home);
      copy(other, home);
    },
    verdict: "D",
  },
  {
    does: "another name of another file in its place",
    act: (home, other) => {
      unlinkSync(home);
      linkSync(other, home);
    },
    verdict: "D",
  },
  {
    does: "a symlink to where it went",
    act: (home) => {
      const aside = join(dirname(home), "u".repeat(43));
      renameSync(home, aside);
      symlinkSync(aside, home);
    },
    verdict: "D",
  },
  {
    does: "a copy of it in its place",
    act: (home) => {
      const aside = `${home}.aside`;
      renameSync(home, aside);
      copy(aside, home);
      unlinkSync(aside);
    },
    verdict: FORMER,
  },
];

const fileOf = (index: number) => `file ${index}`;
const otherOf = (index: number) => `other ${index}`;

t.test("attacks on homes that the log has handles of", async (t) => {
  const volume = await TestVolume.make(t, SMALL_LOG, (volume) => smallDisk(volume, 96));
  Object.assign(process.env, volume.env);
  const each = [...ATTACKS.keys()];
  await volume.up(t);
  for (const index of each) {
    save(volume, fileOf(index), "old");
    save(volume, otherOf(index), "other");
  }
  await volume.down(t);
  await volume.up(t);
  const homes = homesOf(volume);
  const home = (name: string) => join(volume.backing, homes.get(name) ?? "");
  const former = each.map((index) => readFileSync(home(fileOf(index))));
  for (const index of each) save(volume, fileOf(index), "new");
  await crash(volume);

  for (const [index, { act }] of ATTACKS.entries()) {
    act(home(fileOf(index)), home(otherOf(index)), former[index] ?? Buffer.alloc(0));
  }
  const problems = await problemsIn(volume.backing);
  const line = chainOf(volume).length;
  await volume.up(t);
  const seen = each.map((index) => found(volume, fileOf(index), ["new", "old"]).replace(/^.*: /, ""));
  for (const index of each) {
    t.equal(found(volume, otherOf(index), ["other"]), `${otherOf(index)}: other`, "the other file is whole");
  }
  await volume.down(t);
  const told = chainOf(volume)
    .slice(line)
    .filter(({ event }) => event === "tamper")
    .map(({ detail }) => detail as { place?: string; what?: string });
  const about = (index: number) =>
    told.filter(({ place }) => place === home(fileOf(index))).map(({ what }) => what ?? "");

  const lines = ATTACKS.map(({ does, verdict }, index) => {
    const events = about(index);
    const is = events.length > 0 ? "D" : seen[index] === "new" ? "no effect" : "U";
    t.equal(is, verdict.replace(/:.*/, ""), `${does}: ${seen[index]} ${events}`);
    t.ok(events.length <= 1, `${does}: one event: ${events}`);
    if (is === "D") t.equal(seen[index], "EIO", does);
    // Which of two inodes with one id is the second depends on where the walk begins.
    const codes = problems
      .filter(({ place }) => place.endsWith(fileOf(index)) || place.endsWith(otherOf(index)))
      .map(({ code }) => code);
    return {
      row: ROW,
      cells: [
        does,
        seen[index] ?? "",
        events.join("; ") || "nothing",
        [...new Set(codes)].sort().join("; ") || "nothing",
        verdict,
      ],
    };
  });
  sectionIs(t, "handles", ["what was done", "what programs see", "events", "`verify`", ""], lines);
});
