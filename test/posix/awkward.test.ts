/** What applications do to files that is seldom thought of, through a real mount. The bar is what ext4 does. */

import { chmodSync, statfsSync } from "node:fs";
import t from "tap";
import { TestVolume } from "../support/test-volume.js";
import { endClean, runCases, runFileCases, runScript } from "./python-cases.js";

const root = process.getuid?.() === 0;

t.test("files with writes cached by the kernel", { skip: !root && "needs root", timeout: 280_000 }, (t) =>
  runFileCases(t, "allow_other"),
);

t.test("a mount of root's alone", { skip: !root && "needs root" }, async (t) => {
  const volume = await TestVolume.make(t);
  chmodSync(volume.scratch.path, 0o755);
  await volume.up(t);
  chmodSync(volume.dir, 0o777);
  await runCases(t, volume.dir, "alone.py");
  const [seen, below] = [volume.dir, volume.backing].map((dir) => statfsSync(dir));
  t.equal(seen?.blocks, below?.blocks, "df shows the backing file system");
  t.equal(seen?.files, below?.files);
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
