import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openVolume } from "../../src/volume/open.js";
import { runKmsfs, Scratch } from "../support/run-kmsfs.js";
import { FixtureVolume, run } from "./fixture.js";

/** A volume that `kmsfs init` made, filled by the fixture's writer. */
async function madeVolume(test: { teardown(handler: () => void): void }) {
  const scratch = new Scratch();
  test.teardown(() => scratch.remove());
  const env = scratch.environment();
  Object.assign(process.env, { KMSFS_ETC: env.KMSFS_ETC, KMSFS_LOG: env.KMSFS_LOG });
  const [backing, keyfile] = [scratch.file("volume"), scratch.file("key")];
  const kmsfs = (...args: string[]) => runKmsfs(args, env);
  const made = await kmsfs("init", backing, "--keyfile", keyfile);
  if (made.code !== "Ok") throw new Error(made.stderr);
  const { header, dk } = await openVolume(backing, { purpose: "read", kmsTimeoutMs: 1000 });
  const fill = () => new FixtureVolume(4096, { backing, uuid: header.uuid, domainKey: dk });
  return { scratch, backing, kmsfs, fill };
}

t.test("verify of a volume that was never mounted finds nothing wrong", async (t) => {
  const { backing, kmsfs } = await madeVolume(t);
  const outcome = await kmsfs("verify", backing);
  t.equal(outcome.code, "Ok", outcome.stderr);
  t.match(outcome.stdout, /all of it is authentic/);
});

t.test("verify of a volume whose first mount was cut short finds nothing wrong", async (t) => {
  const { backing, kmsfs } = await madeVolume(t);
  const log = join(backing, ".kmsfs/log");
  mkdirSync(log, { recursive: true });
  for (const name of ["0000.seg", "0001.seg.new"]) {
    writeFileSync(join(log, name), "");
    truncateSync(join(log, name), 4 << 20);
  }
  const outcome = await kmsfs("verify", backing);
  t.equal(outcome.code, "Ok", outcome.stdout + outcome.stderr);
});

t.test("verify says what it checked, and what is wrong by path, id and block; --json too", async (t) => {
  const { scratch, backing, kmsfs, fill } = await madeVolume(t);
  const v = fill();
  const file = v.file(v.directory(v.root, "dir"), "new\nline", Buffer.alloc(10000, "x"));
  v.open().close();
  const link = scratch.file("link");
  symlinkSync(backing, link);
  for (const path of [backing, link]) {
    const clean = await kmsfs("verify", path, "--json");
    t.equal(clean.code, "Ok", clean.stderr);
    t.match(JSON.parse(clean.stdout), {
      volume: v.uuid,
      problems: [],
      counts: { directories: 2, files: 1, blocks: 3 },
    });
  }

  const bytes = readFileSync(file.path);
  writeFileSync(file.path, bytes.fill(0, 9000, 9001));
  const found = await kmsfs("verify", backing);
  t.equal(found.code, "Tampered");
  const id = file.id.toString("hex");
  t.ok(
    found.stdout.includes(`/dir/new\\x0aline, id ${id}, block 1: block 1 does not authenticate\n`),
    found.stdout,
  );
  t.match(found.stderr, /^kmsfs: .* has 1 problem; .*\n$/);
  const json = await kmsfs("verify", backing, "--json");
  t.equal(json.code, "Tampered");
  t.equal(json.stderr, "");
  t.match(JSON.parse(json.stdout).problems, [{ code: "block", place: "/dir/new\\x0aline", id, block: "1" }]);
});

t.test("verify and export refuse a volume that is in use", async (t) => {
  const { scratch, backing, kmsfs } = await madeVolume(t);
  const holder = spawn("flock", ["-x", join(backing, ".kmsfs/lock"), "sh", "-c", "echo held; cat"]);
  await new Promise((resolve) => holder.stdout.once("data", resolve));
  const [verify, exporting] = [
    await kmsfs("verify", backing),
    await kmsfs("export", backing, scratch.file("out")),
  ];
  holder.stdin.end();
  await new Promise((resolve) => holder.once("close", resolve));
  for (const outcome of [verify, exporting]) {
    t.equal(outcome.code, "InUse");
    t.match(outcome.stderr, /^kmsfs: .* is mounted; .*\n$/);
  }
  t.notOk(existsSync(scratch.file("out")));
});

t.test("export writes the tree out, and refuses a place that is taken or within the volume", async (t) => {
  const { scratch, backing, kmsfs, fill } = await madeVolume(t);
  const v = fill();
  v.file(v.root, "file", Buffer.from("contents"));
  v.open().close();
  const out = scratch.file("out");
  const first = await kmsfs("export", backing, out);
  t.equal(first.code, "Ok", first.stderr);
  t.equal(readFileSync(join(out, "file"), "utf8"), "contents");
  const plain = scratch.file("plain");
  writeFileSync(plain, "");
  mkdirSync(scratch.file("empty"));
  for (const place of [out, plain, backing, join(backing, "out"), scratch.file("no/where")]) {
    const outcome = await kmsfs("export", backing, place);
    t.equal(outcome.code, "Usage", place);
    t.equal(outcome.stderr.trimEnd().split("\n").length, 1, outcome.stderr);
  }
  t.equal((await kmsfs("export", backing, scratch.file("empty"))).code, "Ok");
  run("truncate", ["-s", "100", join(backing, v.bind(v.root, "file"))]);
  const damaged = await kmsfs("export", backing, scratch.file("second"));
  t.equal(damaged.code, "Tampered");
  t.ok(existsSync(scratch.file("second/file.damaged")));
});

t.test("a lock that is no regular file is not opened", async (t) => {
  const { backing, kmsfs } = await madeVolume(t);
  const lock = join(backing, ".kmsfs/lock");
  run("rm", [lock]);
  run("mkfifo", [lock]);
  t.equal((await kmsfs("verify", backing)).code, "Tampered");
});
