/** An engine for machines that the package carries none for. */

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { UserError } from "../errors.js";
import { engineBinary } from "../mount/engine-binary.js";
import { packageRoot } from "../package-root.js";

/** Whether an engine for this machine is there. */
export function hasEngine(): boolean {
  try {
    engineBinary();
    return true;
  } catch {
    return false;
  }
}

/** Builds it from the package's sources, a matter of minutes. Throws UserError (EngineFailed). */
export function buildEngine(): void {
  for (const [tool, hint] of [
    ["cargo", "install Rust, see https://rustup.rs, and run kmsfs setup again"],
    ["cc", "install a C compiler and run kmsfs setup again"],
  ] as const) {
    if (spawnSync(tool, ["--version"], { stdio: "ignore" }).error === undefined) continue;
    const what = `no engine for this machine is in the package, and ${tool} to build one is missing`;
    throw new UserError("EngineFailed", what, hint);
  }
  const script = join(packageRoot(), "scripts/build-engine.sh");
  const { status } = spawnSync(script, { stdio: ["ignore", "inherit", "inherit"] });
  if (status === 0 && hasEngine()) return;
  throw new UserError("EngineFailed", "the engine could not be built", "what is above says why");
}
