/** Reading and writing files. */

import { type Bench, bandwidth, duration, everywhere, once, type Row, rate, type Sample } from "./row.js";

const MIB = "M";
const BANDWIDTH = { unit: "MiB/s", better: "higher", backings: everywhere } as const;
const RATE = { unit: "1/s", better: "higher", backings: everywhere } as const;
const SECONDS = { unit: "s", better: "lower", backings: everywhere } as const;
const MICROSECONDS = { unit: "us", better: "lower", backings: everywhere } as const;

/** Whole files. */
const bulk: Row[] = [
  {
    name: "write",
    what: "write 128 KiB sequentially, with the fsync",
    ...BANDWIDTH,
    async run(at) {
      const sample = bandwidth(await at.load("write", "big", "--size", at.scale.bulk + MIB));
      at.remove("big");
      return sample;
    },
  },
  {
    name: "rewrite",
    what: "rewrite a file in place, 128 KiB sequentially, with the fsync",
    ...BANDWIDTH,
    prepare: (at) => at.load("write", "big", "--size", at.scale.rewrite + MIB),
    run: async (at) =>
      bandwidth(await at.load("write", "big", "--in-place", "--size", at.scale.rewrite + MIB)),
  },
  {
    name: "read",
    what: "read 128 KiB sequentially, cold",
    ...BANDWIDTH,
    prepare: (at) => at.load("write", "big", "--size", at.scale.bulk + MIB),
    async run(at) {
      await at.cold();
      return bandwidth(await at.load("read", "big"));
    },
  },
  {
    name: "reread-direct",
    what: "re-read 128 KiB with O_DIRECT what fits the sector cache",
    ...BANDWIDTH,
    async prepare(at) {
      await at.load("write", "cached", "--size", at.scale.cached + MIB);
      await at.load("read", "cached", "--direct");
    },
    run: async (at) => bandwidth(await at.load("read", "cached", "--direct")),
  },
  {
    name: "reread-direct-4k",
    what: "re-read 4 KiB at random with O_DIRECT what fits the sector cache",
    ...RATE,
    async prepare(at) {
      await at.load("write", "cached", "--size", at.scale.cached + MIB);
      await at.load("read", "cached", "--direct");
    },
    run: async (at) => rate(await at.load("randread", "cached", "--direct", "--seconds", at.scale.seconds)),
  },
];

/** A row for each number of clients. */
function clients(numbers: readonly number[], make: (clients: number) => Row): Row[] {
  return numbers.map(make);
}

const several = (n: number): string => (n === 1 ? "" : `, ${n} clients`);

const random: Row[] = [
  ...clients([1, 4, 8], (n) => ({
    name: `randread-${n}`,
    what: `random 4 KiB reads, cold${several(n)}`,
    ...RATE,
    prepare: (at) => at.load("write", "random", "--size", at.scale.random + MIB),
    async run(at) {
      await at.cold();
      return rate(await at.load("randread", "random", "--threads", n, ...once(at, at.scale.random * 256, n)));
    },
  })),
  ...clients([1, 4, 8], (n) => writing(n, "randwrite", "random 4 KiB writes, with the fsync at the end")),
  ...clients([1, 4, 8], (n) => writing(n, "fdatasync", "4 KiB writes, each with fdatasync")),
  {
    name: "append",
    what: "100-byte appends",
    ...RATE,
    async run(at) {
      const sample = rate(await at.load("append", "log", "--ops", at.scale.appends));
      at.remove("log");
      return sample;
    },
  },
];

function writing(n: number, command: string, what: string): Row {
  const args = (at: Bench) => ["--threads", n, "--size", at.scale.random + MIB];
  return {
    name: `${command}-${n}`,
    what: what + several(n),
    ...RATE,
    // Makes the files: one write each.
    prepare: (at) => at.load(command, "random", ...args(at)),
    run: async (at) => rate(await at.load(command, "random", ...args(at), "--seconds", at.scale.seconds)),
  };
}

const huge: Row = {
  name: "randread-huge",
  what: "cold random 4 KiB reads in a 32 GiB file, a block written in each 512 KiB",
  ...RATE,
  prepare: (at) =>
    at.load("scatter", "huge", "--size", at.scale.huge + MIB, "--stride", `${at.scale.hugeStride}K`),
  async run(at): Promise<Sample> {
    await at.cold();
    const blocks = (at.scale.huge * 1024) / at.scale.hugeStride;
    const stride = ["--stride", `${at.scale.hugeStride}K`];
    return rate(await at.load("randread", "huge", ...stride, ...once(at, blocks, 1)));
  },
};

const tree = (at: Bench) => ["--files", at.scale.files];

const trees: Row[] = [
  ...clients([1, 4, 8], (n) => ({
    name: `create-${n}`,
    what: `create files of 2 KiB${several(n)}`,
    ...SECONDS,
    async run(at) {
      const sample = duration(await at.load("create", "tree", ...tree(at), "--threads", n));
      at.remove("tree");
      return sample;
    },
  })),
  {
    name: "find",
    what: "list them with lstat, cold",
    ...SECONDS,
    prepare: (at) => at.load("create", "tree", ...tree(at)),
    async run(at) {
      await at.cold();
      return duration(await at.load("list", "tree"));
    },
  },
  {
    name: "readfiles",
    what: "read them, cold",
    ...SECONDS,
    prepare: (at) => at.load("create", "tree", ...tree(at)),
    async run(at) {
      await at.cold();
      return duration(await at.load("readfiles", "tree", ...tree(at)));
    },
  },
  {
    name: "remove",
    what: "remove them",
    ...SECONDS,
    async run(at) {
      await at.load("create", "tree", ...tree(at));
      return duration(await at.load("remove", "tree", ...tree(at)));
    },
  },
  ...clients([1, 4, 8], (n) => ({
    name: `stat-${n}`,
    what: `lstat, nothing cached${several(n)}, time of one`,
    ...MICROSECONDS,
    prepare: (at) => at.load("create", "tree", ...tree(at)),
    async run(at) {
      await at.cold();
      const measured = await at.load("stat", "tree", ...tree(at), "--threads", n);
      return { ...duration(measured), value: (measured.seconds / measured.ops) * 1e6 };
    },
  })),
];

const mounts: Row[] = [
  {
    name: "mount",
    what: "mount a volume that was unmounted cleanly",
    ...SECONDS,
    run: async (at) => ({ value: await at.subject.timeMount() }),
  },
];

export const FILE_ROWS: readonly Row[] = [...bulk, ...random, huge, ...trees, ...mounts];
