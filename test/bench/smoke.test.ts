/** That the benchmarks run from end to end; what they measure here means nothing. */

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { slower } from "../../bench/baseline.js";
import type { BenchResult, Cell } from "../../bench/result.js";
import { ratioToBest } from "../../bench/statistics.js";
import { Scratch } from "../support/run-kmsfs.js";

const here = dirname(fileURLToPath(import.meta.url));
/** Built by `cargo test --workspace`, which runs first in scripts/test.sh. */
const PROGRAMS = process.env.KMSFS_BENCH_PROGRAMS ?? join(here, "../../../native/target/debug");

const missing = ["kmsfs-bench", "kmsfs-floor"].filter((name) => !existsSync(join(PROGRAMS, name)));
const cannotRun = process.getuid?.() !== 0 ? "needs root" : false;

t.test("one row on kmsfs, the floor and the plain file system", { skip: cannotRun }, (t) => {
  t.same(missing, [], "cargo test builds the programs");
  const scratch = new Scratch();
  t.teardown(() => scratch.remove());
  const program = join(here, "../../bench/run.js");
  const options = [
    "--tiny",
    "--runs",
    "1",
    "--backing",
    "memory",
    "--only",
    "write",
    "--peers",
    "floor,plain",
  ];
  const places = ["--disk", scratch.path, "--out", scratch.file("out")];
  // Through env(1), because tap adds its own instruments to the environment of every process that a test starts.
  const settings = [`PATH=${process.env.PATH}`, `HOME=${scratch.path}`, `KMSFS_BENCH_PROGRAMS=${PROGRAMS}`];
  const engine = process.env.KMSFS_ENGINE ? [`KMSFS_ENGINE=${process.env.KMSFS_ENGINE}`] : [];
  const words = ["-i", ...settings, ...engine, process.execPath, program, ...options, ...places];
  const { status, stdout, stderr } = spawnSync("env", words, { encoding: "utf8" });
  t.equal(status, 0, stdout + stderr);
  const result = JSON.parse(readFileSync(scratch.file("out/bench.json"), "utf8")) as BenchResult;
  const [row] = result.rows;
  t.same(Object.keys(row?.cells ?? {}), ["kmsfs", "floor", "plain"]);
  for (const [system, { median, failed }] of Object.entries(row?.cells ?? {})) {
    t.ok(median !== null && median > 0, `${system}: ${failed ?? median}`);
  }
  t.ok((row?.floor?.ratio ?? 0) > 0, "a ratio to the floor");
  t.match(readFileSync(scratch.file("out/bench.svg"), "utf8"), /^<svg [\s\S]*<\/svg>\n$/);
  t.same(readdirSync(scratch.path), ["out"], "nothing else is left");
  t.notMatch(readFileSync("/proc/self/mounts", "utf8"), scratch.path, "nothing is mounted");
  t.end();
});

const cell = (...values: (number | null)[]): Cell => ({ values, median: values[0] ?? null, spread: null });

t.test("ratios are of runs of the same round, above 1 where kmsfs is better", (t) => {
  const cells = {
    kmsfs: cell(10, 40, 30),
    slow: cell(5, 10, 15),
    quick: cell(20, 80, 60),
    broken: cell(null, null, null),
  };
  const others = ["slow", "quick", "broken", "absent"];
  t.same(ratioToBest(cells, "kmsfs", others, "higher"), { to: "quick", ratio: 0.5 });
  t.same(ratioToBest(cells, "kmsfs", others, "lower"), { to: "slow", ratio: 0.5 });
  t.equal(ratioToBest(cells, "kmsfs", ["broken"], "lower"), undefined);
  t.end();
});

t.test("a row is slower when its ratio fell by more than 15 %, or is gone", (t) => {
  const before = { a: 0.8, b: 0.8, c: 0.8, gone: 0.1 };
  t.same(
    slower(before, { a: 0.69, b: 0.67, c: 2, new: 0.1 }).map(({ row }) => row),
    ["b", "gone"],
  );
  t.end();
});
