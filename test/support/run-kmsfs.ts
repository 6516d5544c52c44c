/** Runs the real command in a process of its own, away from this machine's own settings. */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ExitCode } from "../../src/cli/exit-codes.js";
import { packageRoot } from "../../src/package-root.js";

/** The command as it is installed. */
export const MAIN = join(packageRoot(), "dist/cli/main.js");

export interface Outcome {
  readonly status: number | null;
  /** The name of the status in src/cli/exit-codes.ts */
  readonly code: string;
  readonly stdout: string;
  readonly stderr: string;
}

/** A directory on the disk (tmpfs has limits that it has not), pins and home included; the caller removes it. */
export class Scratch {
  readonly path = mkdtempSync("/var/tmp/kmsfs-test-");

  file(name: string): string {
    return join(this.path, name);
  }

  /** Nothing of AWS's is inherited: no profile, no credentials, no endpoint. */
  environment(): Record<string, string> {
    return {
      PATH: process.env.PATH ?? "",
      HOME: this.path,
      KMSFS_ETC: this.file("etc"),
      KMSFS_LOG: this.file("log"),
      KMSFS_SYSLOG: "",
      AWS_EC2_METADATA_DISABLED: "true",
    };
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** The command as a process of its own, for tests that interrupt it. */
export function spawnKmsfs(
  args: readonly string[],
  env: Record<string, string>,
  nodeOptions: readonly string[] = [],
) {
  // Through env(1), because tap adds its own instruments to the environment of every process that a test starts.
  const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const command = ["-i", ...settings, process.execPath, ...nodeOptions, MAIN, ...args];
  return spawn("env", command, { stdio: "pipe" });
}

export function runKmsfs(
  args: readonly string[],
  env: Record<string, string>,
  input = "",
  nodeOptions: readonly string[] = [],
): Promise<Outcome> {
  return new Promise((done, failed) => {
    const child = spawnKmsfs(args, env, nodeOptions);
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    // A command that fails before it reads its input closes the pipe.
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    child.on("error", failed);
    child.on("close", (status) => {
      const code = Object.entries(ExitCode).find(([, number]) => number === status)?.[0] ?? "none";
      done({ status, code, stdout, stderr });
    });
  });
}

/** Whether a key stands in a text in any spelling: raw, hex, base64 (each alignment, url-safe too). */
export function showsKey(text: string, keys: readonly Buffer[]): boolean {
  return keys.some((key) => {
    const spellings = [key.toString("hex"), key.toString("latin1")];
    for (const cut of [0, 1, 2]) {
      // Three bytes make four characters: inner ones do not depend on what surrounds the key.
      const inner = key.subarray(cut, cut + 27).toString("base64");
      spellings.push(inner, inner.replaceAll("+", "-").replaceAll("/", "_"));
    }
    return spellings.some((spelling) => text.toLowerCase().includes(spelling.toLowerCase()));
  });
}
