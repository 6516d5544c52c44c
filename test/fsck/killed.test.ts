/**
 * A repair that is killed before one of its steps, and run again: it finishes, and nothing is lost. A fixed sample of the
 * steps; KMSFS_FSCK_KILLS=all: each of them.
 */

import { lstatSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import t, { type Test } from "tap";
import { counted, look } from "../../src/fsck/fsck.js";
import { type Session, withSession } from "../../src/fsck/session.js";
import { verify } from "../../src/reader/verify.js";
import { openVolume } from "../../src/volume/open.js";
import { everythingIn } from "../reader/damage.js";
import { FixtureVolume, settingTogether } from "../reader/fixture.js";
import { runKmsfs, Scratch } from "../support/run-kmsfs.js";
import { copy } from "../tamper/backing.js";
import { DAMAGES } from "./damage.js";
import { readable } from "./fixture-session.js";

const skip = process.getuid?.() !== 0 && "needs root";
const HOOK = pathToFileURL(join(dirname(fileURLToPath(import.meta.url)), "../support/kill-at-call.js")).href;
/** The steps of the sample, as parts of all. */
const SAMPLE = [0, 0.1, 0.35, 0.6, 0.8, 1];

/** One for each thing that a repair does. */
const DAMAGED = [
  "a bit of the header at 130 flipped",
  "a file moved to another directory",
  "a sidecar removed",
  "a binding that no name has, as of a rename that a crash cut",
  "the root's record removed",
  "the mode changed",
  "an xattr's value exchanged for another's",
  "a home extended",
  "a segment of the log cut behind what counts",
  "the copy of the header torn",
  "a record removed",
];

class Killing {
  readonly scratch = new Scratch();
  readonly backing = this.scratch.file("volume");
  readonly #env = this.scratch.environment();
  readonly #keys = { keyfile: this.scratch.file("key"), kmsTimeoutMs: 1000 };

  static async make(t: Test): Promise<Killing> {
    const killing = new Killing();
    const { scratch, backing } = killing;
    t.teardown(() => scratch.remove());
    const { KMSFS_ETC, KMSFS_LOG } = killing.#env;
    Object.assign(process.env, { KMSFS_ETC, KMSFS_LOG, KMSFS_SYSLOG: "" });
    const init = ["init", backing, "--keyfile", killing.#keys.keyfile, "--log-segment-size", "4"];
    const made = await runKmsfs(init, killing.#env);
    if (made.code !== "Ok") throw new Error(made.stderr);
    const { header, dk } = await openVolume(backing, { ...killing.#keys, purpose: "read" });
    const v = new FixtureVolume(4096, { backing, uuid: header.uuid, domainKey: dk });
    const scenes = settingTogether(() =>
      DAMAGED.map((_, i) => everythingIn(v, v.directory(v.root, `scene ${i}`), true)),
    );
    v.open().close();
    for (const [i, wanted] of DAMAGED.entries()) {
      const damage = DAMAGES.find(({ what }) => what === wanted);
      const scene = scenes[i];
      if (damage === undefined || scene === undefined) throw new Error(`there is no ${wanted}`);
      damage.does(scene);
    }
    copy(backing, scratch.file("damaged"));
    return killing;
  }

  restore(): void {
    rmSync(this.backing, { recursive: true });
    copy(this.scratch.file("damaged"), this.backing);
  }

  repair(more: Record<string, string>) {
    const args = ["fsck", this.backing, "--repair", "--yes", "--keyfile", this.#keys.keyfile];
    // The audit chain has its own test of crashes.
    const env = { ...this.#env, KILL_NOT: this.scratch.file("log"), KILL_RUN: "setfattr", ...more };
    return runKmsfs(args, env, "", ["--import", HOOK]);
  }

  session<T>(work: (session: Session) => Promise<T>): Promise<T> {
    return withSession(this.backing, { ...this.#keys, repair: false, headerFromBackup: false }, work);
  }

  /** What can be read, and what is damaged. */
  async state(): Promise<{ can: Set<string>; left: string[]; problems: number }> {
    return this.session(async (session) => {
      const volume = session.volume();
      try {
        const { problems } = await verify(volume, {});
        const left = counted((await look(session, { deep: false })).findings).map(({ kind }) => kind);
        return { can: await readable(volume), left, problems };
      } finally {
        volume.close();
      }
    });
  }

  /** Numbers of all inodes but of those that a repair replaces. */
  inodes(): Set<number> {
    const all = readdirSync(this.backing, { recursive: true, encoding: "latin1" });
    const kept = all.filter((name) => name !== ".kmsfs/volume.json.bak");
    return new Set(kept.map((name) => lstatSync(Buffer.from(`${this.backing}/${name}`, "latin1")).ino));
  }
}

t.test("killed at a step, and run again", { skip, timeout: 3_600_000 }, async (t) => {
  const killing = await Killing.make(t);
  const could = (await killing.state()).can;
  const countFile = killing.scratch.file("count");
  const whole = await killing.repair({ KILL_COUNT: countFile });
  t.equal(whole.code, "Repaired", whole.stderr);
  const calls = Number(readFileSync(countFile, "utf8"));
  t.ok(calls > 30, `${calls} calls`);
  const { can: wanted, left, problems } = await killing.state();
  t.same({ left, problems }, { left: [], problems: 0 });
  t.same(
    [...could].filter((line) => !wanted.has(line)),
    [],
  );

  const all = Array.from({ length: calls }, (_, i) => i + 1);
  const sample = SAMPLE.map((part) => 1 + Math.round(part * (calls - 1)));
  const steps = process.env.KMSFS_FSCK_KILLS === "all" ? all : sample;
  t.comment(`steps ${steps.join(" ")} of ${calls}; KMSFS_FSCK_KILLS=all takes each`);
  for (const at of steps) {
    killing.restore();
    const before = killing.inodes();
    const killed = await killing.repair({ KILL_AT: String(at) });
    t.equal(killed.status, null, `killed at ${at}`);
    const again = await killing.repair({});
    t.ok(["Ok", "Repaired"].includes(again.code), `${again.code} after a kill at ${at}: ${again.stderr}`);
    const now = await killing.state();
    t.same({ left: now.left, problems: now.problems }, { left: [], problems: 0 }, "it verifies");
    t.same(
      [...wanted].filter((line) => !now.can.has(line)),
      [],
      "all is there that a whole repair leaves",
    );
    const after = killing.inodes();
    t.same(
      [...before].filter((ino) => !after.has(ino)),
      [],
      "no inode is gone",
    );
  }
});
