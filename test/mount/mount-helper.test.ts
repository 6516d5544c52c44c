/** `mount -t kmsfs` and umount(8), the real ones, through the helpers in sbin/. */

import { mkdirSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import { MountNamespace, type Ran } from "../support/mount-namespace.js";
import { TestVolume } from "../support/test-volume.js";

async function mountable(t: Test): Promise<{ volume: TestVolume; ns: MountNamespace; options: string }> {
  const volume = await TestVolume.make(t);
  const ns = await MountNamespace.make(t, volume);
  return { volume, ns, options: `keyfile=${volume.keyfile}` };
}

function ok(t: Test, { status, stderr, stdout }: Ran): void {
  t.equal(status, 0, `${stderr}${stdout}`);
}

t.test("mount -t kmsfs mounts, findmnt and df show it, umount(8) leaves the volume free", async (t) => {
  const { volume, ns, options } = await mountable(t);
  const { backing, dir } = volume;
  ok(t, await ns.run("mount", "-t", "kmsfs", backing, dir, "-o", `${options},allow_other,noexec`));
  const found = await ns.run("findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", dir);
  t.match(found.stdout, new RegExp(`^${backing} fuse\\.kmsfs rw,nosuid,nodev,noexec,.*allow_other`));
  t.match((await ns.run("mount")).stdout, `${backing} on ${dir} type fuse.kmsfs (rw,`);
  t.match((await ns.run("df", "--output=source,target", dir)).stdout, `${backing} ${dir}`);
  ok(t, await ns.shell('echo content >"$1/file"', dir));
  ok(t, await ns.run("umount", dir));
  // Exclusive, and without waiting: the helper returned when the volume was free.
  ok(t, await ns.run("flock", "-n", "-x", `${backing}/.kmsfs/lock`, "true"));
  t.equal((await volume.run("verify", backing, "--keyfile", volume.keyfile)).code, "Ok");
});

t.test("umount && mount, umount && remove the volume, again and again", async (t) => {
  const { volume, ns, options } = await mountable(t);
  const { backing, dir } = volume;
  const script = `set -e
    mount -t kmsfs "$1" "$2" -o "$3"
    for i in 1 2 3; do
      dd if=/dev/urandom of="$2/file$i" bs=1M count=8 status=none
      umount "$2" && mount -t kmsfs "$1" "$2" -o "$3"
      test "$(stat -c %s "$2/file$i")" = 8388608
    done
    umount "$2" && rm -r "$1" && ! grep -q " $2 " /proc/self/mounts`;
  ok(t, await ns.shell(script, backing, dir, options));
  for (const round of [1, 2]) {
    const keyfile = volume.scratch.file(`key${round}`);
    t.equal((await volume.run("init", backing, "--keyfile", keyfile)).code, "Ok");
    const once = `set -e
      mount -t kmsfs "$1" "$2" -o "$3"; head -c 1000000 /dev/urandom >"$2/f"; umount "$2" && rm -r "$1"`;
    ok(t, await ns.shell(once, backing, dir, `keyfile=${keyfile}`));
  }
});

t.test("exit statuses are those of mount(8), and the line names ours", async (t) => {
  const { volume, ns, options } = await mountable(t);
  const { backing, dir, scratch } = volume;
  const mount = (...args: string[]) => ns.run("mount", "-t", "kmsfs", ...args);
  const wrong = scratch.file("wrong");
  writeFileSync(wrong, Buffer.alloc(32, 1), { mode: 0o600 });
  const cases: [Promise<Ran>, number, RegExp][] = [
    [mount(backing, dir, "-o", `${options},bogus`), 1, /bad mount option "bogus".*\(Usage, exit code 2 of/],
    [mount(backing, dir, "-o", "keyfile"), 1, /bad mount option "keyfile"; write keyfile=VALUE/],
    [mount(backing, dir, "-o", "keyfile=/a,passphrase-file=/b"), 1, /exclude one another/],
    [mount(backing, dir, "-o", "kms-key=alias/x"), 1, /not the ARN/],
    [mount(backing, dir, "-o", `${options},kms-timeout=soon`), 1, /kms-timeout .*number of seconds/],
    [mount(backing, dir, "-o", `keyfile=${wrong}`), 32, /\(WrongKey, exit code 5 of kmsfs\)/],
    [mount(scratch.file("none"), dir, "-o", options), 32, /\(NotAVolume, /],
    [ns.run("mount.kmsfs", backing), 1, /wants SOURCE DIR/],
    [ns.run("mount.kmsfs", backing, dir, "-x"), 1, /Usage/],
    [ns.run("umount.fuse.kmsfs", dir), 32, /\(NotMounted, /],
  ];
  for (const [running, status, line] of cases) {
    const ran = await running;
    t.equal(ran.status, status, ran.stderr);
    t.match(ran.stderr, line);
    t.equal(ran.stderr.split("\n").length, 2, "one line");
  }
  const engineless = `KMSFS_ENGINE=/nonexistent mount -t kmsfs "$1" "$2" -o "$3"`;
  t.equal((await ns.shell(engineless, backing, dir, options)).status, 2, "a fault of the system");
});

t.test("-f does everything but mount, -s leaves unknown options out, -v tells", async (t) => {
  const { volume, ns, options } = await mountable(t);
  const { backing, dir } = volume;
  const mount = (...args: string[]) => ns.run("mount", "-t", "kmsfs", backing, dir, ...args);
  const faked = await mount("-f", "-v", "-o", options);
  ok(t, faked);
  t.match(faked.stdout, /could be mounted/);
  t.equal((await ns.run("findmnt", dir)).status, 1, "not mounted");
  t.equal((await mount("-f", "-o", `${options},bogus`)).status, 1, "checked all the same");
  const sloppy = await mount("-s", "-v", "-o", `bogus=1,${options},noatime`);
  ok(t, sloppy);
  t.match(sloppy.stdout, `${backing} mounted on ${dir}`);
  t.match((await ns.run("findmnt", "-n", "-o", "OPTIONS", dir)).stdout, "noatime");
  t.match((await ns.run("umount", "-v", dir)).stdout, `${dir} unmounted`);
});

t.test("helpers work without PATH, standard input and a working directory that exists", async (t) => {
  const { volume, ns, options } = await mountable(t);
  const script = `mkdir "$4" && cd "$4" && rmdir "$4" || exit 99
    exec 0<&-
    env -u PATH /sbin/mount.kmsfs "$1" "$2" -o "$3" && env -u PATH /sbin/umount.fuse.kmsfs "$2"`;
  ok(t, await ns.shell(script, volume.backing, volume.dir, options, volume.scratch.file("gone")));
  const relative = 'cd "$1/.." && /sbin/mount.kmsfs backing mnt -o "$2" && /sbin/umount.fuse.kmsfs mnt -n';
  ok(t, await ns.shell(relative, volume.backing, options));
});

t.test("a mount that is in use is not unmounted, and detached when asked", async (t) => {
  const { volume, ns, options } = await mountable(t);
  const { backing, dir } = volume;
  ok(t, await ns.run("mount", "-t", "kmsfs", backing, dir, "-o", options));
  const script = `exec 3>"$1/open"; umount "$1" && exit 99
    umount -l "$1" || exit 98
    echo late >&3; exec 3>&-`;
  const ran = await ns.shell(script, dir);
  t.equal(ran.status, 0, ran.stderr);
  t.match(ran.stderr, /in use by .*Busy/);
  // mount(8) waits for what is still being written.
  ok(t, await ns.run("mount", "-t", "kmsfs", backing, dir, "-o", options));
  t.equal((await ns.run("cat", `${dir}/open`)).stdout, "late\n");
  ok(t, await ns.run("umount", "-f", dir));
});

t.test("umount(8) says what a copy of the mount in another namespace makes it wait for", async (t) => {
  const { volume, ns, options } = await mountable(t);
  ok(t, await ns.run("mount", "-t", "kmsfs", volume.backing, volume.dir, "-o", options));
  // The holder ends when umount has said something.
  const script = `unshare -m --propagation private sh -c '
      touch "$1"; n=0; while [ ! -s "$2" ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done' holder "$2" "$3" &
    while [ ! -e "$2" ]; do sleep 0.1; done
    umount "$1" 2>"$3"; status=$?; cat "$3" >&2; exit $status`;
  const [ready, said] = [volume.scratch.file("ready"), volume.scratch.file("said")];
  const ran = await ns.shell(script, volume.dir, ready, said);
  t.equal(ran.status, 0, ran.stderr);
  // A test at the same time may hold a copy too: then it has a line of its own, and each place has one alone.
  const lines = ran.stderr.trimEnd().split("\n");
  const form =
    /^umount\.kmsfs: \S+ is unmounted here and waits: \S.* on \S+ in the mount namespace of (\S+) \(\d+\)$/;
  for (const line of lines) t.match(line, form);
  t.equal(lines.filter((line) => form.exec(line)?.[1] === "sh").length, 1, ran.stderr);
  t.equal(new Set(lines).size, lines.length, "no line twice");
});

t.test("another namespace's mount is made there: mount -N", async (t) => {
  const { volume, ns, options } = await mountable(t);
  const other = volume.scratch.file("other");
  mkdirSync(other);
  // Bound to a file, as ip-netns(8) does with network namespaces. The kernel refuses at times (EINVAL, as for a namespace
  // older than one's own); tried on each processor in turn it went well, perhaps as it numbers them by processor.
  const script = `touch "$4/ns" && mount -n --bind "$4" "$4" && mount -n --make-private "$4" || exit 1
    for cpu in $(seq 0 $(($(nproc) - 1))); do
      taskset -c "$cpu" unshare --mount="$4/ns" --propagation private true 2>/dev/null && break
    done
    mount -t kmsfs -N "$4/ns" "$1" "$2" -o "$3" || exit 1
    grep -q " $2 " /proc/self/mounts && exit 2
    umount -N "$4/ns" "$2" && umount "$4/ns" && umount "$4"`;
  const ran = await ns.shell(script, volume.backing, volume.dir, options, other);
  t.equal(ran.status, 0, ran.stderr);
});
