/** `mount -o remount,ro` and `remount,rw`: what they promise of the disk, and what ext4 refuses. */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import t, { type Test } from "tap";
import { MountNamespace, type Ran } from "../support/mount-namespace.js";
import { TestVolume } from "../support/test-volume.js";

function ok(t: Test, { status, stderr, stdout }: Ran): void {
  t.equal(status, 0, `${stderr}${stdout}`);
}

/** Content and inodes of the backing directory, as they are on disk; the lock file apart. */
function fingerprint(backing: string): string {
  const script =
    'cd "$1" && find . -printf "%p %i %m %s %T@ %C@\\n" | sort && find . -type f -exec sha256sum {} + | sort';
  return createHash("sha256")
    .update(spawnSync("sh", ["-c", script, "sh", backing]).stdout)
    .digest("hex");
}

t.test("read-only: everything is home, nothing is written any more, and read-write again", async (t) => {
  const volume = await TestVolume.make(t);
  const ns = await MountNamespace.make(t, volume);
  const { backing, dir } = volume;
  ns.fstab(`${backing} ${dir} kmsfs noauto,keyfile=${volume.keyfile},noatime 0 0`);
  ok(t, await ns.run("mount", dir));
  ok(
    t,
    await ns.shell(
      'mkdir "$1/d" && head -c 3000000 /dev/urandom >"$1/d/f" && sha256sum "$1/d/f" >"$2"',
      dir,
      volume.scratch.file("sum"),
    ),
  );
  ok(t, await ns.run("mount", "-o", "remount,ro", dir));
  t.match((await ns.run("findmnt", "-n", "-o", "OPTIONS", dir)).stdout, /^ro,nosuid,nodev,noatime/);
  const before = fingerprint(backing);
  t.match((await ns.shell('touch "$1/no"; rm -f "$1/d/f"', dir)).stderr, /Read-only file system.*Read-only/s);
  ok(
    t,
    await ns.shell(
      'sha256sum -c --quiet "$1" && ls -lR "$2" >/dev/null && sync -f "$2"',
      volume.scratch.file("sum"),
      dir,
    ),
  );
  // Longer than the timer that commits what is dirty.
  await new Promise((done) => setTimeout(done, 6000));
  t.equal(fingerprint(backing), before, "not a byte of the volume has changed");
  t.ok((await volume.status()).options.includes("ro"), "status tells");

  const told = await volume.run("audit", "show", backing, "--last", "1");
  t.match(told.stdout, / remount ok: .*access="ro"/);

  // What is on disk now is the whole volume: a copy of it, as a snapshot would be, verifies and holds the file.
  const copy = volume.scratch.file("copy");
  t.equal(spawnSync("cp", ["-a", "--preserve=all", backing, copy]).status, 0);
  const out = volume.scratch.file("out");
  const exported = await volume.run("export", copy, out, "--keyfile", volume.keyfile);
  t.equal(exported.code, "Ok", exported.stderr);
  t.equal(
    spawnSync("cmp", [`${out}/d/f`, volume.at("d/f")]).status === 0 ||
      (await ns.run("cmp", `${out}/d/f`, `${dir}/d/f`)).status === 0,
    true,
  );

  ok(t, await ns.run("mount", "-o", "remount,rw", dir));
  ok(t, await ns.shell('echo more >"$1/after" && cat "$1/after"', dir));
  ok(t, await ns.run("umount", dir));
  ok(t, await ns.run("mount", dir));
  t.equal((await ns.run("cat", `${dir}/after`)).stdout, "more\n");
  ok(t, await ns.run("umount", dir));
  t.equal((await volume.run("verify", backing, "--keyfile", volume.keyfile)).code, "Ok");
});

t.test("what is open for writing, or removed and open, keeps a mount read-write", async (t) => {
  const volume = await TestVolume.make(t);
  const ns = await MountNamespace.make(t, volume);
  const { backing, dir } = volume;
  ok(t, await ns.run("mount", "-t", "kmsfs", backing, dir, "-o", `keyfile=${volume.keyfile}`));
  for (const prepare of ['exec 3>>"$1/f"', 'echo x >"$1/f"; exec 3<"$1/f"; rm "$1/f"']) {
    const script = `${prepare}; mount -o remount,ro "$1"; status=$?; echo still >"$1/other" || exit 99; exit $status`;
    const ran = await ns.shell(script, dir);
    t.equal(ran.status, 32, ran.stderr);
    t.match(ran.stderr, /Busy, exit code 21/);
  }
  const told = await volume.run("audit", "show", backing, "--last", "1");
  t.match(told.stdout, / remount failed: Busy, .*message=".* is written to by /);
  // Without fstab, mount(8) goes by the type in /proc/self/mountinfo.
  ok(t, await ns.run("mount", "-o", "remount,ro", dir));
  t.equal((await ns.shell('echo x >"$1/f"', dir)).status, 2);
  ok(t, await ns.run("umount", dir));
  t.equal((await volume.run("verify", backing, "--keyfile", volume.keyfile)).code, "Ok");
});

t.test("a mount that was read-only from the beginning stays so, and says why", async (t) => {
  const volume = await TestVolume.make(t);
  const ns = await MountNamespace.make(t, volume);
  const { backing, dir } = volume;
  const options = `keyfile=${volume.keyfile}`;
  ok(
    t,
    await ns.shell(
      'mount -t kmsfs "$1" "$2" -o "$3" && echo x >"$2/f" && umount "$2"',
      backing,
      dir,
      options,
    ),
  );
  ok(t, await ns.run("mount", "-r", "-t", "kmsfs", backing, dir, "-o", options));
  const refused = await ns.run("mount", "-o", "remount,rw", dir);
  t.equal(refused.status, 2);
  t.match(refused.stderr, /mounted read-only.*unmount it and mount it as wanted/);
  t.match((await ns.run("findmnt", "-n", "-o", "OPTIONS", dir)).stdout, /^ro,/);
  t.equal((await ns.run("cat", `${dir}/f`)).stdout, "x\n");
  ok(t, await ns.run("mount", "-o", "remount,ro", dir));
  ok(t, await ns.run("umount", "-r", dir));
});
