/** Keys must not reach a disk in a core dump; Node cannot set the limit of its own process, prlimit(1) can. */

import { spawnSync } from "node:child_process";
import { UserError } from "./errors.js";

let forbidden = false;

/** For this process and those that it starts, before a key is in its memory; getrlimit(2). Throws UserError. */
export function forbidCoreDumps(): void {
  if (forbidden) return;
  const args = ["--core=0:0", "--pid", String(process.pid)];
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
  if (spawnSync("prlimit", args, { stdio: "ignore", env }).status !== 0) {
    throw new UserError("Unexpected", "core dumps cannot be forbidden", "prlimit(1) of util-linux is needed");
  }
  forbidden = true;
}
