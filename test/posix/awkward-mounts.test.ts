/** Directories, and what mounts and devices make of them, through a real mount. */

import { chmodSync } from "node:fs";
import t from "tap";
import { TestVolume } from "../support/test-volume.js";
import { endClean, runCases } from "./python-cases.js";

const root = process.getuid?.() === 0;

t.test("directories, mounts and devices", { skip: !root && "needs root" }, async (t) => {
  const volume = await TestVolume.make(t);
  chmodSync(volume.scratch.path, 0o755);
  await volume.up(t, "-o", "allow_other,suid,dev");
  chmodSync(volume.dir, 0o755);
  for (const script of ["directories.py", "mounts.py", "granted.py"]) await runCases(t, volume.dir, script);
  await endClean(t, volume);
});
