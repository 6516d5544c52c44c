/** PostgreSQL in a cluster of its own, as its own user: load, a crash of the server, and of the engine under it. */

import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { chownSync, lstatSync, mkdirSync, readdirSync } from "node:fs";
import t, { type Test } from "tap";
import { account, cannotRun, Dialogue, finish, killTree, run, start, type Who } from "../support/programs.js";
import { until } from "../support/until.js";
import { AppVolume } from "./app-volume.js";

/** Debian keeps each major version's programs in a directory of its own, most of them out of the PATH. */
function newestPrograms(): string {
  try {
    const versions = readdirSync("/usr/lib/postgresql").map(Number);
    return `/usr/lib/postgresql/${Math.max(...versions)}/bin`;
  } catch {
    return "/usr/lib/postgresql/bin";
  }
}

const BIN = newestPrograms();
const POSTGRES = account("postgres");
const skip =
  cannotRun(...["initdb", "postgres", "pgbench", "pg_amcheck"].map((program) => `${BIN}/${program}`)) ||
  (POSTGRES === undefined && "no user postgres: scripts/setup-tests.sh installs postgresql");

const CLIENTS = 8;

class Cluster {
  #server: ChildProcessWithoutNullStreams | undefined;
  #log = "";

  constructor(
    /** On the mount: data, socket and tablespace are below it. */
    readonly dir: string,
    /** Where the client programs work, so that none of them keeps the mount busy. */
    readonly cwd: string,
    readonly who: Who,
  ) {}

  get data(): string {
    return `${this.dir}/data`;
  }

