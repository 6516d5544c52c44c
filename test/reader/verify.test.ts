import { randomBytes } from "node:crypto";
import { readFileSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { mac } from "../../src/reader/keys.js";
import { aclHash } from "../../src/reader/record.js";
import { type Problem, verify } from "../../src/reader/verify.js";
import { everything, rawXattr, tamperings } from "./damage.js";
import { type FixtureInode, FixtureVolume, run, setXattr, xattrOf } from "./fixture.js";

async function problemsOf(
  v: FixtureVolume,
): Promise<{ problems: Problem[]; counts: Record<string, number> }> {
  const volume = v.open();
  const problems: Problem[] = [];
  const { counts } = await verify(volume, { onProblem: (problem) => problems.push(problem) });
  volume.close();
  return { problems, counts: { ...counts } };
}

for (const blockSize of [4096, 16384, 65536]) {
  t.test(`a volume with everything verifies, block size ${blockSize}`, async (t) => {
    const { v } = everything(blockSize);
    t.teardown(() => v.remove());
    const { problems, counts } = await problemsOf(v);
    t.same(problems, []);
    t.match(counts, { directories: 2, files: 7, symlinks: 2, special: 2, hardLinks: 1, xattrs: 3 });
    if (blockSize === 4096) t.equal(counts.blocks, 1 + 4 + 114 + 4 + 5 + 1);
  });
}

for (const { what, does, finds } of tamperings) {
  t.test(`found: ${what}`, async (t) => {
    const e = everything();
    t.teardown(() => e.v.remove());
    does(e);
    const { problems } = await problemsOf(e.v);
    const shown = problems.map(({ code, place, block }) => `${code} ${place} ${block ?? ""}`).sort();
    const wanted = finds.map(({ code, place, block }) => `${code} ${place} ${block ?? ""}`).sort();
    t.equal(shown.length, wanted.length, shown.join("\n"));
    for (const [i, line] of wanted.entries())
      t.ok(shown[i]?.startsWith(line.trimEnd()), `${shown[i]} is ${line}`);
  });
}

t.test("what is no part of the volume's state is passed over", async (t) => {
  const { v, dir } = everything();
  t.teardown(() => v.remove());
  writeFileSync(join(dir.path, ".t-0123"), "unfinished");
  writeFileSync(join(dir.path, `~${"A".repeat(43)}.name`), "orphan");
  run("mkdir", [join(v.backing, "lost+found")]);
  t.same((await problemsOf(v)).problems, []);
});

t.test("old attributes, missing set-id bits and a record written as .new are accepted", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  const file = v.file(v.root, "file", Buffer.from("x"));
  const now = { mode: 0o4755, uid: 0, gid: 0 };
  v.writeRecord(file, { attributes: now, oldAttributes: { mode: 0o644, uid: 5, gid: 0 } });
  t.same((await problemsOf(v)).problems, []);
  run("chmod", ["755", file.path]);
  t.same((await problemsOf(v)).problems, []);
  run("chmod", ["700", file.path]);
  t.equal((await problemsOf(v)).problems.length, 1);
  run("chmod", ["4755", file.path]);
  run("setfattr", [
    "-n",
    "user.kmsfs.new",
    "-v",
    `0x${rawXattr(file.path, "user.kmsfs").toString("hex")}`,
    file.path,
  ]);
  setXattr(file.path, "user.kmsfs", Buffer.from("torn"));
  t.same((await problemsOf(v)).problems, []);
});

t.test("a growing file may be of any length, and empty without a header", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  const grown = v.file(v.root, "grown", randomBytes(5000), { growing: true });
  truncateSync(grown.path, 4096 * 20);
  for (const length of [0, 100, 4096, 8192]) {
    truncateSync(v.file(v.root, `new ${length}`, Buffer.alloc(0), { growing: true }).path, 0);
    const zeroed = v.file(v.root, `zero ${length}`, Buffer.alloc(0), { growing: true });
    truncateSync(zeroed.path, 0);
    truncateSync(zeroed.path, length);
  }
  t.same((await problemsOf(v)).problems, []);
});

