/**
 * One system call of the engine on the store fails, in the middle of one step of an application: a sample, the same in
 * every run. `npm run faults` does all: each step, each call that it makes, each error that the call can give.
 *
 *     KMSFS_FAULTS_SEED=7 KMSFS_FAULTS_CASES=200           another sample; 0 cases: all
 *     KMSFS_FAULTS_ONLY='rename/setxattr:1:EIO;...'        cases by name, as a failure prints them
 */

import t from "tap";
import { TestVolume } from "../support/test-volume.js";
import { FaultRun, SMALL_LOG } from "./fault-run.js";

const SEED = process.env.KMSFS_FAULTS_SEED ?? "1";
const CASES = process.env.KMSFS_FAULTS_CASES ?? "120";
const ONLY = (process.env.KMSFS_FAULTS_ONLY ?? "").split(";").filter((name) => name !== "");
const skip =
  (process.getuid?.() !== 0 && "needs root") || (process.arch !== "x64" && "the tracer knows x86-64 alone");

/**
 * What the sample leaves out, since each costs a remount: a flush that fails, and a write home; an unmount; and a read of
 * /dev/fuse that says the connection was aborted while it is only being unmounted (fuse_dev_do_read of the kernel).
 */
const SLOW = [
  "create/read:1:ECONNABORTED",
  "umount/read:1:ECONNABORTED",
  "umount/pwrite64:1:ENOSPC",
  "write much/fdatasync:1:EIO",
  "checkpoint/pwrite64:40:EIO",
];

t.setTimeout(0);
for (const mode of ["writeback", "nowriteback"] as const) {
  t.test(`${CASES} calls on the store fail, ${mode}, seed ${SEED}`, { skip, timeout: 0 }, async (t) => {
    const volume = await TestVolume.make(t, SMALL_LOG);
    const args = ["--seed", SEED, "--ops", CASES, ...ONLY.flatMap((name) => ["--fault", name])];
    const { wrong, summary } = await new FaultRun(volume, mode).run(args);
    if (wrong === undefined) t.pass(summary);
    else t.fail(wrong);
  });
}

t.test("a flush, a checkpoint and an unmount fail", { skip, timeout: 0 }, async (t) => {
  const volume = await TestVolume.make(t, SMALL_LOG);
  const { wrong, summary } = await new FaultRun(volume, "writeback").run(
    SLOW.flatMap((name) => ["--fault", name]),
  );
  if (wrong === undefined) t.pass(summary);
  else t.fail(wrong);
});
