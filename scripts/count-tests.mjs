/**
 * Counts from what the runners printed: cargo's "test result" lines, and tap's assertions ("ok", "not ok" below the
 * level of files). Prints `N passed, N failed` and fails when something failed, ended badly or did not run.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [work] = process.argv.slice(2);
const read = (name) => readFileSync(join(work, name), "utf8");
const statusOf = (name) => Number(read(`${name}.status`).trim() || "1");

const rust = { passed: 0, failed: 0 };
for (const [, passed, failed] of read("cargo.out").matchAll(
  /^test result: \w+\. (\d+) passed; (\d+) failed/gm,
)) {
  rust.passed += Number(passed);
  rust.failed += Number(failed);
}

const summary = /^# \{ total: (\d+)(?:, pass: (\d+))?(?:, fail: (\d+))?/m.exec(read("tap.out"));
const typescript = { passed: Number(summary?.[2] ?? 0), failed: Number(summary?.[3] ?? 0) };

const problems = [];
for (const [name, runner, counts] of [
  ["cargo", "cargo test", rust],
  ["tap", "tap", typescript],
]) {
  if (counts.passed + counts.failed === 0) problems.push(`${runner} ran nothing`);
  // A runner that failed without a failed test: a build error, a crash, a time-out.
  if (statusOf(name) !== 0 && counts.failed === 0) {
    problems.push(`${runner} ended with status ${statusOf(name)}`);
    counts.failed += 1;
  }
}
let missing = 0;
if (statusOf("programs") !== 0) {
  missing = 1;
  problems.push("programs that tests need could not be installed");
}
for (const problem of problems) console.log(`test: ${problem}`);
console.log(
  `cargo ${rust.passed} passed, ${rust.failed} failed; tap ${typescript.passed} passed, ${typescript.failed} failed`,
);
const failed = rust.failed + typescript.failed + missing;
console.log(`${rust.passed + typescript.passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || problems.length > 0 ? 1 : 0;
