import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The directory that holds kmsfs's package.json. Found by walking up, because compiled code stands in dist/ when
 * installed and in dist-test/src/ under test.
 */
export function packageRoot(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, "package.json"))) {
    const parent = dirname(dir);
    if (parent === dir) throw new Error("package.json of kmsfs not found above its own code");
    dir = parent;
  }
  return dir;
}
