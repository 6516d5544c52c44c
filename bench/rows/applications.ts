/** Programs as people use them. */

import { readdirSync } from "node:fs";
import { command, timed } from "../support/command.js";
import { type Bench, everywhere, type Row } from "./row.js";

const tar: Row = {
  name: "untar",
  what: "untar a source tree",
  unit: "s",
  better: "lower",
  backings: everywhere,
  async run(at) {
    const archive = await at.shared.sourceTar(at.scale.treeFiles);
    const value = await timed(() => at.command(["tar", "-xf", archive]));
    at.remove(...readdirSync(at.dir));
    return { value };
  },
};

async function clone(at: Bench): Promise<void> {
  await at.command([
    "git",
    "clone",
    "-q",
    "--no-hardlinks",
    `file://${await at.shared.repository()}`,
    "clone",
  ]);
}

const git: Row[] = [
  {
    name: "git-clone",
    what: "git clone of this repository",
    unit: "s",
    better: "lower",
    backings: everywhere,
    needs: ["git"],
    async run(at) {
      await at.shared.repository();
      const value = await timed(() => clone(at));
      at.remove("clone");
      return { value };
    },
  },
  {
    name: "git-status",
    what: "git status of a clone",
    unit: "s",
    better: "lower",
    backings: everywhere,
    needs: ["git"],
    prepare: clone,
    async run(at) {
      const value = await timed(async () => {
        for (let i = 0; i < at.scale.gitStatuses; i++)
          await at.command(["git", "-C", at.file("clone"), "status", "-s"]);
      });
      return { value: value / at.scale.gitStatuses };
    },
  },
];

/** Each INSERT is a transaction of its own. */
const sqlite = (name: string, synchronous: "FULL" | "OFF"): Row => ({
  name,
  what: `SQLite inserts, each a transaction, synchronous=${synchronous}, WAL`,
  unit: "1/s",
  better: "higher",
  backings: everywhere,
  needs: ["sqlite3"],
  async run(at) {
    const database = at.file("db");
    await at.command([
      "sqlite3",
      database,
      "PRAGMA journal_mode=WAL; CREATE TABLE t (n INTEGER PRIMARY KEY, x)",
    ]);
    const inserts = Array.from(
      { length: at.scale.inserts },
      (_, n) => `INSERT INTO t VALUES (${n}, hex(randomblob(100)));\n`,
    );
    const script = `PRAGMA synchronous=${synchronous};\n${inserts.join("")}`;
    const seconds = await timed(() => at.command(["sqlite3", database], script));
    at.remove("db", "db-wal", "db-shm");
    return { value: at.scale.inserts / seconds };
  },
});

function postgresPrograms(): string {
  try {
    const versions = readdirSync("/usr/lib/postgresql").sort((a, b) => Number(a) - Number(b));
    return `/usr/lib/postgresql/${versions.at(-1)}/bin`;
  } catch {
    return "/usr/lib/postgresql/none/bin";
  }
}

const BIN = postgresPrograms();

function asPostgres(at: Bench, argv: readonly string[]): Promise<string> {
  const drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"];
  return command([...drop, ...argv], { limit: at.scale.limit });
}

/** The socket is on the disk of the run: not every file system can have one. No cluster listens on a port. */
function server(at: Bench, ...words: string[]): Promise<string> {
  const [data, socket] = [at.file("data"), `${at.subject.place.settings}/socket`];
  const settings = `-c listen_addresses= -k ${socket}`;
  return asPostgres(at, [`${BIN}/pg_ctl`, "-D", data, "-l", `${socket}/log`, "-w", "-o", settings, ...words]);
}

function pgbench(at: Bench, ...words: string[]): Promise<string> {
  const socket = `${at.subject.place.settings}/socket`;
  return asPostgres(at, [`${BIN}/pgbench`, "-h", socket, ...words, "postgres"]);
}

const postgres: Row = {
  name: "pgbench",
  what: "PostgreSQL, pgbench, 8 clients",
  unit: "1/s",
  better: "higher",
  backings: everywhere,
  needs: [`${BIN}/pgbench`, `${BIN}/initdb`],
  async prepare(at) {
    const { settings } = at.subject.place;
    await command(["install", "-d", "-o", "postgres", `${settings}/socket`]);
    await at.command(["install", "-d", "-o", "postgres", "-m", "700", "data"]);
    await asPostgres(at, [`${BIN}/initdb`, "-k", "-A", "trust", "-D", at.file("data")]);
    await server(at, "start");
    await pgbench(at, "-q", "-i", "-s", `${at.scale.pgbenchScale}`);
    await server(at, "-m", "fast", "stop");
  },
  async run(at) {
    await server(at, "start");
    try {
      const said = await pgbench(at, "-c", "8", "-j", "2", "-T", `${at.scale.seconds}`);
      return { value: Number(/^tps = ([\d.]+)/m.exec(said)?.[1]) };
    } finally {
      await server(at, "-m", "fast", "stop");
    }
  },
  // Where a run was cut short, the server is still there.
  finish: (at) => server(at, "-m", "immediate", "stop").catch(() => undefined),
};

export const APPLICATION_ROWS: readonly Row[] = [
  tar,
  ...git,
  postgres,
  sqlite("sqlite-sync", "FULL"),
  sqlite("sqlite-nosync", "OFF"),
];
