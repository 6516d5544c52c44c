import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.js";
import { packageRoot } from "../package-root.js";

/**
 * The engine's executable: KMSFS_ENGINE, else the one that was built here from the package's sources, else the one that
 * the package carries for this kind of machine. Throws UserError (EngineFailed).
 */
export function engineBinary(): string {
  const named = process.env.KMSFS_ENGINE;
  const places = named ? [named] : ["native/target/release", `prebuilt/${machine()}`].map(inPackage);
  const found = places.find(isExecutable);
  if (found !== undefined) return found;
  throw named
    ? new UserError("EngineFailed", `the engine is not there: ${named}`, "correct KMSFS_ENGINE")
    : new UserError(
        "EngineFailed",
        `there is no engine for ${machine()} in ${packageRoot()}`,
        "kmsfs setup builds it, with Rust and a C compiler",
      );
}

/** "linux-x64": as Node names the platform. */
function machine(): string {
  return `${process.platform}-${process.arch}`;
}

function inPackage(dir: string): string {
  return join(packageRoot(), dir, "kmsfs-engine");
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
