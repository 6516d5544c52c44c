/** SQLite: several processes on one database in each journal mode, and killed writers and engines. */

import { statSync } from "node:fs";
import t, { type Test } from "tap";
import { APPLICATION, cannotRun, Dialogue, killTree, run } from "../support/programs.js";
import { until } from "../support/until.js";
import { AppVolume } from "./app-volume.js";

const MODES = ["wal", "delete", "truncate", "persist"] as const;
type Mode = (typeof MODES)[number];

const ACCOUNTS = 20;
const WRITERS = 3;
const TRANSFERS = 50;
const TOTAL = 1000 * ACCOUNTS;

/** No row's place depends on the order of transactions: equal contents give equal dumps. */
const SCHEMA = `
  CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
  CREATE TABLE ledger (writer INTEGER, n INTEGER, note TEXT, PRIMARY KEY (writer, n)) WITHOUT ROWID;
  WITH RECURSIVE k(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM k WHERE id < ${ACCOUNTS})
    INSERT INTO account SELECT id, 1000 FROM k;`;

const SUM = "SELECT sum(balance) FROM account;";

function transfer(writer: number, n: number): string {
  const [from, to, amount] = [(writer * 7 + n) % ACCOUNTS, (writer + n * 3) % ACCOUNTS, n % 13];
  return `BEGIN IMMEDIATE;
    UPDATE account SET balance = balance - ${amount} WHERE id = ${from + 1};
    UPDATE account SET balance = balance + ${amount} WHERE id = ${to + 1};
    INSERT INTO ledger VALUES (${writer}, ${n}, hex(zeroblob(${(n % 5) * 1000})));
    COMMIT;`;
}

/** A database of the application's, in a directory of its own. */
class Database {
  constructor(
    readonly dir: string,
    readonly name: string,
    readonly mode: Mode,
  ) {}

  get path(): string {
    return `${this.dir}/${this.name}.db`;
  }

  async create(): Promise<void> {
    const answer = await this.query(`PRAGMA journal_mode = ${this.mode}; ${SCHEMA}`);
    if (answer !== this.mode) throw new Error(`journal mode ${answer}, not ${this.mode}`);
  }

