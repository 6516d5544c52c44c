/** rsync there and back: everything arrives, and a second run finds nothing to do. */

import { appendFileSync, linkSync, renameSync, rmSync } from "node:fs";
import t from "tap";
import { cannotRun } from "../support/programs.js";
import { Copies } from "./copies.js";
import { listTree, TREE_PROGRAMS } from "./rich-tree.js";

// Without the window, times are the same when their seconds are.
const RSYNC = ["rsync", "-aHAXS", "--numeric-ids", "--checksum", "--delete", "--modify-window=-1"];

t.test("a tree of everything", { skip: cannotRun("rsync", ...TREE_PROGRAMS) }, async (t) => {
  const copies = await Copies.make(t);
  const { original, kept, returned } = copies;
  const differences = (from: string, to: string): Promise<string> =>
    copies.run([...RSYNC, "--dry-run", "--itemize-changes", `${from}/`, `${to}/`]);

  await copies.run([...RSYNC, `${original}/`, `${kept}/`]);
  t.equal(await differences(original, kept), "", "a second run has nothing to do");
  await copies.same(t, kept, "all of it is on the mount");
  copies.sparse(t, kept);

  await copies.remount(t);
  await copies.same(t, kept, "all of it is there after a remount");
  await copies.run([...RSYNC, `${kept}/`, `${returned}/`]);
  t.equal(await differences(kept, returned), "");
  await copies.same(t, returned, "all of it has come back");

  await t.test("what changed follows, in place or as a new file", async (t) => {
    for (const [round, how] of ["--inplace", "--no-whole-file"].entries()) {
      appendFileSync(`${original}/links/1/big`, "more");
      appendFileSync(`${original}/sparse/hole`, "beyond the hole");
      renameSync(`${original}/times`, `${original}/times ${round}`);
      renameSync(`${original}/times ${round}`, `${original}/times`);
      renameSync(`${original}/attributes/able`, `${original}/names/able ${round}`);
      renameSync(`${original}/names/able ${round}`, `${original}/attributes/able`);
      linkSync(`${original}/links/1/a`, `${original}/links/a ${round}`);
      // Names that tar does not know as one.
      linkSync(`${original}/kinds/fifo`, `${original}/links/fifo ${round}`);
      rmSync(`${original}/links/2/b`, { force: true });
      const changes = [
        'setfacl -m u:7:rwx,g:"$1":x acls/file; setfacl -x u:1234 acls/dir; setfacl -b acls/everything',
        'setfattr -n user.text -v "$1" attributes/file; setfattr -n user.new -v "$1" attributes/dir',
        'chmod 0751 modes/0000; chown 99:"$1" modes/d0644; echo "$1" > names/-rf; ln -sfn "$1" attributes/link',
      ];
      await copies.run(["bash", "-euc", changes.join("\n"), "bash", `4${round}`], original);
      await copies.run([...RSYNC, how, `${original}/`, `${kept}/`]);
      t.equal(await differences(original, kept), "", how);
      await copies.same(t, kept, `${how}: as in the original`, await listTree(original));
    }
  });
  await copies.app.endClean(t);
});
