import { randomBytes } from "node:crypto";
import {
  chmodSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import { exportTree } from "../../src/reader/export.js";
import { aclHash } from "../../src/reader/record.js";
import type { Problem } from "../../src/reader/verify.js";
import { type FixtureInode, FixtureVolume, run, setXattr, writePages, xattrOf } from "./fixture.js";

async function exported(v: FixtureVolume, test: { teardown(handler: () => void): void }) {
  const out = mkdtempSync("/var/tmp/kmsfs-export-");
  test.teardown(() => rmSync(out, { recursive: true, force: true }));
  const problems: Problem[] = [];
  const warnings: string[] = [];
  const volume = v.open();
  const result = await exportTree(volume, out, {
    onProblem: (problem) => problems.push(problem),
    onWarning: (line) => warnings.push(line),
  });
  volume.close();
  return { out, problems, warnings, counts: result.counts };
}

/** Sets the times of a backing inode, and its record anew where the mode changed. */
function touch(inode: FixtureInode, time: string): void {
  run("touch", ["-h", "-m", "-d", time, "--", inode.path]);
}

t.test("a tree comes out as it went in: contents, attributes, times, links, holes, xattrs", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  const content = randomBytes(1_000_000);
  const dir = v.directory(v.root, "dir", 0o1750);
  const file = v.file(dir, "it's a\nfile", content, { mode: 0o4751 });
  run("chown", ["1234:4321", file.path]);
  chmodSync(file.path, 0o4751);
  v.writeRecord(file);
  v.link(v.root, "-hard", file);
  const raw = v.file(v.root, Buffer.from([0xff, 0x5c, 0xfe]), Buffer.from("raw"));
  const size = 2n ** 40n;
  v.sparse(dir, "sparse", size, new Map([[v.geometry.blocks(size) - 1n, randomBytes(4096)]]));
  const link = v.symlink(v.root, "link", "../else where");
  v.symlink(v.root, "long", "x/".repeat(1500));
  v.special(dir, "fifo", "fifo");
  v.special(dir, "null", "chardev", { major: 1, minor: 300 });
  v.xattr(file, "user.color", Buffer.from("blue"));
  v.xattr(raw, "user.a=b\\c", Buffer.from([0, 1, 255]));
  v.xattr(link, "trusted.of link", Buffer.from("x"));
  v.xattr(dir, "user.dir", Buffer.alloc(0));
  touch(file, "2021-03-04 05:06:07.123456789");
  touch(link, "2031-03-04 05:06:07.000000001");
  touch(raw, "@-1.5");
  touch(dir, "1999-12-31 23:59:59.999999999");
  touch(v.root, "2001-01-01 00:00:00.5");

  const { out, problems, warnings, counts } = await exported(v, t);
  t.same(problems, []);
  t.same(warnings, []);
  t.match(counts, { directories: 2, files: 3, symlinks: 2, special: 2, hardLinks: 1 });
  const stats = (path: string | Buffer) => lstatSync(path, { bigint: true });
  const at = (name: string) => join(out, name);
  t.same(readFileSync(at("dir/it's a\nfile")), content);
  t.match(stats(at("dir/it's a\nfile")), { mode: 0o104751n, uid: 1234n, gid: 4321n, nlink: 2n });
  t.equal(stats(at("-hard")).ino, stats(at("dir/it's a\nfile")).ino);
  t.equal(stats(at("dir")).mode, 0o041750n);
  t.equal(readlinkSync(at("link")), "../else where");
  t.equal(readlinkSync(at("long")), "x/".repeat(1500));
  t.ok(stats(at("dir/fifo")).isFIFO());
  t.equal(stats(at("dir/null")).rdev, 0x10012cn);
  t.equal(stats(at("dir/sparse")).size, size);
  t.ok(stats(at("dir/sparse")).blocks < 100n);
  const rawPath = Buffer.concat([Buffer.from(`${out}/`), Buffer.from([0xff, 0x5c, 0xfe])]);
  t.equal(readFileSync(rawPath, "utf8"), "raw");
  for (const [path, inode] of [
    [at("dir/it's a\nfile"), file],
    [at("link"), link],
    [rawPath, raw],
    [at("dir"), dir],
    [out, v.root],
  ] as const) {
    t.equal(stats(path).mtimeNs, stats(inode.path).mtimeNs);
  }
  const dump = run("getfattr", ["-R", "-h", "-d", "-e", "hex", "-m", "-", "--absolute-names", out]);
  for (const line of [
    "user.color=0x626c7565",
    "user.a\\075b\\134c=0x0001ff",
    "trusted.of link=0x78",
    "user.dir",
  ]) {
    t.ok(dump.includes(line), line);
  }
});

