/** The cases of awkward.test.ts on an ext4: none asks for more than that, or for something else. */

import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync } from "node:fs";
import t from "tap";
import { Scratch } from "../support/run-kmsfs.js";
import { AS_EXT4, runCases } from "./python-cases.js";

const root = process.getuid?.() === 0;

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
