/** What kmsfs puts on a machine besides its npm package, and where. */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { packageRoot } from "../package-root.js";

/** `path` is absolute, as the running system will see it. */
export type PlannedFile =
  | { readonly path: string; readonly content: Buffer; readonly mode: number }
  | { readonly path: string; readonly link: string };

export interface Places {
  /** /usr/local, or /usr for a distribution's package */
  readonly prefix: string;
  /** The command that units call */
  readonly command: string;
  /** Where the npm package lies */
  readonly packageDir: string;
  /** Node's own path, for machines whose services do not find it in theirs (nvm, for instance) */
  readonly node?: string;
}

/** One program under the names by which mount(8) and umount(8) look for it; it finds its package by the link. */
const HELPER = "scripts/mount.kmsfs";
const HELPER_NAMES = ["mount.kmsfs", "mount.fuse.kmsfs", "umount.kmsfs", "umount.fuse.kmsfs"];

/** The command as the files of the package spell it. */
const WRITTEN_COMMAND = "/usr/bin/kmsfs";

const MAIN = "dist/cli/main.js";
const UNIT = /\.(service|socket|target|timer|path|slice)$/;

/** Helpers for mount(8), units, manual pages and completions. */
export function planFiles({ prefix, command, packageDir, node }: Places): PlannedFile[] {
  // mount(8) looks in /sbin alone, which is /usr/sbin wherever a package installs to /usr.
  const sbin = prefix === "/usr" ? "/usr/sbin" : "/sbin";
  return [
    ...HELPER_NAMES.map((name) => helper(join(sbin, name), packageDir, node)),
    ...filesOf("systemd")
      .filter((name) => UNIT.test(name))
      .map((name) => planned(`systemd/${name}`, join(prefix, "lib/systemd/system", name), command)),
    ...filesOf("share").map((name) => planned(`share/${name}`, join(prefix, "share", name), undefined)),
  ];
}

/** What units call where they would not find Node. */
export function planLauncher(prefix: string, node: string, packageDir: string): PlannedFile {
  return {
    path: join(prefix, "lib/kmsfs/kmsfs"),
    content: launcher(node, join(packageDir, MAIN)),
    mode: 0o755,
  };
}

/** The helper looks for Node in the PATH; with a path of Node's, what it would do is written out. */
function helper(path: string, packageDir: string, node: string | undefined): PlannedFile {
  const target = join(packageDir, HELPER);
  // Debian's policy, 10.5: relative within one top-level directory
  const near = path.startsWith("/usr/") && target.startsWith("/usr/");
  if (node === undefined) return { path, link: near ? relative(dirname(path), target) : target };
  const command = basename(path).startsWith("umount") ? "umount-helper" : "mount-helper";
  return { path, content: launcher(node, join(packageDir, MAIN), command), mode: 0o755 };
}

function launcher(...words: readonly string[]): Buffer {
  const quoted = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  // Node does not start in a directory that is gone.
  return Buffer.from(`#!/bin/sh\ncd . 2>/dev/null || cd /\nexec ${quoted.join(" ")} "$@"\n`);
}

function planned(source: string, path: string, command: string | undefined): PlannedFile {
  const mode = 0o644;
  const content = readFileSync(join(packageRoot(), source));
  if (command === undefined) return { path, content, mode };
  return { path, content: Buffer.from(content.toString().replaceAll(WRITTEN_COMMAND, command)), mode };
}

/** Relative to `directory` of the package, sorted. */
function filesOf(directory: string): string[] {
  const top = join(packageRoot(), directory);
  if (!existsSync(top)) return [];
  return readdirSync(top, { recursive: true, encoding: "utf8" })
    .filter((name) => statSync(join(top, name)).isFile())
    .sort();
}
