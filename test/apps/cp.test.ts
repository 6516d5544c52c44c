/** cp -a there, on the mount, and back, with holes and without. */

import t from "tap";
import { cannotRun } from "../support/programs.js";
import { allocated } from "./app-volume.js";
import { Copies } from "./copies.js";
import { TREE_PROGRAMS } from "./rich-tree.js";

t.test("a tree of everything", { skip: cannotRun("cp", ...TREE_PROGRAMS) }, async (t) => {
  const copies = await Copies.make(t);
  const { app, original, kept, returned } = copies;
  const cp = (how: string, from: string, to: string): Promise<string> =>
    copies.run(["cp", "-a", `--sparse=${how}`, from, to]);

  await cp("always", original, kept);
  await copies.same(t, kept, "all of it is on the mount");
  copies.sparse(t, kept);
  // A megabyte of zeros that were written, which cp leaves out.
  t.ok(allocated(`${kept}/sparse/zeros`) < 100_000);

  await copies.remount(t);
  for (const how of ["always", "auto"]) {
    const dir = `${app.dir}/${how}`;
    await cp(how, kept, dir);
    await copies.same(t, dir, `all of it is in a copy on the mount, --sparse=${how}`);
    copies.sparse(t, dir);
  }
  const dense = `${app.dir}/dense`;
  await cp("never", `${kept}/sparse/islands`, dense);
  t.ok(allocated(dense) >= 16 * 2 ** 20, "--sparse=never writes the zeros");
  await copies.run(["cmp", dense, `${original}/sparse/islands`]);

  await cp("always", `${app.dir}/auto`, returned);
  await copies.same(t, returned, "all of it has come back");
  await app.endClean(t);
});