  #argv(more: readonly string[] = []): string[] {
    const settings = [`PRAGMA journal_mode = ${this.mode}`, "PRAGMA synchronous = FULL", ...more];
    const commands = [".timeout 60000", ".output /dev/null", ...settings, ".output stdout"];
    return ["sqlite3", "-batch", "-bail", ...commands.flatMap((command) => ["-cmd", command]), this.path];
  }

  /** Runs one statement or more in a process of its own. */
  async query(sql: string): Promise<string> {
    return (await run(["sqlite3", "-batch", "-bail", this.path, sql], this.#settings())).trim();
  }

  /** A process that keeps the database open. */
  open(...pragmas: string[]): Dialogue {
    return new Dialogue(this.#argv(pragmas), this.#settings());
  }

  #settings(): { cwd: string; who: typeof APPLICATION } {
    return { cwd: this.dir, who: APPLICATION };
  }
}

/** One transfer in an open process: whether SQLite said that it is committed. */
async function committed(session: Dialogue, writer: number, n: number): Promise<boolean> {
  return (await session.ask(`${transfer(writer, n)}\nSELECT 'committed';`, "committed")) !== undefined;
}

async function sound(t: Test, database: Database): Promise<void> {
  t.equal(await database.query("PRAGMA integrity_check;"), "ok", `integrity_check of ${database.name}`);
  t.equal(await database.query(SUM), String(TOTAL), "no money made or lost");
}

/** Writers at once, and a reader that maps the database: each of its snapshots must be whole. */
async function writeAtOnce(t: Test, database: Database): Promise<void> {
  let writing = true;
  const writers = Array.from({ length: WRITERS }, async (_, writer) => {
    const session = database.open();
    for (let n = 0; n < TRANSFERS; n++) {
      if (!(await committed(session, writer, n))) throw new Error(`writer ${writer}: ${session.complaints}`);
    }
    await session.end();
  });
  const reader = (async () => {
    const session = database.open("PRAGMA mmap_size = 67108864");
    const sums = new Set<string>();
    while (writing) {
      const lines = await session.ask(`${SUM}\nSELECT 'read';`, "read");
      if (lines === undefined) throw new Error(`reader: ${session.complaints}`);
      sums.add(lines.join());
    }
    await session.end();
    return sums;
  })();
  await Promise.all(writers).finally(() => {
    writing = false;
  });
  t.same([...(await reader)], [String(TOTAL)], "every snapshot was whole");
}

/** A writer is killed with a transaction half in the database file. */
async function killWriter(t: Test, database: Database): Promise<void> {
  // With so small a cache the changes go to the file, and a rollback journal is hot, long before the commit.
  const session = database.open("PRAGMA cache_size = 10");
  const before = statSync(database.path).size;
  await session.ask(
    `BEGIN IMMEDIATE;
     UPDATE account SET balance = 0;
     WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < 500)
       INSERT INTO ledger SELECT 99, n, hex(randomblob(500)) FROM k;
     SELECT 'half';`,
    "half",
  );
  const [spilled, grown] =
    database.mode === "wal"
      ? [statSync(`${database.path}-wal`).size, 0]
      : [statSync(`${database.path}-journal`).size, statSync(database.path).size - before];
  t.ok(spilled > 0, `${spilled} bytes in the journal`);
  if (database.mode !== "wal") t.ok(grown > 0, `${grown} bytes uncommitted in the database`);
  killTree(session.child.pid ?? 0);
  await session.end();
  await sound(t, database);
  t.equal(await database.query("SELECT count(*) FROM ledger WHERE writer = 99;"), "0", "rolled back");
}

t.test("a database in each journal mode", { skip: cannotRun("sqlite3") }, async (t) => {
  const app = await AppVolume.make(t, APPLICATION);
  for (const mode of MODES) {
    await t.test(mode, async (t) => {
      const database = new Database(app.dir, mode, mode);
      await database.create();
      await writeAtOnce(t, database);
      await sound(t, database);
      await killWriter(t, database);

      const mirror = new Database(app.plain, mode, mode);
      await mirror.create();
      for (let writer = 0; writer < WRITERS; writer++) {
        await mirror.query(Array.from({ length: TRANSFERS }, (_, n) => transfer(writer, n)).join("\n"));
      }
      const expected = await mirror.query(".dump");
      t.equal(await database.query(".dump"), expected, "as on the plain file system");

      await database.query("DELETE FROM ledger WHERE n % 2 = 0; VACUUM;");
      await mirror.query("DELETE FROM ledger WHERE n % 2 = 0; VACUUM;");
      t.equal(await database.query(".dump"), await mirror.query(".dump"), "after VACUUM");
      t.equal(statSync(database.path).size, statSync(mirror.path).size, "VACUUM made it as small");
      await sound(t, database);
    });
  }
  await app.endClean(t);
});

t.test("the engine is killed under the writers", { skip: cannotRun("sqlite3") }, async (t) => {
  const app = await AppVolume.make(t, APPLICATION);
  const databases = MODES.map((mode) => new Database(app.dir, mode, mode));
  for (const database of databases) await database.create();
  for (const round of [1, 2]) {
    /** What SQLite said to be committed: by mode, writer and number. */
    const said = databases.map(() => new Set<string>());
    let all = 0;
    const writers = databases.flatMap((database, d) =>
      [0, 1].map(async (w) => {
        const writer = round * 10 + w;
        const session = database.open();
        for (let n = 0; await committed(session, writer, n); n++, all++) said[d]?.add(`${writer}|${n}`);
        await session.end();
      }),
    );
    await until("150 transactions are committed", () => all >= 150);
    await app.killEngine();
    await Promise.all(writers);
    await app.mount(t);
    for (const [d, database] of databases.entries()) {
      await sound(t, database);
      const present = (await database.query("SELECT writer, n FROM ledger;")).split("\n");
      const lost = [...(said[d] ?? [])].filter((row) => !present.includes(row));
      t.same(
        lost,
        [],
        `all ${said[d]?.size} transactions that were committed are there, in ${database.mode}`,
      );
    }
  }
  await app.endClean(t);
});
