/** /etc/fstab as mount -a and mount DIR read it: the real mount(8), in a mount namespace with an fstab of its own. */

import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import { MountNamespace, type Ran } from "../support/mount-namespace.js";
import { TestVolume } from "../support/test-volume.js";

function ok(t: Test, { status, stderr, stdout }: Ran): void {
  t.equal(status, 0, `${stderr}${stdout}`);
}

/** As fstab(5) writes it. */
function escaped(text: string): string {
  return text.replaceAll(" ", "\\040").replaceAll(",", "\\054");
}

t.test("mount -a mounts once, also where names have spaces and commas", async (t) => {
  const volume = await TestVolume.make(t, [], (volume) => volume.scratch.file("back, ing"));
  const ns = await MountNamespace.make(t, volume);
  const dir = volume.scratch.file("mount, point");
  const keyfile = volume.scratch.file("key, file");
  mkdirSync(dir);
  ok(t, await ns.run("cp", "-p", volume.keyfile, keyfile));
  const options =
    "defaults,_netdev,nofail,allow_other,noatime,comment=ours,x-systemd.automount,x-systemd.mount-timeout=300," +
    `x-systemd.requires=network-online.target,cache=8M,keyfile="${escaped(keyfile)}"`;
  ns.fstab(`${escaped(volume.backing)} ${escaped(dir)} kmsfs ${options} 0 0`);
  ok(t, await ns.run("mount", "-a"));
  const found = await ns.run("findmnt", "-n", "-r", "-o", "SOURCE,TARGET,FSTYPE,OPTIONS", dir);
  t.match(found.stdout, "fuse.kmsfs rw,nosuid,nodev,noatime");
  t.match(found.stdout, escaped(dir).replaceAll("\\040", "\\x20").replaceAll("\\054", ","));
  ok(t, await ns.shell('echo content >"$1/a b" && test "$(cat "$1/a b")" = content', dir));
  ok(t, await ns.run("mount", "-a"));
  t.equal(
    (await ns.shell('grep -c fuse.kmsfs.*"$1" /proc/self/mountinfo', volume.scratch.path)).stdout,
    "1\n",
  );
  t.notMatch((await ns.run("findmnt", "--verify", "--tab-file", "/etc/fstab")).stdout, /\[E\]/);
  ok(t, await ns.run("umount", dir));
  ok(t, await ns.run("mount", dir));
  // _netdev is on record: what is unmounted before the network goes.
  ok(t, await ns.run("umount", "-a", "-O", "_netdev"));
  t.equal((await ns.run("findmnt", dir)).status, 1);
});

t.test("noauto is left alone by mount -a, ro and a fallback file of -T are heeded", async (t) => {
  const volume = await TestVolume.make(t);
  const ns = await MountNamespace.make(t, volume);
  const { backing, dir } = volume;
  ns.fstab(`${backing} ${dir} kmsfs noauto,keyfile=${volume.keyfile} 0 0`);
  ok(t, await ns.run("mount", "-a"));
  t.equal((await ns.run("findmnt", dir)).status, 1);
  ok(t, await ns.run("mount", dir));
  ok(t, await ns.run("umount", dir));
  const other = volume.scratch.file("other-fstab");
  writeFileSync(other, `${backing} ${dir} kmsfs ro,keyfile=${volume.keyfile} 0 0\n`);
  ok(t, await ns.run("mount", "-T", other, "-a"));
  t.equal((await ns.shell('echo x >"$1/f"', dir)).status, 2, "read-only");
  ok(t, await ns.run("umount", dir));
});

t.test("mount -a goes on when a volume does not mount, and says which; bits as in its manual", async (t) => {
  const volume = await TestVolume.make(t);
  const ns = await MountNamespace.make(t, volume);
  const { backing, dir } = volume;
  const absent = volume.scratch.file("absent");
  const second = volume.scratch.file("mnt2");
  mkdirSync(second);
  ns.fstab(
    `${absent} ${second} kmsfs nofail,keyfile=${volume.keyfile} 0 0`,
    `${backing} ${dir} kmsfs keyfile=${volume.keyfile} 0 0`,
  );
  const ran = await ns.run("mount", "-a");
  t.equal(ran.status, 64, "some succeeded");
  t.match(ran.stderr, `mount.kmsfs: ${absent}: there is no such directory`);
  ok(t, await ns.run("umount", dir));
});

t.test("user implies noexec, nosuid, nodev; a mount by another user is refused with a line", async (t) => {
  const volume = await TestVolume.make(t);
  const ns = await MountNamespace.make(t, volume);
  const { backing, dir } = volume;
  ns.fstab(`${backing} ${dir} kmsfs noauto,user,keyfile=${volume.keyfile} 0 0`);
  ok(t, await ns.run("mount", dir));
  t.match((await ns.run("findmnt", "-n", "-o", "OPTIONS", dir)).stdout, /rw,nosuid,nodev,noexec/);
  ok(t, await ns.run("umount", dir));
  chmodSync(volume.scratch.path, 0o755);
  const nobody = await ns.run(
    "setpriv",
    "--reuid",
    "65534",
    "--regid",
    "65534",
    "--clear-groups",
    "mount",
    dir,
  );
  t.not(nobody.status, 0);
  t.equal((await ns.run("findmnt", dir)).status, 1);
  // Where the checkout is root's alone, Node cannot even be started on it.
  t.match(nobody.stderr, /mount\.kmsfs: .*(needs root; .*Privilege|is missing)/);
});

t.test("x-systemd.automount: a mount point that waits for its mount is not looked into", async (t) => {
  const volume = await TestVolume.make(t);
  const ns = await MountNamespace.make(t, volume);
  const { backing, dir } = volume;
  ns.fstab(`${backing} ${dir} kmsfs noauto,x-systemd.automount,keyfile=${volume.keyfile} 0 0`);
  // What systemd does for it: a direct autofs mount, whose master is the process group of the mount command. Somebody
  // looks into the directory, the kernel asks the master through the pipe, and holds all others that come that way: nobody
  // tells it that the mount is ready, so that this one waits until it is killed, and keeps every mount of its namespace.
  const script = `mkfifo "$2" && exec 7<>"$2" || exit 9
    group=$(ps -o pgid= $$ | tr -d " ")
    mount -i -t autofs -o "fd=7,pgrp=$group,minproto=5,maxproto=5,direct" systemd-1 "$1" || exit 9
    setsid ls "$1" >/dev/null 2>&1 7>&- & walker=$!
    dd bs=1 count=1 status=none <&7 >/dev/null
    timeout --foreground 60 mount "$1" && echo content >"$1/file" && cat "$1/file" && umount "$1"; status=$?
    kill -9 "$walker"; wait "$walker"; umount -i "$1"; exit $status`;
  const ran = await ns.shell(script, dir, volume.scratch.file("fifo"));
  t.equal(ran.status, 0, ran.stderr);
  t.equal(ran.stdout, "content\n");
});
