/** Bad input: one clear line, its own exit status, nothing changed. */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import t, { type Test } from "tap";
import { editHeader } from "../support/headers.js";
import type { Outcome } from "../support/run-kmsfs.js";
import { MAIN } from "../support/run-kmsfs.js";
import { TestVolume } from "../support/test-volume.js";

/** Everything below a directory but the logs: names, types, modes, times of change, content. */
function fingerprint(dir: string): string {
  const { stdout } = spawnSync("sh", [
    "-c",
    'cd "$1" && find . -path ./log -prune -o ! -path . -printf "%p %y %m %s %T@ %C@\\n" | sort; find . -path ./log -prune -o -type f -exec sha256sum {} + | sort',
    "sh",
    dir,
  ]);
  return createHash("sha256").update(stdout).digest("hex");
}

async function refused(
  t: Test,
  volume: TestVolume,
  code: string,
  what: RegExp,
  attempt: () => Promise<Outcome>,
): Promise<void> {
  const before = fingerprint(volume.scratch.path);
  const outcome = await attempt();
  t.equal(outcome.code, code, outcome.stderr);
  t.match(outcome.stderr, /^kmsfs: [^\n]+\n$/, "one line");
  t.match(outcome.stderr, what);
  t.equal(outcome.stdout, "");
  t.equal(fingerprint(volume.scratch.path), before, "nothing changed");
}

t.test("without a volume", async (t) => {
  const volume = TestVolume.bare(t);
  mkdirSync(volume.backing);
  await refused(t, volume, "NotAVolume", /not a kmsfs volume/, () => volume.mount());
  await refused(t, volume, "NotAVolume", /no such directory/, () =>
    volume.run("mount", volume.scratch.file("absent"), volume.dir),
  );
  await refused(t, volume, "NotMounted", /no kmsfs mount/, () => volume.umount());
  await refused(t, volume, "NotMounted", /no such directory/, () =>
    volume.run("umount", volume.scratch.file("absent")),
  );
  await refused(t, volume, "Usage", /foo/, () => volume.run("foo"));
  await refused(t, volume, "Usage", /no command mont; the commands are init, mount/, () =>
    volume.run("mont", volume.backing, volume.dir),
  );
  await refused(t, volume, "Usage", /see kmsfs umount --help/, () => volume.run("umount"));
  await refused(t, volume, "Usage", /no command/, () => volume.run());
  await refused(t, volume, "Usage", /got 1/, () => volume.run("mount", volume.backing));
  await refused(t, volume, "Usage", /bogus/, () => volume.run("status", "--bogus"));
});

t.test("options and mount points", async (t) => {
  const volume = await TestVolume.make(t);
  const mountOn = (dir: string) => () => volume.run("mount", volume.backing, dir);
  const file = volume.scratch.file("a-file");
  writeFileSync(file, "");
  const full = volume.scratch.file("full");
  mkdirSync(`${full}/something`, { recursive: true });
  const inside = `${volume.backing}/.kmsfs/log`;
  await refused(t, volume, "Usage", /bad mount option "bogus"/, () => volume.mount("-o", "ro,bogus"));
  await refused(t, volume, "Usage", /cache=lots/, () => volume.mount("-o", "cache=lots"));
  await refused(t, volume, "MountPoint", /no such directory/, mountOn(volume.scratch.file("absent")));
  await refused(t, volume, "MountPoint", /not a directory/, mountOn(file));
  await refused(t, volume, "MountPoint", /not empty/, mountOn(full));
  await refused(t, volume, "MountPoint", /backing directory of a volume.*BACKING DIR/, () =>
    volume.run("mount", volume.dir, volume.backing),
  );
  await refused(t, volume, "MountPoint", /already/, mountOn("/proc"));
  await refused(t, volume, "MountPoint", /inside the volume/, mountOn(inside));
  await refused(t, volume, "MountPoint", /inside the volume/, mountOn(volume.backing));
});

t.test("keys and headers", async (t) => {
  const volume = await TestVolume.make(t);
  const wrong = volume.scratch.file("wrong-key");
  writeFileSync(wrong, Buffer.alloc(32, 7));
  chmodSync(wrong, 0o600);
  await refused(t, volume, "WrongKey", /wrong-key/, () => volume.mount("--keyfile", wrong));
  const kept = volume.scratch.file("kept-key");
  renameSync(volume.keyfile, kept);
  await refused(t, volume, "KeyFile", /does not exist/, () => volume.mount());
  renameSync(kept, volume.keyfile);
  const { header, write } = editHeader(volume.backing);
  write({ ...header, format: 2 });
  await refused(t, volume, "NewerFormat", /format 2/, () => volume.mount());
  write({ ...header, features: ["a-later-one"] });
  await refused(t, volume, "NewerFormat", /a-later-one/, () => volume.mount());
  write({ ...header, created: "2020-01-01T00:00:00.000Z" });
  await refused(t, volume, "Damaged", /volume\.json/, () => volume.mount());
});

t.test("the volume lies inside the mount point, or kmsfs's own files would", async (t) => {
  const volume = await TestVolume.make(t);
  const outer = volume.scratch.file("outer");
  mkdirSync(`${outer}/run`, { recursive: true });
  const { runKmsfs } = await import("../support/run-kmsfs.js");
  await refused(t, volume, "MountPoint", /not empty|inside/, () =>
    volume.run("mount", volume.backing, volume.scratch.path),
  );
  const link = volume.scratch.file("link");
  symlinkSync(volume.dir, link);
  const places = [`${volume.dir}/own`, `${volume.backing}/own`, `${link}/own`];
  for (const name of ["KMSFS_LOG", "KMSFS_RUN", "KMSFS_ETC"]) {
    for (const place of places) {
      const env = { ...volume.env, [name]: place };
      await refused(t, volume, "MountPoint", /own files/, () =>
        runKmsfs(["mount", volume.backing, volume.dir], env),
      );
    }
  }
});

