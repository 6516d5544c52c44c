/**
 * What becomes of POSIX ACLs over remounts, exports and crashes. What nobody asked the mount for, an ACL set in the backing
 * directory, is tampering. How they work is in cases/acls.py.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { TestVolume } from "../support/test-volume.js";
import { endClean } from "./python-cases.js";

const root = process.getuid?.() === 0;

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args);
  if (status !== 0) throw new Error(`${program}: ${stderr.toString()}`);
  return stdout.toString();
}

/** What getfacl(1) says of all below `dir`, in an order that does not depend on where it is. */
function acls(dir: string): string[] {
  return run("sh", "-c", 'cd "$1" && getfacl -Rnp .', "sh", dir).split("\n\n").sort();
}

/** Files, directories, fifos and hard links with ACLs of both kinds. */
function grow(dir: string): void {
  run(
    "sh",
    "-ec",
    `cd "$1"; mkdir -p a/b; setfacl -m d:u:2000:rwx,d:g:3000:rx a; mkdir -p a/c/d
     echo x > a/c/f; mkfifo a/c/p; ln a/c/f a/b/g; setfacl -m u:2000:rw,m::r a/c/f; setfacl -k a/c/d
     echo y > plain; chmod 640 plain; chmod 2771 a/b; setfacl -m g:3000:--- a/b`,
    "sh",
    dir,
  );
}

t.test("ACLs hold over a remount and come out of an export", { skip: !root && "needs root" }, async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  grow(volume.dir);
  const given = acls(volume.dir);
  t.match(given.join(), /default:user:2000:rwx/);
  await volume.down(t);
  await volume.up(t);
  t.same(acls(volume.dir), given, "after a remount");
  await endClean(t, volume);
  const out = volume.scratch.file("out");
  mkdirSync(out);
  const exported = await volume.run("export", volume.backing, out, "--keyfile", volume.keyfile);
  t.equal(exported.code, "Ok", exported.stdout + exported.stderr);
  t.same(acls(out), given, "in the export");
});

t.test(
  "an engine that is killed while ACLs change leaves no tampering",
  { skip: !root && "needs root" },
  async (t) => {
    const volume = await TestVolume.make(t);
    for (let round = 0; round < 4; round++) {
      await volume.up(t);
      const { enginePid } = await volume.status();
      const worker = `cd "$1"; mkdir -p d; i=0; while echo $i > d/$((i % 7)); do i=$((i + 1))
      setfacl -m u:$i:rwx d/$((i % 7)); setfacl -m d:u:$i:rx d; chmod 64$((i % 8)) d/$((i % 7)); setfacl -b d/$((i % 3))
      done 2> /dev/null`;
      const killed = run(
        "sh",
        "-c",
        `sh -c '${worker.replaceAll("'", "'\\''")}' sh "$1" & sleep 0.$2; kill -9 $3; wait; echo done`,
        "sh",
        volume.dir,
        `${3 + round}`,
        `${enginePid ?? 0}`,
      );
      t.match(killed, /done/);
      await volume.umount("--lazy");
    }
    await volume.up(t);
    t.ok(readdirSync(volume.at("d")).length > 0, "something was done");
    run("getfacl", "-Rnp", volume.dir);
    run("sh", "-c", 'cat "$1"/d/*', "sh", volume.dir);
    await endClean(t, volume);
  },
);

t.test("an ACL set in the backing directory is EIO and told", { skip: !root && "needs root" }, async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  mkdirSync(volume.at("d"));
  await volume.down(t);
  const stored = readdirSync(volume.backing).find((name) => name !== ".kmsfs") ?? "";
  run("setfacl", "-m", "d:u:2000:rwx", join(volume.backing, stored));
  const verified = await volume.run("verify", volume.backing, "--keyfile", volume.keyfile);
  t.equal(verified.code, "Tampered", verified.stdout + verified.stderr);
  t.match(verified.stdout + verified.stderr, /the ACL is not the one of the inode's record/);
  await volume.up(t);
  t.throws(() => writeFileSync(volume.at("d", "f"), "x"), { code: "EIO" });
  t.throws(() => readdirSync(volume.at("d")), { code: "EIO" });
  await volume.down(t);
  t.match(volume.logText(), /tamper.*another ACL than its record/is);
});
