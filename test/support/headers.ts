/** volume.json in the hands of a test: read, changed and written back, with or without the key. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import canonicalize from "canonicalize";
import { parseHeader, type VolumeHeader } from "../../src/volume/header.js";

/** The header of a volume, and a way to put another in its place, canonical, with whatever MAC it has. */
export function editHeader(backing: string): { header: VolumeHeader; write: (changed: object) => void } {
  const path = headerPath(backing);
  const header = parseHeader(readFileSync(path));
  return { header, write: (changed) => writeFileSync(path, canonicalize(changed) ?? "") };
}

export function headerPath(backing: string): string {
  return join(backing, ".kmsfs/volume.json");
}