t.test("a key that is not the volume's is refused", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  v.domainKey.fill(7);
  t.throws(() => v.open(), { code: "WrongKey" });
});

t.test("whatever bytes stand in a volume, verify ends with a report", async (t) => {
  const e = everything();
  const { v, dir, files, sparse, long, link, longLink, fifo } = e;
  t.teardown(() => v.remove());
  v.open().close();
  unlinkSync(sparse.path);
  const segment = join(v.backing, ".kmsfs/log/0000.seg");
  const paths = [files.direct.path, files.s1.path, `${long.path}.name`, segment];
  paths.push(join(v.backing, ".kmsfs/links", longLink.id.toString("hex")));
  const inodes = [v.root, dir, files.direct, files.empty, link, fifo];
  for (let round = 0; round < 40; round++) {
    for (const path of paths) {
      const bytes = readFileSync(path);
      const from = randomBytes(4).readUInt32LE() % (bytes.length + 1);
      randomBytes(1 + (round % 40)).copy(bytes, from);
      writeFileSync(path, round % 10 === 9 ? bytes.subarray(0, from) : bytes);
    }
    const inode = inodes[round % inodes.length] ?? v.root;
    const type = inode === link || inode === fifo ? "trusted" : "user";
    // A MAC that holds over any content: what comes behind it is tried as well.
    const body = Buffer.concat([Uint8Array.of(0x10 | (round % 9), round % 17), randomBytes(round % 120)]);
    const sealed = Buffer.concat([body, mac(v.keys.records, 16, "record", body)]);
    setXattr(inode.path, `${type}.kmsfs`, sealed);
    setXattr(inode.path, `${type}.kmsfs.${randomBytes(8).toString("hex")}`, randomBytes(round));
    const { problems } = await problemsOf(v);
    t.ok(problems.length > 0);
  }
});

for (const [what, make] of Object.entries({
  fifo: (path: string) => run("mkfifo", [path]),
  directory: (path: string) => run("mkdir", [path]),
  device: (path: string) => run("mknod", [path, "c", "10", "130"]),
  symlink: (path: string) => run("ln", ["-s", "/dev/zero", path]),
})) {
  t.test(`a ${what} in the place of a file of the volume's own is found and never opened`, async (t) => {
    const { v, long, longLink } = everything();
    t.teardown(() => v.remove());
    v.open().close();
    for (const path of [
      `${long.path}.name`,
      join(v.backing, ".kmsfs/links", longLink.id.toString("hex")),
      join(v.backing, ".kmsfs/log/0000.seg"),
    ]) {
      unlinkSync(path);
      make(path);
    }
    const { problems } = await problemsOf(v);
    t.same(problems.map(({ code }) => code).sort(), ["log", "sidecar", "type"]);
  });
}

t.test("an ACL that a crash left as it was before, or none before, is no damage", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  const [bare, full] = ["bare", "with"].map((name) => v.file(v.root, name, Buffer.from("x")));
  if (bare === undefined || full === undefined) throw new Error("two files were made");
  run("setfacl", ["-m", "u:1000:r,m::r", full.path]);
  const hash = aclHash(xattrOf(full.path, "system.posix_acl_access"), undefined);
  v.writeRecord(full, { aclHash: hash });
  const none = aclHash(undefined, undefined);
  const found = async (inode: FixtureInode, aclHash?: Buffer, oldAclHash?: Buffer) => {
    v.writeRecord(inode, { ...(aclHash && { aclHash }), ...(oldAclHash && { oldAclHash }) });
    const problems: Problem[] = [];
    const volume = v.open();
    await verify(volume, { onProblem: (problem) => problems.push(problem) });
    volume.close();
    return problems.length;
  };
  t.equal(await found(bare, hash, none), 0);
  t.equal(await found(bare, hash), 1);
  t.equal(await found(bare, undefined, hash), 0);
  t.equal(await found(bare), 0);
  t.equal(await found(full, hash, none), 0);
  t.equal(await found(full, none, hash), 0);
  t.equal(await found(full, undefined, hash), 0);
  t.equal(await found(full, undefined, none), 1);
  t.equal(await found(full, hash), 0);
});
