/**
 * kill -9 of engine and daemon, one or both, in the middle of a load, of a recovery, of an unmount; again and again on
 * the same volume. What was closed is there, the mount point is usable again, nobody hangs, the volume verifies.
 *
 *     KMSFS_KILLS_SEED=7 KMSFS_KILLS=20       as many, from there on
 *     KMSFS_KILLS_MINUTES=30                  for as long (npm run kills)
 */

import t from "tap";
import { TestVolume } from "../support/test-volume.js";
import { SMALL_LOG } from "./fault-run.js";
import { DEATHS, KillRun } from "./kill-run.js";

const number = (name: string, usual: number) => Number(process.env[name] ?? usual);
const SEED = number("KMSFS_KILLS_SEED", 1);
const MINUTES = number("KMSFS_KILLS_MINUTES", 0);
const KILLS = MINUTES > 0 ? Number.POSITIVE_INFINITY : number("KMSFS_KILLS", 3);
/** Rounds on one volume: what earlier ones left goes through the recoveries of later ones. */
const ROUNDS = 6;

/** From 0 to below 1, the same for the same seed (Vigna's splitmix, in 32 bits). */
function fraction(seed: number): number {
  let z = Math.imul((seed + 0x9e3779b9) ^ (seed >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return ((z ^ (z >>> 16)) >>> 0) / 2 ** 32;
}

t.setTimeout(0);
const skip = process.getuid?.() !== 0 && "needs root";
const end = Date.now() + MINUTES * 60_000;
for (let first = 0; first < KILLS && (first === 0 || MINUTES === 0 || Date.now() < end); first += ROUNDS) {
  const seeds = Array.from({ length: Math.min(ROUNDS, KILLS - first) }, (_, n) => SEED + first + n);
  await t.test(`seeds ${seeds.join(", ")}`, { skip, timeout: 0 }, async (t) => {
    const volume = await TestVolume.make(t, SMALL_LOG);
    for (const seed of seeds) {
      const death = DEATHS[(seed + Math.floor((seed - SEED) / DEATHS.length)) % DEATHS.length] ?? DEATHS[0];
      const mode = seed % 2 === 0 ? "writeback" : "nowriteback";
      const wrong = await new KillRun(volume, mode, death, fraction(seed)).run(seed);
      if (wrong === undefined) {
        t.pass(`${death}, ${mode}, seed ${seed}`);
        continue;
      }
      t.fail(`${death}, ${mode}, seed ${seed}: ${wrong}`);
      break;
    }
    await volume.remove();
  });
}
