/** tar with all attributes: archives made on the plain file system and on the mount, unpacked on the other. */

import { mkdirSync } from "node:fs";
import t from "tap";
import { cannotRun } from "../support/programs.js";
import { Copies } from "./copies.js";
import { TREE_PROGRAMS } from "./rich-tree.js";

const KEPT = ["--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sparse"];

t.test("a tree of everything", { skip: cannotRun("tar", ...TREE_PROGRAMS) }, async (t) => {
  const copies = await Copies.make(t);
  const { app, original, kept, returned } = copies;
  const pack = (dir: string, archive: string): Promise<string> =>
    copies.run(["tar", ...KEPT, "-cf", archive, "-C", dir, "."]);
  const unpack = (archive: string, dir: string): Promise<string> => {
    mkdirSync(dir);
    return copies.run(["tar", ...KEPT, "-p", "--same-owner", "-xf", archive, "-C", dir]);
  };
  const [there, back] = [`${app.dir}/there.tar`, `${app.dir}/back.tar`];

  await pack(original, there);
  await unpack(there, kept);
  await copies.same(t, kept, "all of it is on the mount");
  copies.sparse(t, kept);

  await copies.remount(t);
  t.equal(await copies.run(["tar", ...KEPT, "--compare", "-f", there, "-C", kept]), "", "tar --compare");
  await pack(kept, back);
  await unpack(back, returned);
  await copies.same(t, returned, "all of it has come back");
  await app.endClean(t);
});
