/** One directory of a volume for each attack, with something of everything in it, and an older state of it all. */

import {
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { BLOCK, program } from "./backing.js";

/** Two of them hang from the node S1. */
const BLOCKS = 114;
/** The blocks of `a` that the older state has otherwise. */
export const REWRITTEN = [60, 113];
export const LONG_NAME = "long".repeat(60);

function content(letter: string): Buffer {
  return Buffer.concat(
    Array.from({ length: BLOCKS }, (_, block) => Buffer.alloc(BLOCK, `${letter} ${block} `)),
  );
}

function setXattrs(path: string, values: Record<string, string>): void {
  for (const [name, value] of Object.entries(values)) program("setfattr", "-n", name, "-v", value, path);
}

/** The older state. `dir` is inside the mount. */
export function buildOld(dir: string): void {
  const at = (name: string) => join(dir, name);
  mkdirSync(dir, { mode: 0o755 });
  for (const name of ["a", "b"]) writeFileSync(at(name), content(name));
  for (const name of ["d", "e"]) {
    mkdirSync(at(name), { mode: 0o750 });
    writeFileSync(join(at(name), "inner"), `inside of ${name}`);
  }
  setXattrs(at("a"), { "user.x": "old x", "user.y": "y", "user.gone": "gone" });
  symlinkSync("the old target", at("s"));
  symlinkSync("the target of s2", at("s2"));
  symlinkSync(`${"far/".repeat(750)}end`, at("far"));
  program("mkfifo", "-m", "600", at("fifo"));
  writeFileSync(at(LONG_NAME), "under a long name");
  writeFileSync(at("former name"), "moved");
  writeFileSync(at("gone"), "to be deleted");
  writeFileSync(at("private"), "was open to all", { mode: 0o644 });
  linkSync(at("private"), at("linked"));
}

function rewrite(path: string, word: string): void {
  const fd = openSync(path, "r+");
  for (const block of REWRITTEN)
    writeSync(fd, Buffer.alloc(BLOCK, `${word} ${block} `), 0, BLOCK, block * BLOCK);
  closeSync(fd);
}

/** What came after it in a clone. */
export function buildClone(dir: string): void {
  rewrite(join(dir, "a"), "clone");
}

/** What came after it, and is there when the attacks begin. */
export function buildNew(dir: string): void {
  const at = (name: string) => join(dir, name);
  rewrite(at("a"), "new");
  setXattrs(at("a"), { "user.x": "new x" });
  program("setfattr", "-x", "user.gone", at("a"));
  unlinkSync(at("s"));
  symlinkSync("the new target", at("s"));
  renameSync(at("former name"), at("new name"));
  unlinkSync(at("gone"));
  chmodSync(at("private"), 0o600);
}
