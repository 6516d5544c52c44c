import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.js";
import { packageRoot } from "../package-root.js";

/**
 * The engine's executable: KMSFS_ENGINE, else the one that the package carries, else the checkout's own build.
 * Throws UserError (EngineFailed).
 */
export function engineBinary(): string {
  const named = process.env.KMSFS_ENGINE;
  const places = named ? [named] : ["dist/native", "native/target/release"].map(inPackage);
  const found = places.find(isExecutable);
  if (found !== undefined) return found;
  throw new UserError(
    "EngineFailed",
    `the engine is not there: ${places.join(", ")}`,
    named ? "correct KMSFS_ENGINE" : "run npm run build:native in the checkout",
  );
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
