/**
 * The engine and the reference reader, who share nothing but docs/format.md, against a plain directory: volumes worked on
 * at random, left clean or as a kill -9 leaves them, must verify and read as the directory does.
 */

import { spawnSync } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import {
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { commitmentOf } from "../../src/keys/domain.js";
import { exportTree } from "../../src/reader/export.js";
import { verify } from "../../src/reader/verify.js";
import { Volume } from "../../src/reader/volume.js";

/** Built by `cargo test --workspace`, which runs first in scripts/test.sh. */
const WORKER =
  process.env.KMSFS_RANDOM_VOLUME ??
  join(dirname(fileURLToPath(import.meta.url)), "../../../native/target/debug/examples/random_volume");
const SEEDS = Number(process.env.KMSFS_VOLUME_SEEDS ?? 10);
const FIRST = Number(process.env.KMSFS_VOLUME_SEED ?? 0);
const STEPS = 60;
const SEGMENT_SIZE = 4 << 20;

/** One line for each entry, hard links by the first path of their inode. */
function describe(root: string, dir = "", inodes = new Map<number, string>()): string[] {
  const names = readdirSync(join(root, dir)).sort();
  return names.flatMap((name) => {
    const path = join(dir, name);
    const stat = lstatSync(join(root, path));
    const head = `${path} ${stat.mode.toString(8)}`;
    if (stat.isDirectory()) return [head, ...describe(root, path, inodes)];
    if (stat.isSymbolicLink()) return [`${head} -> ${readlinkSync(join(root, path))}`];
    const first = inodes.get(stat.ino);
    if (first !== undefined) return [`${head} = ${first}`];
    inodes.set(stat.ino, path);
    return [`${head} ${stat.nlink} ${stat.size} ${digest(join(root, path))}`];
  });
}

/** A line for each inode with its owner, mode and ACLs, as getfacl(1) tells them. */
function acls(root: string): string[] {
  const { status, stdout, stderr } = spawnSync("getfacl", ["-RPnp", "."], { cwd: root, encoding: "utf8" });
  if (status !== 0) throw new Error(`getfacl: ${stderr}`);
  // The roots themselves were made by others.
  const inodes = stdout.split("\n\n").filter((lines) => !lines.startsWith("# file: .\n"));
  return inodes.map((lines) => lines.replaceAll("\n", " "));
}

function digest(path: string): string {
  const hash = createHash("sha256");
  const buffer = Buffer.alloc(1 << 20);
  const fd = openSync(path, "r");
  try {
    for (let n = readSync(fd, buffer); n > 0; n = readSync(fd, buffer)) hash.update(buffer.subarray(0, n));
  } finally {
    closeSync(fd);
  }
  return hash.digest("hex");
}

async function workAndRead(seed: number, blockSize: number, end: "crash" | "clean"): Promise<string[]> {
  const place = mkdtempSync("/var/tmp/kmsfs-random-");
  const [backing, mirror, out] = ["backing", "mirror", "out"].map((name) => join(place, name)) as [
    string,
    string,
    string,
  ];
  try {
    for (const dir of [
      backing,
      mirror,
      out,
      `${backing}/.kmsfs`,
      `${backing}/.kmsfs/log`,
      `${backing}/.kmsfs/links`,
    ]) {
      mkdirSync(dir);
    }
    const uuid = randomUUID();
    const key = randomBytes(32);
    const id = uuid.replaceAll("-", "");
    const shift = Math.log2(blockSize);
    const args = [backing, mirror, id, shift, SEGMENT_SIZE, 4, seed, STEPS, end].map(String);
    const worked = spawnSync(WORKER, args, { input: key, encoding: "utf8" });
    if (worked.status !== 0) return [`the worker ended with ${worked.status}: ${worked.stderr}`];
    const commitment = commitmentOf(key, uuid);
    const volume = new Volume(
      backing,
      { uuid, blockSize, commitment, log: { segmentSize: SEGMENT_SIZE } },
      key,
    );
    try {
      const found: string[] = [];
      await verify(volume, { onProblem: (problem) => found.push(JSON.stringify(problem)) });
      await exportTree(volume, out, {});
      const [ours, plain] = [out, mirror].map((dir) => [...describe(dir), ...acls(dir)]) as [
        string[],
        string[],
      ];
      const both = new Set(ours.filter((line) => plain.includes(line)));
      found.push(...ours.filter((line) => !both.has(line)).map((line) => `only in the volume: ${line}`));
      found.push(...plain.filter((line) => !both.has(line)).map((line) => `only in the directory: ${line}`));
      return found;
    } finally {
      volume.close();
    }
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

// Each seed takes a second or two; a machine's load must not fail them.
t.setTimeout(0);
for (const blockSize of [4096, 16384, 65536]) {
  for (const end of ["clean", "crash"] as const) {
    t.test(
      `volumes of ${blockSize}-byte blocks, left ${end}, read as a plain directory does`,
      { timeout: 600_000 },
      async (t) => {
        for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
          const found = await workAndRead(seed, blockSize, end);
          if (found.length > 0) t.fail(`KMSFS_VOLUME_SEED=${seed}`, { found: found.slice(0, 20) });
        }
        t.pass(`${SEEDS} seeds from ${FIRST}`);
      },
    );
  }
}
