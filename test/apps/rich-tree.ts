/** A tree with one of everything that a backup must bring back, and a listing of all of it by independent programs. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../src/package-root.js";
import { run } from "../support/programs.js";
import { writeTree } from "../support/tree.js";

const HERE = join(packageRoot(), "test/apps");

/** What the tree is made and listed with. */
export const TREE_PROGRAMS = ["bash", "setfattr", "setfacl", "setcap"];

/** Makes a directory and fills it, as root. */
export async function writeRichTree(dir: string): Promise<void> {
  mkdirSync(dir);
  await run(["bash", join(HERE, "rich-tree.sh")], { cwd: dir });
  mkdirSync(`${dir}/plain`);
  writeTree(`${dir}/plain`);
}

/** A line for each thing that is to be the same in a copy. */
export async function listTree(dir: string): Promise<string[]> {
  return (await run(["bash", join(HERE, "list-tree.sh")], { cwd: dir })).split("\n");
}
