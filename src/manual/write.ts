/** `node dist/manual/write.js DIR`: the manual pages and completions, laid out as below /usr/share. */

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { packageRoot } from "../package-root.js";
import { packageVersion } from "../version.js";
import { bashCompletion } from "./completion-bash.js";
import { fishCompletion } from "./completion-fish.js";
import { zshCompletion } from "./completion-zsh.js";
import { commandDefinitions } from "./definitions.js";
import { readExitStatuses } from "./exit-statuses.js";
import { manPages } from "./man-pages.js";

/** The day of the sources, not of the build: the same commit gives the same package. */
function sourceDate(): string {
  const epoch = process.env.SOURCE_DATE_EPOCH;
  if (epoch !== undefined) return new Date(Number(epoch) * 1000).toISOString().slice(0, 10);
  try {
    const log = ["-C", packageRoot(), "log", "-1", "--format=%cs"];
    return execFileSync("git", log, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    // No git, or no repository: a source archive.
    return new Date().toISOString().slice(0, 10);
  }
}

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error("usage: node dist/manual/write.js DIR");

const commands = await commandDefinitions();
const statuses = readExitStatuses(readFileSync(join(packageRoot(), "docs/exit-codes.md"), "utf8"));
const pages = manPages(commands, statuses, { version: packageVersion(), date: sourceDate() });
const files = new Map([
  ["bash-completion/completions/kmsfs", bashCompletion(commands)],
  ["zsh/site-functions/_kmsfs", zshCompletion(commands)],
  ["fish/vendor_completions.d/kmsfs.fish", fishCompletion(commands)],
]);
for (const [name, text] of pages) files.set(`man/man${name.slice(-1)}/${name}`, text);

// Pages of commands that are no more go.
rmSync(join(directory, "man"), { recursive: true, force: true });
for (const [name, text] of files) {
  const path = join(directory, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
