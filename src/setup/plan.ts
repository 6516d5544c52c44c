/** What kmsfs puts on a machine besides its npm package, and where. */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../package-root.js";

export interface PlannedFile {
  /** Absolute, as the running system will see it */
  readonly path: string;
  readonly content: Buffer;
  readonly mode: number;
}

export interface Places {
  /** /usr/local, or /usr for a distribution's package */
  readonly prefix: string;
  /** The command that helpers and units call */
  readonly command: string;
}

/** The command as the files of the package spell it. */
const WRITTEN_COMMAND = "/usr/bin/kmsfs";

const UNIT = /\.(service|socket|target|timer|path|slice)$/;

/** Helpers for mount(8), units, manual pages and completions. */
export function planFiles({ prefix, command }: Places): PlannedFile[] {
  // mount(8) looks in /sbin alone, which is /usr/sbin wherever a package installs to /usr.
  const sbin = prefix === "/usr" ? "/usr/sbin" : "/sbin";
  return [
    ...filesOf("sbin").map((name) => planned(`sbin/${name}`, join(sbin, name), 0o755, command)),
    ...filesOf("systemd")
      .filter((name) => UNIT.test(name))
      .map((name) => planned(`systemd/${name}`, join(prefix, "lib/systemd/system", name), 0o644, command)),
    ...filesOf("share").map((name) =>
      planned(`share/${name}`, join(prefix, "share", name), 0o644, undefined),
    ),
  ];
}

/** A command that needs no PATH, for machines whose services do not find Node in theirs (nvm, for instance). */
export function planLauncher(prefix: string, node: string, script: string): PlannedFile {
  const words = [node, script].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  const content = Buffer.from(`#!/bin/sh\nexec ${words.join(" ")} "$@"\n`);
  return { path: join(prefix, "lib/kmsfs/kmsfs"), content, mode: 0o755 };
}

function planned(source: string, path: string, mode: number, command: string | undefined): PlannedFile {
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
