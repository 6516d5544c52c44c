/** What applications see of a directory: each thing in it by itself, as text, for comparing before and after. */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../../src/errors.js";
import { BLOCK } from "./backing.js";

/** Whose extended attributes and ACLs are looked at: each takes a process. */
const WITH_XATTRS = new Set(["a", "d", "private"]);

/** "a block 5" -> a digest, or the name of an errno */
export type Seen = Map<string, string>;

function outcome(what: () => string): string {
  try {
    return what();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno;
  }
}

const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex").slice(0, 8);

/** `names`: what has to be looked for in a directory beside what is listed there, in places relative to `root`. */
export function observe(root: string, names: readonly string[]): Seen {
  const seen: Seen = new Map();
  look(root, "", new Set(names), seen);
  return seen;
}

function look(root: string, dir: string, names: ReadonlySet<string>, seen: Seen): void {
  const listed: string[] = [];
  const listing = outcome(() => {
    listed.push(...readdirSync(join(root, dir)).sort());
    return "ok";
  });
  if (listing !== "ok") seen.set(`${dir || "."} listing`, listing);
  const inside = [...names].filter(
    (name) => (name.includes("/") ? name.replace(/\/[^/]*$/, "") : "") === dir,
  );
  for (const name of new Set([...listed.map((name) => (dir ? `${dir}/${name}` : name)), ...inside])) {
    seen.set(`${name} listed`, listed.includes(name.replace(/.*\//, "")) ? "yes" : "no");
    lookAt(root, name, names, seen);
  }
}

function lookAt(root: string, name: string, names: ReadonlySet<string>, seen: Seen): void {
  const path = join(root, name);
  let type = "";
  const attributes = outcome(() => {
    const stat = lstatSync(path);
    if (stat.isFile()) type = "file";
    else if (stat.isDirectory()) type = "directory";
    else if (stat.isSymbolicLink()) type = "symlink";
    const { mode, uid, gid, size, mtimeMs, nlink } = stat;
    seen.set(`${name} mtime`, `${mtimeMs}`);
    seen.set(`${name} links`, `${nlink}`);
    if (type === "file") seen.set(`${name} size`, `${size}`);
    return JSON.stringify([mode.toString(8), uid, gid]);
  });
  seen.set(`${name} stat`, attributes);
  if (type === "symlink")
    seen.set(
      `${name} target`,
      outcome(() => digest(readlinkSync(path, "buffer"))),
    );
  if (type === "file") readBlocks(path, name, seen);
  if (type !== "" && WITH_XATTRS.has(name)) seenXattrs(path, name, seen);
  if (type === "directory") look(root, name, names, seen);
}

function readBlocks(path: string, name: string, seen: Seen): void {
  let fd: number | undefined;
  const opened = outcome(() => {
    fd = openSync(path, "r");
    return "ok";
  });
  seen.set(`${name} open`, opened);
  if (fd === undefined) return;
  const buffer = Buffer.alloc(BLOCK);
  const { size } = lstatSync(path);
  for (let block = 0; block * BLOCK < size; block++) {
    const of = fd;
    const read = outcome(() => digest(buffer.subarray(0, readSync(of, buffer, 0, BLOCK, block * BLOCK))));
    seen.set(`${name} block ${block}`, read);
  }
  closeSync(fd);
}

/** Root's getfattr, since Node reads no extended attributes; ACLs are among them. */
function seenXattrs(path: string, name: string, seen: Seen): void {
  const args = [
    "-h",
    "-d",
    "-m",
    "^(user|trusted|security|system\\.posix)",
    "-e",
    "hex",
    "--absolute-names",
    path,
  ];
  const { stdout, stderr } = spawnSync("getfattr", args, { encoding: "latin1" });
  for (const line of stdout.split("\n")) {
    const [, attribute, value] = /^([^#=]+)=(.*)$/.exec(line) ?? [];
    if (attribute !== undefined) seen.set(`${name} ${attribute}`, value ?? "");
  }
  for (const line of stderr.split("\n").filter((line) => line !== "")) {
    const attribute = /: ((?:user|trusted|security|system)\.[^:]*): /.exec(line)?.[1] ?? "xattrs";
    seen.set(`${name} ${attribute}`, /Input\/output error/.test(line) ? "EIO" : line);
  }
}

/** What is seen otherwise than before: the errno, "gone", "appeared", or "other". */
export function differences(before: Seen, after: Seen): Map<string, string> {
  const found = new Map<string, string>();
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    const [was, is] = [before.get(key), after.get(key)];
    if (was === is) continue;
    // What is below something that cannot be had has no line of its own.
    if (is === undefined) {
      if (!isBelowRefusal(key, after)) found.set(key, "gone");
    } else if (/^E[A-Z0-9]+$/.test(is)) found.set(key, is);
    else
      found.set(key, was === undefined || was === "no" ? "appeared" : is === "no" ? "not listed" : "other");
  }
  return found;
}

function isBelowRefusal(key: string, after: Seen): boolean {
  for (const [other, is] of after) {
    if (!/^E[A-Z0-9]+$/.test(is)) continue;
    const name = other.replace(/ (stat|open|listing|xattrs)$/, "");
    if (name !== other && (key.startsWith(`${name} `) || key.startsWith(`${name}/`))) return true;
  }
  return false;
}
