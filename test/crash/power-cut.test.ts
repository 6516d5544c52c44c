/**
 * Power cuts of a volume on ext4 and on xfs: workloads of up to three operations, and long ones, on a recorded disk;
 * states that a cut could have left are made from the record, and each must hold what docs/semantics.md promises.
 *
 *     KMSFS_CRASH_SEED=7          other workloads, other states
 *     KMSFS_CRASH_MINUTES=30      seeds from there on for as long, all states of each (npm run crash)
 *     KMSFS_CRASH_ALL=1           all workloads of up to three operations (npm run crash -- --all)
 *     KMSFS_CRASH_FS=xfs          only there
 */

import t, { type Test } from "tap";
import { FILE_SYSTEMS, type FileSystem, PowerCut, workloads } from "../support/power-cut.js";
import { cannotRun } from "../support/programs.js";

const number = (name: string, usual: number) => Number(process.env[name] ?? usual);
const SEED = number("KMSFS_CRASH_SEED", 1);
const MINUTES = number("KMSFS_CRASH_MINUTES", 0);
const ALL = process.env.KMSFS_CRASH_ALL !== undefined;
/** Workloads of one recording when all are done. */
const BATCH = 24;
/** The smallest log that there is. */
const SMALL_LOG = ["--log-segments", "4", "--log-segment-size", "4"];
/** What a volume and its mount may be like: a run takes one after the other. */
const KINDS = [
  { blockSize: 4096, writeback: false },
  { blockSize: 16384, writeback: true },
  { blockSize: 4096, writeback: true },
  { blockSize: 65536, writeback: false },
] as const;

interface Run {
  readonly fs: FileSystem;
  readonly kind: (typeof KINDS)[number];
  readonly seed: number;
  readonly work: readonly string[];
  /** How many states are tried; undefined: all that are made. */
  readonly states: number | undefined;
}

async function tried(t: Test, { fs, kind, seed, work, states }: Run): Promise<void> {
  const init = ["--block-size", `${kind.blockSize}`, ...SMALL_LOG];
  const cut = await PowerCut.make(t, { fs, init, writeback: kind.writeback });
  const worked = await cut.work([...work, "--seed", `${seed}`]);
  if (worked.status !== 0) throw new Error(worked.stderr);
  await cut.stop();
  const limit = states === undefined ? [] : ["--states", `${states}`];
  const checked = await cut.check(["--seed", `${seed}`, ...limit]);
  if (checked.status === 0) t.pass(`as it must be in ${checked.stdout.trim()}`);
  else t.fail(checked.stderr);
  await cut.remove();
}

async function test(run: Run): Promise<void> {
  const { fs, kind, seed, work } = run;
  const mode = kind.writeback ? "writeback" : "nowriteback";
  const name = `${fs}, blocks of ${kind.blockSize}, ${mode}, ${work.join(" ")}, seed ${seed}`;
  await t.test(name, { skip: cannotRun(`mkfs.${fs}`, "losetup"), timeout: 0 }, (t) => tried(t, run));
}

t.setTimeout(0);
if (ALL) {
  for (let first = 0, n = 0; first < workloads(); first += BATCH, n++) {
    const work = ["--systematic", `${BATCH}`, "--first", `${first}`];
    for (const fs of FILE_SYSTEMS)
      await test({ fs, kind: KINDS[n % 4] ?? KINDS[0], seed: SEED, work, states: undefined });
  }
} else {
  const until = Date.now() + MINUTES * 60_000;
  for (let round = 0; round === 0 || Date.now() < until; round++) {
    const seed = SEED + round;
    for (const [n, fs] of FILE_SYSTEMS.entries()) {
      const kind = KINDS[(seed + n) % 4] ?? KINDS[0];
      const long = MINUTES > 0 ? "100" : "20";
      const work = ["--systematic", MINUTES > 0 ? "16" : "5", "--long", "1", "--ops", long];
      await test({ fs, kind, seed, work, states: MINUTES > 0 ? undefined : 40 });
    }
  }
}
