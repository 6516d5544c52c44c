/** Nothing in the backing directory holds 16 consecutive bytes of the plaintext or of a name. */

import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { CommonRuns } from "../support/common-runs.js";
import { TestVolume } from "../support/test-volume.js";
import { writeTree } from "../support/tree.js";

/** Names, contents, link targets and extended attributes of a tree, as bytes. */
function* everythingIn(dir: string): Generator<{ what: string; bytes: Buffer }> {
  for (const name of readdirSync(dir)) {
    const path = join(dir, name);
    yield { what: `name ${path}`, bytes: Buffer.from(name) };
    const stat = lstatSync(path);
    if (stat.isDirectory()) yield* everythingIn(path);
    else if (stat.isSymbolicLink())
      yield { what: `target of ${path}`, bytes: Buffer.from(readlinkSync(path)) };
    else if (stat.isFile()) yield { what: path, bytes: readFileSync(path) };
  }
}

function allXattrs(dir: string): Buffer {
  return spawnSync("getfattr", ["-R", "-h", "-d", "-m", "-", "-e", "text", dir], { maxBuffer: 2 ** 28 })
    .stdout;
}

t.test("the search finds a common run of 16 bytes at any alignment, and none of 15", async (t) => {
  const secret = randomBytes(1000);
  const runs = new CommonRuns();
  runs.add(secret);
  for (let from = 100; from < 120; from++) {
    for (const pad of [0, 1, 5]) {
      const around = (run: Buffer): Buffer => Buffer.concat([Buffer.alloc(pad, 1), run, Buffer.alloc(9, 2)]);
      t.not(runs.find(around(secret.subarray(from, from + 16))), undefined);
      const other = Buffer.from(secret.subarray(from, from + 16));
      other[15] = (other[15] ?? 0) ^ 1;
      other[0] = (other[0] ?? 0) ^ 1;
      t.equal(runs.find(around(other)), undefined);
    }
  }
});

t.test(
  "neither content, names, link targets nor attributes are to be found in the backing directory",
  async (t) => {
    const volume = await TestVolume.make(t, ["--log-segment-size", "4"]);
    await volume.up(t);
    writeTree(volume.dir);
    writeFileSync(volume.at("has attributes"), "short");
    const value = "the value of an extended attribute";
    const set = spawnSync("setfattr", [
      "-n",
      "user.an attribute's own name",
      "-v",
      value,
      volume.at("has attributes"),
    ]);
    t.equal(set.status, 0, set.stderr.toString());

    const runs = new CommonRuns();
    let secrets = 0;
    for (const { bytes } of everythingIn(volume.dir)) {
      runs.add(bytes);
      secrets += bytes.length;
    }
    runs.add(Buffer.from(value));
    runs.add(Buffer.from("an attribute's own name"));
    t.ok(secrets > 5_000_000);

    let searched = 0;
    const search = (): void => {
      for (const { what, bytes } of everythingIn(volume.backing)) {
        searched += bytes.length;
        const at = runs.find(bytes);
        if (at !== undefined) t.fail(`${what} has 16 bytes in clear at ${at}`);
      }
      t.equal(runs.find(allXattrs(volume.backing)), undefined, "attributes");
    };
    search();
    await volume.down(t);
    search();
    t.ok(searched > secrets, `${searched} bytes searched`);
  },
);