  /** Where the server listens, for clients of any kind. */
  get #at(): string[] {
    return ["-h", this.dir, "-p", "5432", "-U", "postgres"];
  }

  get #settings(): { cwd: string; who: Who } {
    return { cwd: this.cwd, who: this.who };
  }

  program(name: string, ...args: string[]): Promise<string> {
    return run([`${BIN}/${name}`, ...args], this.#settings);
  }

  client(name: string, ...args: string[]): Promise<string> {
    return this.program(name, ...this.#at, ...args);
  }

  /** Starts the server in the foreground, and waits until it takes connections; what it printed until then. */
  async start(...settings: string[]): Promise<string> {
    const all = ["listen_addresses=", `unix_socket_directories=${this.dir}`, "port=5432", ...settings];
    this.#log = "";
    const server = start(
      [`${BIN}/postgres`, "-D", this.data, ...all.flatMap((s) => ["-c", s])],
      this.#settings,
    );
    server.stderr.on("data", (chunk: Buffer) => {
      this.#log += chunk.toString();
    });
    this.#server = server;
    await until("PostgreSQL takes connections", async () => {
      if (server.exitCode !== null) throw new Error(`PostgreSQL does not start: ${this.#log}`);
      return (await finish([`${BIN}/pg_isready`, "-q", ...this.#at], this.#settings)).status === 0;
    });
    return this.#log;
  }

  /** What the server has printed since its start. */
  get log(): string {
    return this.#log;
  }

  /** The end of the server: on its own terms, or none. */
  async end(how: "fast shutdown" | "kill -9"): Promise<void> {
    const server = this.#server;
    if (server?.pid === undefined) throw new Error("not started");
    const ended = new Promise((done) => server.on("close", done));
    const running = server.exitCode === null && server.signalCode === null;
    if (how === "kill -9") killTree(server.pid);
    else server.kill("SIGINT");
    if (running) await ended;
  }

  async query(sql: string, database = "postgres"): Promise<string> {
    const options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"];
    return (await this.client("psql", ...options, "-d", database, "-c", sql)).trim();
  }

  session(): Dialogue {
    const options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres"];
    return new Dialogue([`${BIN}/psql`, ...this.#at, ...options], this.#settings);
  }

  /** pgbench for some seconds, or until its server is gone; how many transactions it counted. */
  async pgbench(seconds: number): Promise<number> {
    const args = ["-n", "-c", `${CLIENTS}`, "-j", "2", "-T", `${seconds}`, "postgres"];
    const { stdout } = await finish([`${BIN}/pgbench`, ...this.#at, ...args], this.#settings);
    return Number(/transactions actually processed: (\d+)/.exec(stdout)?.[1] ?? Number.NaN);
  }
}

/** What every transaction of pgbench keeps: the three balances and the history add up to the same. */
const BALANCED = `SELECT count(DISTINCT total) FROM (
  SELECT sum(abalance) AS total FROM pgbench_accounts UNION ALL SELECT sum(tbalance) FROM pgbench_tellers
  UNION ALL SELECT sum(bbalance) FROM pgbench_branches UNION ALL SELECT coalesce(sum(delta), 0) FROM pgbench_history
) AS totals`;

async function sound(t: Test, cluster: Cluster, database = "postgres"): Promise<void> {
  t.equal(await cluster.query(BALANCED, database), "1", "pgbench's balances add up");
  await cluster.client("pg_amcheck", "--heapallindexed", "--install-missing", "-d", database);
  t.pass("pg_amcheck finds nothing");
}

/** Clients that note what the server said to be committed, beside pgbench; `interrupt` must end them. */
async function loseNothing(
  t: Test,
  cluster: Cluster,
  round: number,
  interrupt: () => Promise<void>,
): Promise<string[]> {
  const said: string[] = [];
  const writers = [0, 1, 2].map(async (w) => {
    const session = cluster.session();
    for (let n = 0; ; n++) {
      const row = `${round * 10 + w}|${n}`;
      const insert = `INSERT INTO ledger VALUES (${row.replace("|", ",")}, repeat('x', ${(n % 7) * 700}));`;
      if ((await session.ask(`${insert}\nSELECT 'committed';`, "committed")) === undefined) break;
      said.push(row);
    }
    await session.end();
  });
  const pgbench = cluster.pgbench(60);
  await until("100 transactions are committed", () => said.length > 100);
  // From here on the log begins with whole pages, and the data files are written to as well.
  await cluster.query("CHECKPOINT");
  const enough = said.length + 100;
  await until("100 more are committed", () => said.length > enough);
  await interrupt();
  await Promise.all([...writers, pgbench]);
  t.pass(`${said.length} transactions of the ledger were committed`);
  return said;
}

async function recovered(t: Test, cluster: Cluster, log: string, said: readonly string[]): Promise<void> {
  t.match(log, /automatic recovery in progress/);
  const present = new Set((await cluster.query("SELECT writer || '|' || n FROM ledger")).split("\n"));
  t.same(
    said.filter((row) => !present.has(row)),
    [],
    "no transaction that was committed is lost",
  );
  await sound(t, cluster);
}

t.test("a cluster under load, crashes, and what administrators do", { skip }, async (t) => {
  if (POSTGRES === undefined) return;
  const app = await AppVolume.make(t, POSTGRES);
  const cluster = new Cluster(app.dir, app.plain, POSTGRES);
  const said: string[] = [];

  await t.test("initdb with checksums, pgbench with 8 clients", async (t) => {
    await cluster.program("initdb", "-k", "-A", "trust", "-U", "postgres", "-D", cluster.data);
    await cluster.start();
    await cluster.query("CREATE TABLE ledger (writer int, n int, note text, PRIMARY KEY (writer, n))");
    await cluster.client("pgbench", "-q", "-i", "-s", "3", "postgres");
    const transactions = await cluster.pgbench(3);
    t.ok(transactions > 0, `${transactions} transactions`);
    t.equal(await cluster.query("SELECT count(*) FROM pgbench_history"), String(transactions));
    await sound(t, cluster);
  });

  await t.test("the server and all its processes are killed", async (t) => {
    said.push(...(await loseNothing(t, cluster, 1, () => cluster.end("kill -9"))));
    await recovered(t, cluster, await cluster.start(), said);
  });

  // In the second, the log is written with O_DIRECT and O_DSYNC, and workers share memory in files on the mount.
  const direct = ["wal_level=minimal", "max_wal_senders=0", "wal_sync_method=open_datasync"];
  for (const [round, name, settings] of [
    [2, "with the default settings", []],
    [3, "with a synchronous log", [...direct, "dynamic_shared_memory_type=mmap"]],
  ] as const) {
    await t.test(`the engine is killed under the server, ${name}`, async (t) => {
      await cluster.end("fast shutdown");
      await cluster.start(...settings);
      said.push(
        ...(await loseNothing(t, cluster, round, () => app.killEngine().then(() => cluster.end("kill -9")))),
      );
      await app.mount(t);
      await recovered(t, cluster, await cluster.start(...settings), said);
    });
  }

  await t.test("parallel workers share memory in files on the mount", async (t) => {
    const shared = await cluster.query("SHOW dynamic_shared_memory_type");
    t.equal(shared, "mmap");
    const plan = await cluster.query(
      `SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
       EXPLAIN (ANALYZE, COSTS OFF) SELECT sum(abalance), count(*) FROM pgbench_accounts`,
    );
    t.match(plan, /Workers Launched: [1-9]/);
  });

  await t.test("a tablespace, copies of a database in it, VACUUM FULL", async (t) => {
    const space = `${cluster.dir}/space`;
    mkdirSync(space);
    chownSync(space, POSTGRES.uid, POSTGRES.gid);
    await cluster.query(`CREATE TABLESPACE space LOCATION '${space}'`);
    t.ok(
      readdirSync(`${cluster.data}/pg_tblspc`).every((n) =>
        lstatSync(`${cluster.data}/pg_tblspc/${n}`).isSymbolicLink(),
      ),
    );
    const CONTENT = "SELECT md5(string_agg(a::text, ';' ORDER BY aid)) FROM pgbench_accounts AS a";
    const content = await cluster.query(CONTENT);
    for (const strategy of ["wal_log", "file_copy"]) {
      const options = `TEMPLATE postgres TABLESPACE space STRATEGY ${strategy}`;
      await cluster.query(`CREATE DATABASE copy_${strategy} ${options}`, "template1");
      t.equal(await cluster.query(CONTENT, `copy_${strategy}`), content, `copied with ${strategy}`);
    }
    const SIZE = "SELECT pg_total_relation_size('pgbench_accounts')";
    const before = Number(await cluster.query(SIZE, "copy_file_copy"));
    await cluster.query("DELETE FROM pgbench_accounts WHERE aid % 2 = 0", "copy_file_copy");
    await cluster.query("VACUUM FULL", "copy_file_copy");
    const after = Number(await cluster.query(SIZE, "copy_file_copy"));
    t.ok(after < before * 0.6, `VACUUM FULL: ${before} bytes to ${after}`);
    await cluster.query("ALTER DATABASE copy_wal_log SET TABLESPACE pg_default", "template1");
    t.equal(await cluster.query(CONTENT, "copy_wal_log"), content, "moved out of the tablespace");
    await sound(t, cluster, "copy_wal_log");
    await cluster.query("DROP DATABASE copy_file_copy", "template1");
    await cluster.query("DROP TABLESPACE space", "template1");
    t.same(readdirSync(space), []);
  });

  await t.test("every page's checksum, before and after a remount", async (t) => {
    await cluster.end("fast shutdown");
    t.notMatch(cluster.log, /PANIC|could not/);
    for (const _ of ["before", "after"]) {
      t.match(await cluster.program("pg_checksums", "--check", "-D", cluster.data), /Bad checksums: +0\n/);
      await app.volume.down(t);
      await app.mount(t);
    }
    await cluster.start();
    await sound(t, cluster);
    await cluster.end("fast shutdown");
  });
  await app.endClean(t);
});