t.test("the engine is missing", async (t) => {
  const volume = await TestVolume.make(t);
  const { runKmsfs } = await import("../support/run-kmsfs.js");
  const env = { ...volume.env, KMSFS_ENGINE: "/nonexistent/kmsfs-engine" };
  await refused(t, volume, "EngineFailed", /nonexistent.*KMSFS_ENGINE/, () =>
    runKmsfs(["mount", volume.backing, volume.dir], env),
  );
});

t.test("a backing file system without extended attributes is refused at init", async (t) => {
  const volume = TestVolume.bare(t);
  mkdirSync(volume.backing);
  t.equal(spawnSync("mount", ["-t", "ramfs", "none", volume.backing]).status, 0);
  const outcome = await volume.run("init", volume.backing, "--keyfile", volume.keyfile);
  t.equal(outcome.code, "Backing", outcome.stderr);
  t.match(outcome.stderr, /^kmsfs: [^\n]*(attributes|xattr)[^\n]*\n$/);
  t.same(readdirSync(volume.backing), [], "nothing left of the attempt");
  t.notOk(existsSync(volume.keyfile));
});

t.test("an argument that is not UTF-8 is refused and never taken for another one", async (t) => {
  const volume = TestVolume.bare(t);
  // Node's own spawn encodes arguments as UTF-8; the shell takes bytes.
  const script = '"$1" "$2" init "$3$(printf \'\\377\')" --keyfile "$4"';
  const args = ["-c", script, "sh", process.execPath, MAIN, volume.backing, volume.keyfile];
  const { status, stderr } = spawnSync("sh", args, { env: volume.env });
  t.equal(status, 2, stderr.toString());
  t.match(stderr.toString(), /^kmsfs: an argument is not UTF-8; [^\n]+$/m);
  t.same(readdirSync(volume.scratch.path), ["mnt"]);
});

t.test("a volume on a read-only file system is mounted read-only or not at all", async (t) => {
  const volume = await TestVolume.make(t);
  const bound = volume.scratch.file("bound");
  mkdirSync(bound);
  t.equal(spawnSync("mount", ["-o", "bind,ro", volume.backing, bound]).status, 0);
  // Its first mount gives the root its record, which takes writing.
  for (const fresh of [bound, volume.backing]) {
    const { code, stderr } = await volume.run("mount", fresh, volume.dir, "-o", "ro");
    t.equal(code, "Backing", stderr);
    t.match(stderr, /^kmsfs: [^\n]* was never mounted[^\n]*; mount it once without -o ro[^\n]*\n$/);
  }
  await volume.up(t);
  await volume.down(t);
  await refused(t, volume, "Backing", /file system of \S+ is read-only; mount with -o ro/, () =>
    volume.run("mount", bound, volume.dir),
  );
  const outcome = await volume.run("mount", bound, volume.dir, "-o", "ro");
  t.equal(outcome.code, "Ok", outcome.stderr);
  await volume.down(t);
  t.equal(spawnSync("umount", [bound]).status, 0);
});

t.test("output that cannot be written is a failure", async (t) => {
  const volume = await TestVolume.make(t);
  const commands = [
    "status",
    "status --json",
    `verify ${volume.backing}`,
    `key list ${volume.backing}`,
    "help",
  ];
  for (const command of commands) {
    const script = `exec "$1" "$2" ${command} > /dev/full`;
    const { status, stderr } = spawnSync("sh", ["-c", script, "sh", process.execPath, MAIN], {
      env: volume.env,
    });
    t.equal(status, 1, command);
    t.match(stderr.toString(), /^kmsfs: standard output: ENOSPC[^\n]*$/m, command);
  }
  // A reader that has seen enough is no failure.
  const script = '"$1" "$2" status --json | true; exit 0';
  const { stderr } = spawnSync("sh", ["-c", script, "sh", process.execPath, MAIN], { env: volume.env });
  t.notMatch(stderr.toString(), /standard output|unexpected/);
});

t.test("users other than root are told so", async (t) => {
  const volume = TestVolume.bare(t);
  // A run directory that is there, and closed to them.
  mkdirSync(volume.scratch.file("run"), { mode: 0o700 });
  chmodSync(volume.scratch.path, 0o755);
  const cases: [string[], RegExp][] = [
    [["mount", "/a", "/b"], /^kmsfs: kmsfs mount needs root; run it with sudo$/m],
    [["status"], /^kmsfs: \S+ tells of mounts and is root's alone; run it as root$/m],
  ];
  for (const [args, line] of cases) {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
      uid: 65534,
      gid: 65534,
      env: volume.env,
    });
    // Where the checkout is root's alone, node itself cannot be started on it.
    if (status === 1 && /EACCES|Cannot find module/.test(stderr.toString())) {
      t.notMatch(stderr.toString(), /unexpected failure/);
      continue;
    }
    t.equal(status, 20, stderr.toString());
    // tap's own hook into child processes complains too: it may not write as this user.
    t.match(stderr.toString(), line);
  }
});

t.test("no key ever stands in the log of a mount", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t, "-o", "debug");
  writeFileSync(volume.at("file"), "content");
  await volume.down(t);
  const { showsKey } = await import("../support/run-kmsfs.js");
  const log = volume.logText();
  t.match(log, /unmounted/);
  t.notOk(showsKey(log, [readFileSync(volume.keyfile)]));
});
