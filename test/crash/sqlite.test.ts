/**
 * Power cuts under SQLite: what it said to be committed is there, and the database is sound. With `synchronous=EXTRA`: with
 * FULL, SQLite does not sync the directory after it removed its journal, and may lose the last commit on any file system.
 *
 *     KMSFS_CRASH_SEED=7, KMSFS_CRASH_MINUTES=30, KMSFS_CRASH_FS=xfs   as in power-cut.test.ts
 */

import t, { type Test } from "tap";
import { FILE_SYSTEMS, type FileSystem, PowerCut } from "../support/power-cut.js";
import { cannotRun, Dialogue, run } from "../support/programs.js";

const number = (name: string, usual: number) => Number(process.env[name] ?? usual);
const SEED = number("KMSFS_CRASH_SEED", 1);
const MINUTES = number("KMSFS_CRASH_MINUTES", 0);
const MODES = ["wal", "delete", "truncate", "persist"] as const;
const ROWS = MINUTES > 0 ? 20 : 4;
const STATES = MINUTES > 0 ? 20 : 2;

/** One row a transaction, of several pages now and then; each is marked in the record once SQLite has said so. */
async function fill(cut: PowerCut, mode: (typeof MODES)[number]): Promise<void> {
  const settings = ["PRAGMA synchronous = EXTRA", `PRAGMA journal_mode = ${mode}`];
  const commands = [".output /dev/null", ...settings, ".output stdout"].flatMap((command) => [
    "-cmd",
    command,
  ]);
  const argv = ["sqlite3", "-batch", "-bail", ...commands, cut.volume.at(`${mode}.db`)];
  const session = new Dialogue(argv, { cwd: cut.volume.scratch.path });
  const ask = async (sql: string) => {
    if ((await session.ask(`${sql}\nSELECT 'done';`, "done")) === undefined)
      throw new Error(session.complaints);
  };
  await ask("CREATE TABLE line (n INTEGER PRIMARY KEY, text TEXT NOT NULL);");
  for (let n = 1; n <= ROWS; n++) {
    const bytes = n % 2 === 0 ? 20_000 : 100;
    await ask(`BEGIN; INSERT INTO line VALUES (${n}, hex(zeroblob(${bytes}))); COMMIT;`);
    cut.mark(`row ${mode} ${n}`);
  }
  await session.end();
}

/** The highest number that was said to be committed; 0 for none, when there need not even be a table. */
function promised(marks: readonly string[], mode: string): number {
  const rows = marks.map((mark) => mark.split(" ")).filter(([what, of]) => what === "row" && of === mode);
  return Math.max(0, ...rows.map(([, , n]) => Number(n)));
}

async function sound(t: Test, cut: PowerCut, marks: readonly string[]): Promise<void> {
  for (const mode of MODES) {
    const rows = promised(marks, mode);
    if (rows === 0) continue;
    const ask = (sql: string) =>
      run(["sqlite3", "-batch", "-bail", cut.volume.at(`${mode}.db`), sql], { cwd: cut.volume.scratch.path });
    t.equal((await ask("PRAGMA integrity_check;")).trim(), "ok", `${mode}: integrity_check`);
    const found = (await ask("SELECT n FROM line ORDER BY n;")).trim().split("\n").map(Number);
    const all = Array.from({ length: found.length }, (_, i) => i + 1);
    t.same(found, all, `${mode}: none is missing in the middle`);
    t.ok(found.length >= rows, `${mode}: ${found.length} rows, ${rows} were committed`);
    await ask("INSERT INTO line VALUES (1000, 'after the cut');");
  }
}

async function tried(t: Test, fs: FileSystem, seed: number): Promise<void> {
  const cut = await PowerCut.make(t, { fs, init: [], writeback: seed % 2 === 1 });
  for (const mode of MODES) await fill(cut, mode);
  await cut.stop();
  for (let n = 0; n < STATES; n++) {
    await cut.inState(["--seed", `${seed * 1000 + n}`, "--after", "row"], async (marks, how) => {
      await t.test(how, { timeout: 0 }, async (t) => {
        await cut.mount();
        await sound(t, cut, marks);
        await cut.umount();
      });
    });
  }
  t.notMatch(cut.volume.logText(), /tamper|panic/i);
  await cut.remove();
}

t.setTimeout(0);
const until = Date.now() + MINUTES * 60_000;
for (let round = 0; round === 0 || Date.now() < until; round++) {
  // In CI one file system, which the seed decides: power-cut.test.ts has both.
  const seed = SEED + round;
  const fs = FILE_SYSTEMS[(seed + 1) % FILE_SYSTEMS.length] ?? "ext4";
  const skip = cannotRun("sqlite3", `mkfs.${fs}`, "losetup");
  await t.test(`${fs}, seed ${seed}`, { skip, timeout: 0 }, (t) => tried(t, fs, seed));
}
