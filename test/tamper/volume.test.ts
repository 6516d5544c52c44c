/**
 * The rows of the threat table about a volume as a whole, its control directory and its root: put back, exchanged, and
 * changed under a mount. docs/threat-model.md has the results.
 */

import {
  chmodSync,
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import t, { type Test } from "tap";
import { type Outcome, runKmsfs } from "../support/run-kmsfs.js";
import { TestVolume } from "../support/test-volume.js";
import { copy, program, removeXattr, setXattr, xattr } from "./backing.js";
import { crash, found, homesOf, SMALL_LOG, save, segments } from "./crash.js";
import { type Line, sectionIs } from "./document.js";
import { chainOf, wrongIn } from "./stage.js";
import { verified } from "./verified.js";

const RECORD = "user.kmsfs";
const FILES = ["file", "later"];
const VERSIONS = ["new", "old", "cloned", "foreign"];

interface Places {
  /** The backing directory to change */
  readonly backing: string;
  /** Of the same volume: of an earlier time with the same slots, and before a slot was added; of a clone; of another one */
  readonly earlier: string;
  readonly before: string;
  readonly clone: string;
  readonly foreign: string;
  /** Stored name of a directory in it */
  readonly directory: string;
}

interface VolumeAttack {
  readonly row: string;
  readonly does: string;
  act(places: Places): void;
  /** D, "D with the host's pin", no effect, or U and why */
  readonly verdict: string;
}

function row(row: string, verdict: string, attacks: Record<string, VolumeAttack["act"]>): VolumeAttack[] {
  return Object.entries(attacks).map(([does, act]) => ({ row, does, act, verdict }));
}

function replace(what: string, by: string): void {
  rmSync(what, { recursive: true });
  copy(by, what);
}

/** The lock is gone and something else stands there. */
const insteadOfLock = (make: (path: string) => void) => (places: Places) => {
  const path = `${places.backing}/.kmsfs/lock`;
  rmSync(path, { force: true });
  make(path);
};

const ROLLED_BACK = "whole volume rolled back";
const CONTROL = "control directory changed";
const ROOT = "root directory changed";
const MOUNTED = "control directory changed under a mount";
const WITH_PIN = "D with the host's pin";

const ATTACKS: readonly VolumeAttack[] = [
  ...row(
    ROLLED_BACK,
    "U: all that is on the volume is put back alike; only what is kept elsewhere could tell",
    {
      "all of it, to a time of the same generation of volume.json": (p) => replace(p.backing, p.earlier),
      "a clone that went another way in its place": (p) => replace(p.backing, p.clone),
    },
  ),
  ...row(ROLLED_BACK, WITH_PIN, {
    "all of it, to a time of an older generation of volume.json": (p) => replace(p.backing, p.before),
    "another volume in its place": (p) => replace(p.backing, p.foreign),
  }),
  ...row(CONTROL, WITH_PIN, {
    "that of another volume in its place": (p) => replace(`${p.backing}/.kmsfs`, `${p.foreign}/.kmsfs`),
  }),
  ...row(CONTROL, "no effect", {
    "the lock deleted": insteadOfLock(() => undefined),
  }),
  ...row(CONTROL, "D", {
    "a symlink to a file outside in place of the lock": insteadOfLock((path) =>
      symlinkSync(path.replace(/\/\.kmsfs\/lock$/, ".outside"), path),
    ),
    "a directory in its place": insteadOfLock((path) => mkdirSync(path)),
    "a fifo in its place": insteadOfLock((path) => program("mkfifo", path)),
  }),
  ...row(ROOT, "D", {
    "its record removed": (p) => removeXattr(p.backing, RECORD),
    "the record of another directory": (p) =>
      setXattr(p.backing, RECORD, xattr(`${p.backing}/${p.directory}`, RECORD)),
    "opened to all": (p) => chmodSync(p.backing, 0o777),
  }),
];

class Trials {
  readonly lines: Line[] = [];

  constructor(
    readonly t: Test,
    readonly volume: TestVolume,
    readonly places: Places,
  ) {}

  undo(): void {
    const { scratch } = this.volume;
    rmSync(this.places.backing, { recursive: true, force: true });
    copy(scratch.file("pristine"), this.places.backing);
    rmSync(scratch.file("etc"), { recursive: true });
    cpSync(scratch.file("etc-pristine"), scratch.file("etc"), { recursive: true });
  }

  mount(): Promise<Outcome> {
    return this.volume.mount();
  }

  /** What programs see of a volume as it is, and what the audit chain says of it. */
  async look(): Promise<{ seen: string; events: string[] }> {
    const told = chainOf(this.volume).length;
    const mounted = await this.mount();
    const files = mounted.code === "Ok" ? FILES.map((name) => found(this.volume, name, VERSIONS)) : [];
    if (mounted.code === "Ok") await this.volume.down(this.t);
    const events = wrongIn(chainOf(this.volume).slice(told));
    const seen = files.length > 0 ? files.join("; ") : `mount: exit ${mounted.status} (${mounted.code})`;
    this.t.match(mounted.stderr, /^(kmsfs: [^\n]+\n)?$/, "one line");
    return { seen, events };
  }

  note(attack: Omit<VolumeAttack, "act">, seen: string, events: string[], read: string): void {
    const whole = seen === FILES.map((name) => `${name}: new`).join("; ");
    const refused = seen.startsWith("mount:") || events.length > 0;
    const is = refused ? "D" : whole ? "no effect" : "U";
    this.t.equal(is, attack.verdict.replace(/(:| with).*/, ""), `${attack.does}: ${seen} ${events}`);
    if (is === "D") this.t.equal(events.length, 1, `${attack.does}: one event: ${events}`);
    const cells = [
      attack.does,
      whole ? "all as it was" : seen,
      events.join("; ") || "nothing",
      read,
      attack.verdict,
    ];
    this.lines.push({ row: attack.row, cells });
  }
}

async function build(t: Test): Promise<Trials> {
  const volume = await TestVolume.make(t, SMALL_LOG);
  const { scratch, backing } = volume;
  Object.assign(process.env, volume.env);
  const place = (name: string) => scratch.file(name);
  await volume.up(t);
  save(volume, "file", "old");
  mkdirSync(volume.at("directory"));
  await volume.down(t);
  copy(backing, place("before"));
  const added = await volume.run("key", "add", backing, "--new-keyfile", place("key-2"));
  t.equal(added.code, "Ok", added.stderr);
  copy(backing, place("earlier"));
  copy(backing, place("clone"));
  t.equal((await volume.run("mount", place("clone"), volume.dir)).code, "Ok");
  for (const name of FILES) save(volume, name, "cloned");
  await volume.down(t);
  await volume.up(t);
  for (const name of FILES) save(volume, name, "new");
  const directory = homesOf(volume).get("directory") ?? "";
  await volume.down(t);
  copy(backing, place("pristine"));
  cpSync(place("etc"), place("etc-pristine"), { recursive: true });
  const elsewhere = { ...volume.env, KMSFS_ETC: place("etc-elsewhere"), KMSFS_LOG: place("log-elsewhere") };
  const foreign = await runKmsfs(
    ["init", place("foreign"), "--keyfile", volume.keyfile, ...SMALL_LOG],
    elsewhere,
  );
  t.equal(foreign.code, "Ok", foreign.stderr);
  writeFileSync(`${backing}.outside`, "outside");
  return new Trials(t, volume, {
    backing,
    directory,
    earlier: place("earlier"),
    before: place("before"),
    clone: place("clone"),
    foreign: place("foreign"),
  });
}

t.test("attacks on a volume as a whole", async (t) => {
  const trials = await build(t);
  const { volume, places } = trials;
  for (const attack of ATTACKS) {
    attack.act(places);
    const read = await verified(places.backing);
    const { seen, events } = await trials.look();
    trials.note(attack, seen, events, read);
    trials.undo();
  }

  await volume.up(t);
  for (const path of segments(places.backing)) unlinkSync(path);
  save(volume, "later", "old");
  await crash(volume);
  const read = await verified(places.backing);
  const cut = await trials.look();
  trials.note(
    { row: MOUNTED, does: "all segments deleted, then a crash", verdict: "D" },
    cut.seen,
    cut.events,
    read,
  );
  trials.undo();

  await volume.up(t);
  const aside = `${places.backing}/.aside`;
  renameSync(`${places.backing}/.kmsfs`, aside);
  copy(`${places.foreign}/.kmsfs`, `${places.backing}/.kmsfs`);
  for (const name of FILES) save(volume, name, "new");
  await volume.down(t);
  rmSync(`${places.backing}/.kmsfs`, { recursive: true });
  renameSync(aside, `${places.backing}/.kmsfs`);
  const moved = await trials.look();
  trials.note(
    {
      row: MOUNTED,
      does: "that of another volume in its place, until it is unmounted",
      verdict: "no effect",
    },
    moved.seen,
    moved.events,
    await verified(places.backing),
  );

  await volume.up(t);
  replace(`${places.backing}/.kmsfs/lock`, `${places.foreign}/.kmsfs/volume.json`);
  mkdirSync(volume.scratch.file("mnt-2"));
  const second = await volume.run("mount", places.backing, volume.scratch.file("mnt-2"));
  t.equal(second.code, "InUse", "a lock that was exchanged lets nobody mount it twice");
  await volume.down(t);
  t.equal(readFileSync(`${places.backing}.outside`, "utf8"), "outside", "nothing outside was written");
  const head = ["what was done", "what programs see", "events", "`verify`", ""];
  sectionIs(t, "volume", head, trials.lines);
});
