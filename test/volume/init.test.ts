import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import t from "tap";
import { initVolume } from "../../src/volume/init.js";
import { editHeader } from "../support/headers.js";
import { runKmsfs, Scratch, showsKey } from "../support/run-kmsfs.js";

const scratch = new Scratch();
t.teardown(() => scratch.remove());
const env = scratch.environment();
const keyfile = scratch.file("key");
const init = (backing: string, ...more: string[]) =>
  runKmsfs(["init", backing, ...(more.length === 0 ? ["--keyfile", keyfile] : more)], env);

t.test("a keyfile volume: what is made, with which modes, and what is said", async (t) => {
  const backing = scratch.file("made");
  const made = await init(backing, "--keyfile", keyfile, "--block-size", "65536", "--label", "try");
  t.equal(made.code, "Ok", made.stderr);
  t.match(made.stdout, "not KMS");
  t.match(made.stdout, `key file ${keyfile} made`);
  t.match(made.stdout, `next: kmsfs mount ${backing} DIR`);
  t.equal(made.stderr, "");
  const key = readFileSync(keyfile);
  t.equal(key.length, 32);
  t.notOk(showsKey(made.stdout, [key]));
  const mode = (path: string) => (statSync(path).mode & 0o7777).toString(8);
  t.same(readdirSync(backing), [".kmsfs"]);
  t.same(readdirSync(scratch.file("made/.kmsfs")).sort(), [
    "links",
    "lock",
    "log",
    "volume.json",
    "volume.json.bak",
  ]);
  for (const dir of ["", "/.kmsfs", "/.kmsfs/log", "/.kmsfs/links"]) t.equal(mode(backing + dir), "700", dir);
  for (const file of ["volume.json", "volume.json.bak", "lock"])
    t.equal(mode(`${backing}/.kmsfs/${file}`), "600");
  t.equal(mode(keyfile), "600");
  const { header } = editHeader(backing);
  t.match(header, { blockSize: 65536, generation: 1, slots: [{ id: 1, label: "try", path: keyfile }] });
  const pin = scratch.file(`etc/${header.uuid}.json`);
  t.equal(mode(pin), "600");
  t.match(JSON.parse(readFileSync(pin, "utf8")), {
    commitment: header.commitment,
    lowestGeneration: 1,
    backing,
  });
  const opened = await runKmsfs(["key", "check", backing], env);
  t.equal(opened.code, "Ok", opened.stderr);
});

t.test("an existing key file and an existing empty directory are taken", async (t) => {
  mkdirSync(scratch.file("empty/lost+found"), { recursive: true });
  const before = readFileSync(keyfile);
  const made = await init(scratch.file("empty"));
  t.equal(made.code, "Ok", made.stderr);
  t.notMatch(made.stdout, /key file .* made/);
  t.same(readFileSync(keyfile), before);
});

t.test("refusals leave everything as it was", async (t) => {
  writeFileSync(scratch.file("file"), "");
  mkdirSync(scratch.file("full"));
  writeFileSync(scratch.file("full/letter"), "dear");
  mkdirSync(scratch.file("bare"));
  symlinkSync(scratch.file("full"), scratch.file("link"));
  writeFileSync(scratch.file("short"), "x", { mode: 0o600 });
  writeFileSync(scratch.file("open"), Buffer.alloc(32), { mode: 0o600 });
  chmodSync(scratch.file("open"), 0o644);
  writeFileSync(scratch.file("blank"), "\nsecond line\n", { mode: 0o600 });
  execFileSync("mkfifo", ["-m", "600", scratch.file("fifo")]);
  const bare = scratch.file("bare");
  const cases: [string[], string, RegExp][] = [
    [[scratch.file("made"), "--keyfile", keyfile], "Backing", /is a kmsfs volume already/],
    [[scratch.file("made/inside"), "--keyfile", keyfile], "Backing", /lies inside the kmsfs volume/],
    [[scratch.file("full"), "--keyfile", keyfile], "Backing", /not empty \(letter\)/],
    [[scratch.file("link"), "--keyfile", keyfile], "Backing", /not empty/],
    [[scratch.file("file"), "--keyfile", keyfile], "Backing", /not a directory/],
    [[scratch.file("file/x"), "--keyfile", keyfile], "Backing", /cannot be used/],
    [[scratch.file("no/such"), "--keyfile", keyfile], "Backing", /does not exist/],
    [[bare, "--keyfile", scratch.file("short")], "KeyFile", /has 1 bytes and not 32/],
    [[bare, "--keyfile", scratch.file("open")], "KeyFile", /mode 0644.*chmod 600/],
    [[bare, "--keyfile", scratch.file("fifo")], "KeyFile", /not a regular file/],
    [[bare, "--keyfile", scratch.file("bare/key")], "KeyFile", /inside the backing directory/],
    [[bare, "--keyfile", scratch.file("two\nlines")], "KeyFile", /control characters/],
    [[bare, "--keyfile", scratch.file("none/key")], "KeyFile", /cannot be made/],
    [[bare, "--passphrase-file", scratch.file("blank")], "KeyFile", /empty first line/],
    [[bare, "--passphrase-file", scratch.file("none")], "KeyFile", /does not exist/],
    [[bare], "Usage", /exactly one of/],
    [[bare, "--keyfile", keyfile, "--keyfile", keyfile], "Usage", /--keyfile wants one value/],
    [[bare, "--keyfile", ""], "Usage", /--keyfile wants one value/],
    [[bare, "--keyfile", keyfile, "--context", "a=b"], "Usage", /--context goes with --kms-key/],
    [[bare, "--keyfile", keyfile, "--block-size", "512"], "Usage", /block-size/],
    [[bare, "--keyfile", keyfile, "--log-segments", "1"], "Usage", /--log-segments/],
    [[bare, "--keyfile", keyfile, "--log-segment-size", "1048576"], "Usage", /--log-segment-size/],
    [
      [bare, "--keyfile", keyfile, "--log-segments", "256", "--log-segment-size", "1024"],
      "NoSpace",
      /MiB are free/,
    ],
    [[bare, "--keyfile", keyfile, "--label", "a\nb"], "Usage", /control characters/],
    [[bare, "--keyfile", keyfile, "--nonsense"], "Usage", /nonsense/],
    [[], "Usage", /./],
  ];
  const before = readdirSync(scratch.path, { recursive: true }).sort();
  for (const [args, code, message] of cases) {
    const refused = await runKmsfs(["init", ...args], env);
    t.equal(refused.code, code, `${args.join(" ")}: ${refused.stderr}`);
    t.match(refused.stderr, /^kmsfs: [^\n]+\n$/);
    t.match(refused.stderr, message);
    t.equal(refused.stdout, "");
  }
  t.same(readdirSync(scratch.path, { recursive: true }).sort(), before);
});

