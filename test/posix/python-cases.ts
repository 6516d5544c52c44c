/** The scripts of test/posix/cases: each runs one case in an empty directory and fails with a line that says what. */

import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { packageRoot } from "../../src/package-root.js";
import { TestVolume } from "../support/test-volume.js";

export const CASES = join(packageRoot(), "test/posix/cases");

/** What holds on ext4 as well: awkward-ext4.test.ts runs it there. */
export const AS_EXT4 = [
  "opened.py",
  "shared.py",
  "locks.py",
  "mapped.py",
  "shapes.py",
  "special.py",
  "times.py",
  "users.py",
  "limits.py",
  "acls.py",
];

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Through env(1), so that tap's own instruments stay out of the script's processes. */
export function runScript(script: string, args: readonly string[], input = ""): Promise<Ended> {
  return new Promise((done, failed) => {
    const path = process.env.PATH ?? "";
    const child = spawn("env", [
      "-i",
      `PATH=${path}`,
      "PYTHONDONTWRITEBYTECODE=1",
      "python3",
      join(CASES, script),
      ...args,
    ]);
    const out = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].on("data", (chunk: Buffer) => {
        out[name] += chunk.toString();
      });
    }
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    child.on("error", failed);
    child.on("close", (status) => done({ status, ...out }));
  });
}

/** The names of a script's cases: what its last statement lists. */
export function casesOf(script: string): string[] {
  const source = readFileSync(join(CASES, script), "utf8");
  const listed = source.slice(source.lastIndexOf("\nmain("));
  return [...listed.matchAll(/\b([a-z]\w+_\w+)\b/g)].flatMap(([, name]) => name ?? []);
}

/** Runs every case of a script in directories below `base`, one subtest each. */
export async function runCases(t: Test, base: string, script: string): Promise<void> {
  for (const name of casesOf(script)) {
    await t.test(name.replaceAll("_", " "), async (t) => {
      const dir = join(base, name);
      mkdirSync(dir);
      const { status, stderr } = await runScript(script, [dir, name]);
      t.equal(status, 0, stderr.trim().split("\n").slice(-4).join("\n"));
      // Node's own removal goes by whole paths, of which some are too long.
      t.equal(spawnSync("rm", ["-rf", dir]).status, 0, "removed");
    });
  }
}

/** Unmounts; what is left must verify to the last block, and nothing may have been called tampering on the way. */
export async function endClean(t: Test, volume: TestVolume): Promise<void> {
  await volume.down(t);
  const verified = await volume.run("verify", volume.backing, "--keyfile", volume.keyfile);
  t.equal(verified.code, "Ok", verified.stdout + verified.stderr);
  t.notMatch(volume.logText(), /tamper/i);
}

/** Every case about files, in a volume that is mounted with `options`. */
export async function runFileCases(t: Test, options: string): Promise<void> {
  const volume = await TestVolume.make(t);
  chmodSync(volume.scratch.path, 0o755);
  await volume.up(t, "-o", options);
  chmodSync(volume.dir, 0o755);
  for (const script of [...AS_EXT4, "differs.py"]) await runCases(t, volume.dir, script);
  await endClean(t, volume);
}
