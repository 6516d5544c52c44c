import { readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import type { Machine } from "./result.js";
import { command } from "./support/command.js";
import { CHECKOUT } from "./support/programs.js";

export function machine(): Machine {
  const model = /^model name\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1];
  return {
    cpu: model ?? process.arch,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: `Linux ${release()}`,
    node: process.version,
  };
}

export async function commit(): Promise<string> {
  const git = ["git", "-c", "safe.directory=*", "-C", CHECKOUT];
  try {
    const changed = await command([...git, "status", "--porcelain", "--untracked-files=no"]);
    const head = (await command([...git, "rev-parse", "--short=12", "HEAD"])).trim();
    return changed === "" ? head : `${head} with changes`;
  } catch {
    return "unknown";
  }
}

/** What a system says of its version, in its first line that has one. */
export async function versionOf(program: string | undefined): Promise<string> {
  if (program === undefined) return "of this checkout";
  for (const flag of ["--version", "version", "-version"]) {
    const said = await command(["sh", "-c", '"$@" 2>&1 || true', "sh", program, flag]).catch(() => "");
    const version = /\d+\.\d+(\.\d+)?/.exec(said)?.[0];
    if (version !== undefined) return version;
  }
  return "unknown";
}