t.test("what is damaged is reported and named .damaged; the rest is exported", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  v.file(v.root, "good", Buffer.from("good"));
  const content = randomBytes(3 * 4096);
  const hurt = v.file(v.root, "hurt", content);
  v.file(v.root, "hurt.damaged", Buffer.from("a name of its own"));
  const headless = v.file(v.root, "headless", Buffer.from("x"));
  const long = v.file(v.root, "l".repeat(255), Buffer.from("long"));
  const lost = v.directory(v.root, "lost");
  v.file(lost, "inside", Buffer.from("x"));
  const chmodded = v.file(v.root, "chmodded", Buffer.from("x"), { mode: 0o600 });
  for (const [inode, at] of [
    [hurt, 4096n + 4096n],
    [headless, 200n],
    [long, 4096n],
  ] as const) {
    const byte = Buffer.from([(readFileSync(inode.path)[Number(at)] ?? 0) ^ 1]);
    writePages(inode.path, [{ home: at, bytes: byte, index: undefined, entry: Buffer.alloc(0) }]);
  }
  setXattr(lost.path, "user.kmsfs", Buffer.from("nonsense"));
  chmodSync(chmodded.path, 0o666);
  writeFileSync(join(v.backing, "stray!"), "x");

  const { out, problems } = await exported(v, t);
  t.same(problems.map(({ code, place, block }) => [place, code, block]).sort(), [
    ["/<stray!>", "foreign", undefined],
    ["/chmodded", "attributes", undefined],
    ["/headless", "header", undefined],
    ["/hurt", "block", "1"],
    [`/${"l".repeat(255)}`, "block", "0"],
    ["/lost", "record", undefined],
    ["/lost", "record", undefined],
  ]);
  t.same(readdirSync(out).sort(), [
    "chmodded.damaged",
    "good",
    "headless.damaged",
    "hurt.1.damaged",
    "hurt.damaged",
    `${"l".repeat(247)}.damaged`,
  ]);
  t.equal(readFileSync(join(out, "good"), "utf8"), "good");
  const partial = readFileSync(join(out, "hurt.1.damaged"));
  t.same(partial, Buffer.from(content).fill(0, 4096, 8192));
  t.equal(lstatSync(join(out, "chmodded.damaged")).mode & 0o7777, 0o600);
});

t.test("ACLs come out, and with those of no record nobody gets in", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  const dir = v.directory(v.root, "dir", 0o750);
  const files = ["kept", "planted", "removed"].map((name) => v.file(dir, name, Buffer.from(name)));
  const [kept, planted, removed] = files as [FixtureInode, FixtureInode, FixtureInode];
  const give = (inode: FixtureInode, ...acls: string[]) => {
    run("setfacl", ["-m", acls.join(), inode.path]);
    const [access, fallback] = ["access", "default"].map((name) =>
      xattrOf(inode.path, `system.posix_acl_${name}`),
    );
    v.writeRecord(inode, { aclHash: aclHash(access, fallback) });
  };
  give(dir, "u:2000:rwx", "d:u:2000:rx", "d:g:3000:---");
  for (const file of files) chmodSync(file.path, 0o600);
  v.writeRecord(planted);
  give(kept, "u:2000:rw", "g:3000:r");
  give(removed, "u:2000:rw");
  // The mode stays as its record has it: the ACL alone tells.
  run("setfacl", ["-m", "u:2000:rw,m::-", planted.path]);
  run("setfacl", ["-b", removed.path]);
  chmodSync(removed.path, 0o660);

  const { out, problems, warnings } = await exported(v, t);
  t.same(problems.map(({ code, place }) => [place, code]).sort(), [
    ["/dir/planted", "attributes"],
    ["/dir/removed", "attributes"],
  ]);
  t.same(warnings, []);
  const acl = (path: string) => run("getfacl", ["-ncpE", path]).trim().split("\n");
  for (const [name, inode] of [
    ["dir", dir],
    ["dir/kept", kept],
  ] as const)
    t.same(acl(join(out, name)), acl(inode.path), name);
  t.same(acl(join(out, "dir/planted.damaged")), ["user::rw-", "group::---", "other::---"]);
  t.same(
    acl(join(out, "dir/removed.damaged")),
    ["user::rw-", "group::---", "other::---"],
    "no mask as a group",
  );
});

t.test("an export of a deep tree of short names, whose sealed paths no path can hold", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => run("rm", ["-rf", v.backing]));
  const start = process.cwd();
  t.teardown(() => process.chdir(start));
  let parent = v.root;
  for (let depth = 0; depth < 150; depth++) {
    // Each level is made from within the one above: paths stay short.
    process.chdir(parent.path);
    parent = v.directory({ ...parent, path: "." }, "d");
  }
  process.chdir(parent.path);
  v.file({ ...parent, path: "." }, "deep", Buffer.from("down here"));
  process.chdir(start);
  const { out, problems, counts } = await exported(v, t);
  t.same(problems, []);
  t.equal(counts.directories, 151);
  t.equal(readFileSync(join(out, "d/".repeat(150), "deep"), "utf8"), "down here");
});

t.test("contents that are in the log alone are exported, with their time", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  const file = v.file(v.root, "file", Buffer.from("old"), { growing: true });
  const content = randomBytes(10000);
  const images = v.seal(file.id, 10000n, v.blocksOf(content), 100n);
  v.log.begin({ firstCommit: 100n, checkpointed: 99n });
  const mtime = { seconds: 1234n, nanoseconds: 567 };
  v.log.append({ fileId: file.id, images, physicalLength: 14096n, mtime });
  const { out, problems } = await exported(v, t);
  t.same(problems, []);
  t.same(readFileSync(join(out, "file")), content);
  t.equal(lstatSync(join(out, "file"), { bigint: true }).mtimeNs, 1234000000567n);
});

t.test("an output that is full ends the export with one error, and is no damage of the volume", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  v.file(v.root, "large", randomBytes(400 * 4096));
  const out = mkdtempSync("/var/tmp/kmsfs-export-");
  t.teardown(() => rmSync(out, { recursive: true, force: true }));
  run("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", out]);
  t.teardown(() => run("umount", [out]));
  const volume = v.open();
  const problems: Problem[] = [];
  const exporting = exportTree(volume, out, { onProblem: (problem) => problems.push(problem) });
  await t.rejects(exporting, { name: "UserError", code: "NoSpace" });
  t.same(problems, []);
  volume.close();
});
