/** A tree of plain files that tests write, and what a tree looks like for comparing. */

import { createHash, randomBytes } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** Sizes on and beside the borders of blocks, of the direct entries (112 blocks) and of the first subtree. */
const SIZES = [0, 1, 15, 4095, 4096, 4097, 100_000, 458_751, 458_752, 458_753, 983_040, 983_041, 3_000_000];

/** Random and text files, directories, links, long and odd names. */
export function writeTree(dir: string): void {
  mkdirSync(join(dir, "a directory of random files"));
  for (const size of SIZES) {
    writeFileSync(
      join(dir, "a directory of random files", `random bytes, ${size} of them`),
      randomBytes(size),
    );
  }
  mkdirSync(join(dir, "texts/one level down/and one more"), { recursive: true });
  for (let i = 0; i < 40; i++) {
    const line = `line of the text file number ${i}, written for a test\n`;
    writeFileSync(
      join(dir, "texts/one level down/and one more", `text file number ${i}.txt`),
      line.repeat(i * 7),
    );
  }
  writeFileSync(join(dir, "texts", "n".repeat(255)), "a name of 255 bytes");
  writeFileSync(join(dir, "texts", "Größe, 大きさ, размер"), "a name beyond ASCII");
  symlinkSync(
    "texts/one level down/and one more/text file number 3.txt",
    join(dir, "a symbolic link to a text"),
  );
}

/** One line for each entry: path, type, mode, and what it holds. */
export function describeTree(dir: string, prefix = ""): string[] {
  return readdirSync(join(dir, prefix))
    .sort()
    .flatMap((name) => {
      const path = join(prefix, name);
      const stat = lstatSync(join(dir, path));
      const head = `${path} ${stat.mode.toString(8)} ${stat.uid}:${stat.gid}`;
      if (stat.isDirectory()) return [head, ...describeTree(dir, path)];
      if (stat.isSymbolicLink()) return [`${head} -> ${readlinkSync(join(dir, path))}`];
      const digest = createHash("sha256")
        .update(readFileSync(join(dir, path)))
        .digest("hex");
      return [`${head} ${stat.size} ${stat.mtimeMs} ${digest}`];
    });
}
