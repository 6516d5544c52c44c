/** What applications do to files that is seldom thought of, through a real mount. The bar is what ext4 does. */

import { chmodSync } from "node:fs";
import t from "tap";
import { TestVolume } from "../support/test-volume.js";
import { endClean, runCases, runScript } from "./python-cases.js";

const root = process.getuid?.() === 0;

for (const [caching, options] of [
  ["with writes cached by the kernel", ["allow_other"]],
  ["with -o nowriteback", ["allow_other", "nowriteback"]],
] as const) {
  t.test(`files ${caching}`, { skip: !root && "needs root", timeout: 120_000 }, async (t) => {
    const volume = await TestVolume.make(t);
    chmodSync(volume.scratch.path, 0o755);
    await volume.up(t, "-o", options.join(","));
    chmodSync(volume.dir, 0o755);
    for (const script of ["opened.py", "shared.py", "shapes.py"]) await runCases(t, volume, script);
    await endClean(t, volume);
  });
}

t.test("directories", { skip: !root && "needs root", timeout: 170_000 }, async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  await runCases(t, volume, "directories.py");
  await endClean(t, volume);
});

t.test("file handles hold over a remount", { skip: !root && "needs root" }, async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const given = await runScript("handles.py", [volume.dir, "give"]);
  t.equal(given.status, 0, given.stderr);
  await volume.down(t);
  await volume.up(t);
  const taken = await runScript("handles.py", [volume.dir, "take"], given.stdout);
  t.equal(taken.status, 0, taken.stderr);
  await volume.down(t);
  const verified = await volume.run("verify", volume.backing, "--keyfile", volume.keyfile);
  t.equal(verified.code, "Ok", verified.stdout + verified.stderr);
});
