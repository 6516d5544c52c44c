/** How large the rows are. */

export interface Scale {
  readonly name: string;
  /** MiB of a file that is written and read from end to end. */
  readonly bulk: number;
  /** MiB of the file that is rewritten in place. */
  readonly rewrite: number;
  /** MiB of the file of random reads and writes. */
  readonly random: number;
  /** MiB that fit the sector cache. */
  readonly cached: number;
  /** MiB of the very large file, and KiB from one block in it to the next. */
  readonly huge: number;
  readonly hugeStride: number;
  /** Seconds of a row that has no end of its own. */
  readonly seconds: number;
  readonly files: number;
  readonly appends: number;
  /** Files of the source tree that is untarred. */
  readonly treeFiles: number;
  readonly inserts: number;
  readonly gitStatuses: number;
  readonly pgbenchScale: number;
  /** Of the slow device: MiB of its disk and of the file, and files in the tar. */
  readonly slowDisk: number;
  readonly slowBulk: number;
  readonly slowFiles: number;
  /** Seconds after which a measurement counts as failed. */
  readonly limit: number;
}

export const FULL: Scale = {
  name: "full",
  bulk: 1024,
  rewrite: 2048,
  random: 1024,
  cached: 32,
  huge: 32 * 1024,
  hugeStride: 512,
  seconds: 5,
  files: 5000,
  appends: 200_000,
  treeFiles: 20_000,
  inserts: 2000,
  gitStatuses: 10,
  pgbenchScale: 10,
  slowDisk: 6144,
  slowBulk: 256,
  slowFiles: 80_000,
  limit: 600,
};

export const QUICK: Scale = {
  name: "quick",
  bulk: 128,
  rewrite: 256,
  random: 128,
  cached: 16,
  huge: 1024,
  hugeStride: 512,
  seconds: 2,
  files: 1000,
  appends: 20_000,
  treeFiles: 2000,
  inserts: 200,
  gitStatuses: 5,
  pgbenchScale: 1,
  slowDisk: 3072,
  slowBulk: 64,
  slowFiles: 4000,
  limit: 120,
};

/** That every row runs at all. */
export const TINY: Scale = {
  ...QUICK,
  name: "tiny",
  bulk: 4,
  rewrite: 8,
  random: 4,
  cached: 4,
  huge: 32,
  hugeStride: 256,
  seconds: 1,
  files: 60,
  appends: 500,
  treeFiles: 100,
  inserts: 20,
  gitStatuses: 1,
  slowDisk: 1024,
  slowBulk: 4,
  slowFiles: 200,
  limit: 60,
};
