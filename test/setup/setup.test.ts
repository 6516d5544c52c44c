/** `kmsfs setup`: what it puts on a machine, and that it leaves alone what is not its own. */

import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { runKmsfs, Scratch } from "../support/run-kmsfs.js";

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => !lstatSync(join(directory, name)).isDirectory())
    .sort();
}

function staged(t: Test) {
  const scratch = new Scratch();
  t.teardown(() => scratch.remove());
  const root = scratch.file("root");
  mkdirSync(root);
  return {
    root,
    setup: (...more: string[]) => runKmsfs(["setup", "--root", root, ...more], scratch.environment()),
  };
}

t.test("what setup installs is all gone after --uninstall", async (t) => {
  const { root, setup } = staged(t);
  mkdirSync(join(root, "usr/local/share/man"), { recursive: true });
  const installed = await setup();
  t.equal(installed.code, "Ok", installed.stderr);
  const files = filesBelow(root);
  t.ok(files.includes("usr/local/share/man/man1/kmsfs-mount.1"));
  t.ok(files.includes("usr/local/share/bash-completion/completions/kmsfs"));
  t.equal(installed.stdout.split("\n").filter((line) => line.startsWith("wrote ")).length, files.length - 1);

  const again = await setup();
  t.notMatch(again.stdout, /wrote/, "a second time changes nothing");
  t.strictSame(filesBelow(root), files);

  const removed = await setup("--uninstall");
  t.equal(removed.code, "Ok", removed.stderr);
  const left = readdirSync(root, { recursive: true, encoding: "utf8" }).sort();
  t.strictSame(left, ["usr", "usr/local", "usr/local/share", "usr/local/share/man"], "what was there before");
});

t.test("--dry-run tells of the same files and writes none", async (t) => {
  const { root, setup } = staged(t);
  const told = await setup("--dry-run");
  t.strictSame(filesBelow(root), []);
  const done = await setup();
  t.equal(told.stdout.replaceAll("would write", "wrote"), done.stdout);
  const would = await setup("--dry-run", "--uninstall");
  t.match(would.stdout, /would remove/);
  t.not(filesBelow(root).length, 0);
});

t.test("helpers link into the package, and units call the command, that were named", async (t) => {
  const { root, setup } = staged(t);
  t.equal((await setup("--command", "/opt/x/kmsfs", "--package", "/opt/lib/x")).code, "Ok");
  for (const name of ["mount.kmsfs", "mount.fuse.kmsfs", "umount.kmsfs", "umount.fuse.kmsfs"]) {
    t.equal(readlinkSync(join(root, "sbin", name)), "/opt/lib/x/scripts/mount.kmsfs");
  }
  for (const name of filesBelow(root).filter((name) => /\.service$/.test(name))) {
    const text = readFileSync(join(root, name), "utf8");
    t.match(text, /\/opt\/x\/kmsfs/, name);
    t.notMatch(text, /\/usr\/bin\/kmsfs/, name);
  }
  t.equal((await setup("--command", "kmsfs")).code, "Usage", "not a path");
});

t.test("without a command on the services' PATH they call a launcher that needs none", async (t) => {
  const { root, setup } = staged(t);
  t.equal((await setup()).code, "Ok");
  const launcher = readFileSync(join(root, "usr/local/lib/kmsfs/kmsfs"), "utf8");
  t.match(launcher, process.execPath);
  t.match(launcher, /dist\/cli\/main\.js' "\$@"\n$/);
  const helper = readFileSync(join(root, "sbin/umount.fuse.kmsfs"), "utf8");
  t.match(helper, process.execPath);
  t.match(helper, /dist\/cli\/main\.js' 'umount-helper' "\$@"\n$/);
  // It is umount(8)'s helper that answers, not a program that does nothing.
  const run = spawnSync(join(root, "sbin/umount.fuse.kmsfs"), ["/nowhere"], { encoding: "utf8" });
  t.match(run.stderr, /^umount\.kmsfs: \/nowhere: /);
  t.not(run.status, 0);
});

t.test("a file of somebody else's stops it before anything is written", async (t) => {
  const { root, setup } = staged(t);
  const page = join(root, "usr/local/share/man/man1/kmsfs.1");
  mkdirSync(join(page, ".."), { recursive: true });
  writeFileSync(page, "mine");
  const refused = await setup();
  t.equal(refused.code, "Usage");
  t.match(refused.stderr, /^kmsfs: \/usr\/local\/share\/man\/man1\/kmsfs\.1 is there, [^\n]+; [^\n]+\n$/);
  t.strictSame(filesBelow(root), ["usr/local/share/man/man1/kmsfs.1"]);
});

t.test("a file that was changed since stays", async (t) => {
  const { root, setup } = staged(t);
  await setup();
  const page = join(root, "usr/local/share/man/man1/kmsfs.1");
  appendFileSync(page, "changed\n");
  const removed = await setup("--uninstall");
  t.match(removed.stdout, /changed since, left: .*kmsfs\.1/);
  t.strictSame(filesBelow(root), ["usr/local/share/man/man1/kmsfs.1"]);
});

t.test("what an older version wrote and this one has no more is removed", async (t) => {
  const { root, setup } = staged(t);
  await setup();
  const manifest = join(root, "usr/local/lib/kmsfs/setup.json");
  const old = join(root, "usr/local/share/man/man1/kmsfs-old.1");
  writeFileSync(old, "");
  const listed = JSON.parse(readFileSync(manifest, "utf8")) as { files: Record<string, string> };
  const ofNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  writeFileSync(
    manifest,
    JSON.stringify({
      ...listed,
      files: { ...listed.files, "/usr/local/share/man/man1/kmsfs-old.1": ofNothing },
    }),
  );
  t.match((await setup()).stdout, /removed \/usr\/local\/share\/man\/man1\/kmsfs-old\.1/);
  t.notOk(existsSync(old));
});
