/** What applications do to files that is seldom thought of, through a real mount. The bar is what ext4 does. */

import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, statfsSync } from "node:fs";
import t from "tap";
import { Scratch } from "../support/run-kmsfs.js";
import { TestVolume } from "../support/test-volume.js";
import { endClean, runCases, runScript } from "./python-cases.js";

const root = process.getuid?.() === 0;

/** What holds on ext4 as well: run there too, so that no case asks for more or for something else. */
const AS_EXT4 = [
  "opened.py",
  "shared.py",
  "locks.py",
  "mapped.py",
  "shapes.py",
  "special.py",
  "times.py",
  "users.py",
  "limits.py",
  "acls.py",
];

for (const [caching, options] of [
  ["with writes cached by the kernel", ["allow_other"]],
  ["with -o nowriteback", ["allow_other", "nowriteback"]],
] as const) {
  t.test(`files ${caching}`, { skip: !root && "needs root" }, async (t) => {
    const volume = await TestVolume.make(t);
    chmodSync(volume.scratch.path, 0o755);
    await volume.up(t, "-o", options.join(","));
    chmodSync(volume.dir, 0o755);
    for (const script of [...AS_EXT4, "differs.py"]) await runCases(t, volume.dir, script);
    await endClean(t, volume);
  });
}

t.test("directories, mounts and devices", { skip: !root && "needs root" }, async (t) => {
  const volume = await TestVolume.make(t);
  chmodSync(volume.scratch.path, 0o755);
  await volume.up(t, "-o", "allow_other,suid,dev");
  chmodSync(volume.dir, 0o755);
  for (const script of ["directories.py", "mounts.py", "granted.py"]) await runCases(t, volume.dir, script);
  await endClean(t, volume);
});

t.test("the same on ext4", { skip: !root && "needs root" }, async (t) => {
  const scratch = new Scratch();
  const dir = scratch.file("ext4");
  t.teardown(() => {
    spawnSync("umount", ["-l", "-d", dir]);
    scratch.remove();
  });
  chmodSync(scratch.path, 0o755);
  mkdirSync(dir);
  const image = scratch.file("image");
  for (const command of [
    ["truncate", "-s", "2G", image],
    ["mkfs.ext4", "-q", image],
    ["mount", "-o", "loop", image, dir],
  ]) {
    const [program = "", ...args] = command;
    const { status, stderr } = spawnSync(program, args);
    t.equal(status, 0, `${program}: ${stderr}`);
  }
  for (const script of [...AS_EXT4, "directories.py", "mounts.py", "granted.py"])
    await runCases(t, dir, script);
});

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