t.test("a key file that init made goes again when init fails after it", async (t) => {
  const fresh = scratch.file("fresh-key");
  const args = ["--keyfile", fresh, "--log-segments", "256", "--log-segment-size", "1024"];
  t.equal((await init(scratch.file("too-big"), ...args)).code, "NoSpace");
  t.notOk(existsSync(fresh));
  t.notOk(existsSync(scratch.file("too-big")));
});

t.test(
  "passphrase: the first line counts, without its line end; from a file, from standard input",
  async (t) => {
    const file = scratch.file("pass");
    writeFileSync(file, "correct horse\r\nignored\n", { mode: 0o600 });
    const backing = scratch.file("phrase");
    t.equal((await init(backing, "--passphrase-file", file)).code, "Ok");
    const check = (input: string, ...args: string[]) =>
      runKmsfs(["key", "check", backing, ...args], env, input);
    t.equal((await check("", "--passphrase-file", file)).code, "Ok");
    t.equal((await check("correct horse", "--passphrase-file", "-")).code, "Ok");
    const wrong = await check("correct mule\n", "--passphrase-file", "-");
    t.equal(wrong.code, "WrongKey", wrong.stderr);
    t.notMatch(wrong.stderr, /mule/);
    t.equal((await check("")).code, "Usage", "it is not asked for");
    t.equal((await check("", "--keyfile", keyfile)).code, "Usage", "the volume has no keyfile slot");
    t.equal(
      (await check("x".repeat(5000), "--passphrase-file", "-")).code,
      "KeyFile",
      "longer than 1024 bytes",
    );
    chmodSync(file, 0o640);
    t.equal((await check("", "--passphrase-file", file)).code, "KeyFile", "open to the group");
  },
);

t.test("a backing file system without xattrs is refused by name, and left as it was", async (t) => {
  const image = scratch.file("image");
  const dir = scratch.file("vfat");
  mkdirSync(dir);
  execFileSync("mount", ["-t", "ramfs", "none", dir]);
  t.teardown(() => execFileSync("umount", [dir]));
  writeFileSync(image, "");
  const refused = await init(dir);
  t.equal(refused.code, "Backing", refused.stderr);
  t.match(refused.stderr, /\(ramfs\) has no (user|trusted) xattrs.*; use a directory on ext4 or xfs/);
  t.same(readdirSync(dir), []);
  const below = await init(`${dir}/new`);
  t.equal(below.code, "Backing", below.stderr);
  t.same(readdirSync(dir), []);
});

t.test("a small file system gets a small log, a tiny one is refused", async (t) => {
  const dir = scratch.file("small");
  const mount = (size: string) => {
    mkdirSync(dir, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "none", dir]);
  };
  const umount = () => execFileSync("umount", [dir]);
  mount("256m");
  try {
    t.equal((await init(`${dir}/v`)).code, "Ok");
    t.same(editHeader(`${dir}/v`).header.log, { segmentSize: 2 ** 23, segments: 4 });
  } finally {
    umount();
  }
  mount("8m");
  try {
    const refused = await init(`${dir}/v`);
    t.equal(refused.code, "NoSpace", refused.stderr);
    t.same(readdirSync(dir), []);
  } finally {
    umount();
  }
});

t.test("not as root: refused with one clear line", async (t) => {
  const log = {};
  const key = { provider: "keyfile", path: scratch.file("rootless-key") } as const;
  process.seteuid?.(65534);
  try {
    const made = initVolume({ backing: scratch.file("rootless"), key, blockSize: 4096, label: "", log });
    await t.rejects(made, { code: "Privilege", message: /needs root/, hint: "run it as root" });
  } finally {
    process.seteuid?.(0);
  }
  t.notOk(existsSync(key.path));
});
