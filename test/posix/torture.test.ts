/**
 * Files and trees worked on at random by native/torture, on every block size, with the kernel's write cache and without,
 * with a cache too small for anything, with remounts and deaths of the engine on the way.
 *
 *     KMSFS_TORTURE_SEED=7 KMSFS_TORTURE_OPS=100000   one longer run of each kind
 *     KMSFS_TORTURE_MINUTES=30                        seeds from there on for as long (npm run torture)
 *     KMSFS_TORTURE_ONLY=fsx-4096-nowriteback         only kinds whose name begins so
 */

import { mkdirSync } from "node:fs";
import t, { type Test } from "tap";
import { TestVolume } from "../support/test-volume.js";
import { Torture } from "../support/torture.js";

const root = process.getuid?.() === 0;
const number = (name: string, usual: number) => Number(process.env[name] ?? usual);
const SEED = number("KMSFS_TORTURE_SEED", 1);
const MINUTES = number("KMSFS_TORTURE_MINUTES", 0);
const ONLY = process.env.KMSFS_TORTURE_ONLY ?? "";
/** The smallest log that there is: it goes round and round. */
const SMALL_LOG = ["--log-segments", "4", "--log-segment-size", "4"];

interface Kind {
  readonly name: string;
  readonly blockSize: number;
  readonly init: readonly string[];
  readonly mount: readonly string[];
  readonly args: readonly string[];
  /** Operations of a run in CI. */
  readonly ops: number;
  /** Whether it is in CI, where not every kind runs on every block size in both modes. */
  readonly sampled: boolean;
  /** Whether a directory of the backing file system goes along. */
  readonly mirrored: boolean;
}

const KINDS: Kind[] = [];
for (const blockSize of [4096, 16384, 65536]) {
  for (const mode of ["writeback", "nowriteback"]) {
    const init = blockSize === 16384 ? [] : SMALL_LOG;
    const mount = [mode, ...(blockSize === 65536 ? [] : ["cache=1M"])];
    const common = { blockSize, init, mount };
    const args = ["--block", `${blockSize}`, "--remount", "--crash"];
    const fsx = ["fsx", ...args, "--files", "3"];
    KINDS.push({
      ...common,
      name: `fsx-${blockSize}-${mode}`,
      args: fsx,
      ops: 300,
      sampled: true,
      mirrored: false,
    });
    const sampled = (mode === "writeback") === (blockSize !== 16384);
    const mirrored = true;
    const workers = ["--block", `${blockSize}`, "--threads", "2", "--processes", "2"];
    const stress = ["stress", ...workers, "--remount"];
    KINDS.push({ ...common, name: `stress-${blockSize}-${mode}`, args: stress, ops: 400, sampled, mirrored });
    const contest = {
      ...common,
      name: `contest-${blockSize}-${mode}`,
      args: ["contest", ...stress.slice(1)],
    };
    KINDS.push({ ...contest, ops: 600, sampled: blockSize === 4096, mirrored: false });
    const killed = ["stress", ...workers, "--remount", "--crash"];
    KINDS.push({
      ...common,
      name: `killed-${blockSize}-${mode}`,
      args: killed,
      ops: 100_000,
      sampled,
      mirrored,
    });
  }
}

/** One run in a volume of its own: undefined, or what is wrong. */
async function once(t: Test, kind: Kind, seed: number, ops: number): Promise<string | undefined> {
  const volume = await TestVolume.make(t, ["--block-size", `${kind.blockSize}`, ...kind.init]);
  const torture = new Torture(volume, kind.mount);
  await torture.mount();
  const dir = volume.at("work");
  mkdirSync(dir);
  const dirs = [dir];
  if (kind.mirrored) {
    dirs.push(volume.scratch.file("mirror"));
    mkdirSync(volume.scratch.file("mirror"));
  }
  const wrong = await torture.run([...kind.args, "--seed", `${seed}`, "--ops", `${ops}`, ...dirs]);
  if (wrong !== undefined) return wrong;
  const ended = await torture.endsClean();
  await volume.remove();
  return ended;
}

t.setTimeout(0);
const until = Date.now() + MINUTES * 60_000;
for (let round = 0; round === 0 || Date.now() < until; round++) {
  const seed = SEED + round;
  const all = MINUTES > 0 || ONLY !== "" || process.env.KMSFS_TORTURE_OPS !== undefined;
  for (const kind of KINDS.filter(({ name, sampled }) => name.startsWith(ONLY) && (all || sampled))) {
    const ops = number("KMSFS_TORTURE_OPS", MINUTES > 0 ? kind.ops * 10 : kind.ops);
    await t.test(
      `${kind.name}, seed ${seed}, ${ops} operations`,
      { skip: !root && "needs root", timeout: 0 },
      async (t) => {
        const wrong = await once(t, kind, seed, ops);
        if (wrong === undefined) t.pass("as it must be, and verified");
        else t.fail(wrong);
      },
    );
  }
}
