/** Over a device that takes 1 ms for each request and each flush: what is done side by side, and what one by one. */

import { type BackingKind, bandwidth, once, type Row, rate } from "./row.js";

const slow: readonly BackingKind[] = ["slow"];

const reader = (n: number): Row => ({
  name: `slow-randread-${n}`,
  what: `random 4 KiB reads, cold, ${n === 1 ? "one client" : `${n} clients`}`,
  unit: "1/s",
  better: "higher",
  backings: slow,
  prepare: (at) => at.load("write", "random", "--size", `${at.scale.slowBulk}M`),
  async run(at) {
    await at.cold();
    return rate(await at.load("randread", "random", "--threads", n, ...once(at, at.scale.slowBulk * 256, n)));
  },
});

export const SLOW_ROWS: readonly Row[] = [
  {
    name: "slow-read",
    what: "read 128 KiB sequentially, cold; the device does 250 MiB/s",
    unit: "MiB/s",
    better: "higher",
    backings: slow,
    prepare: (at) => at.load("write", "big", "--size", `${at.scale.slowBulk}M`),
    async run(at) {
      await at.cold();
      return bandwidth(await at.load("read", "big"));
    },
  },
  reader(1),
  reader(16),
  {
    name: "slow-untar",
    what: "untar many small files",
    unit: "s",
    better: "lower",
    backings: slow,
    async run(at) {
      const tar = await at.shared.smallFilesTar(at.scale.slowFiles);
      const began = performance.now();
      await at.command(["tar", "-xf", tar]);
      const value = (performance.now() - began) / 1000;
      at.remove("tree");
      return { value };
    },
  },
];
