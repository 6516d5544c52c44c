import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import t from "tap";
import { UserError } from "../../src/errors.js";
import { type OpenOptions, openVolume } from "../../src/volume/open.js";
import { editHeader, headerPath } from "../support/headers.js";
import { runKmsfs, Scratch, showsKey } from "../support/run-kmsfs.js";

const scratch = new Scratch();
t.teardown(() => scratch.remove());
const env = scratch.environment();
Object.assign(process.env, { KMSFS_ETC: env.KMSFS_ETC, KMSFS_LOG: env.KMSFS_LOG });
const keyfile = scratch.file("key");
let count = 0;

/** A new keyfile volume: its backing directory, pin and header. */
async function volume() {
  count += 1;
  const backing = scratch.file(`volume${count}`);
  const made = await runKmsfs(["init", backing, "--keyfile", keyfile], env);
  if (made.code !== "Ok") throw new Error(made.stderr);
  const { header, write } = editHeader(backing);
  return { backing, header, write, path: headerPath(backing), pin: scratch.file(`etc/${header.uuid}.json`) };
}

const READ: OpenOptions = { purpose: "read", kmsTimeoutMs: 1000 };
const MOUNT: OpenOptions = { purpose: "mount", kmsTimeoutMs: 1000 };
const pinned = (path: string) => JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;

/** The UserError that opening ends in. */
async function refusal(backing: string, options: OpenOptions): Promise<UserError> {
  try {
    (await openVolume(backing, options)).dk.fill(0);
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  throw new Error("it was opened");
}

t.test("the same key each time, and reading changes nothing", async (t) => {
  const { backing, header, path, pin } = await volume();
  const before = [readFileSync(path), readFileSync(pin)];
  const one = await openVolume(backing, READ);
  const two = await openVolume(backing, MOUNT);
  t.equal(one.dk.length, 32);
  t.ok(one.dk.equals(two.dk));
  t.same(one.header, header);
  t.same(two.warnings, []);
  t.same([readFileSync(path), readFileSync(pin)], before);
});

t.test("what is no volume says so", async (t) => {
  const { backing, path } = await volume();
  t.equal((await refusal(scratch.file("nowhere"), READ)).code, "NotAVolume");
  t.equal((await refusal(keyfile, READ)).code, "NotAVolume");
  rmSync(path);
  t.match((await refusal(backing, READ)).line, /is damaged: it is missing; generation 1 of/);
  symlinkSync(keyfile, path);
  t.match((await refusal(backing, READ)).line, /is damaged: it is a symbolic link/);
  const other = scratch.file("linked");
  renameSync(`${backing}/.kmsfs`, other);
  symlinkSync(other, `${backing}/.kmsfs`);
  t.equal((await refusal(backing, READ)).code, "Damaged", "a link in place of .kmsfs is not followed");
});

t.test("no byte of volume.json can be changed unnoticed, and none crashes what opens it", async (t) => {
  const { backing, path } = await volume();
  const good = readFileSync(path);
  const codes = new Set<string>();
  for (let at = 0; at < good.length; at++) {
    const changed = Buffer.from(good);
    changed[at] = (changed[at] ?? 0) ^ 1;
    writeFileSync(path, changed);
    const { code, line } = await refusal(backing, READ);
    codes.add(code);
    if (!line.includes("--use-previous-header") && code !== "NewerFormat" && code !== "PinMismatch") {
      t.fail(`byte ${at}: no way out in: ${line}`);
    }
  }
  t.strictSame(
    [...codes].filter((code) => code === "Unexpected" || code === "Usage"),
    [],
  );
});

t.test("a slot that is added between the reading of header and pin is no old copy put back", async (t) => {
  const { backing, path, pin } = await volume();
  const older = readFileSync(path);
  const added = await runKmsfs(["key", "add", backing, "--new-keyfile", scratch.file("another")], env);
  t.equal(added.code, "Ok", added.stderr);
  const newer = readFileSync(path);
  const newerPin = readFileSync(pin);
  // Whoever reads a pin that is a pipe waits for what is written into it.
  writeFileSync(path, older);
  rmSync(pin);
  t.equal(spawnSync("mkfifo", ["-m", "600", pin]).status, 0);
  const opening = openVolume(backing, READ);
  const pipe = await open(pin, "w");
  writeFileSync(path, newer);
  await pipe.writeFile(newerPin);
  await pipe.close();
  const { dk, header } = await opening;
  dk.fill(0);
  t.equal(header.generation, 2);
  // Every init reads all pins.
  rmSync(pin);
});

t.test("a changed commitment is damage where the copy has the pinned one", async (t) => {
  const { backing, header, path, pin } = await volume();
  const other = Buffer.alloc(32, 1).toString("base64");
  writeFileSync(path, readFileSync(path, "utf8").replace(header.commitment, other));
  const { code, line } = await refusal(backing, MOUNT);
  t.equal(code, "Damaged");
  t.match(line, /commits to another key than its copy and .*--use-previous-header$/);
  t.notMatch(line, "remove the pin");
  const { dk, warnings } = await openVolume(backing, { ...MOUNT, usePreviousHeader: true });
  dk.fill(0);
  t.match(warnings, [/put back from generation/]);
  t.equal(pinned(pin).commitment, header.commitment);
});

t.test(
  "a damaged header: the previous generation is offered, taken when asked for, never silently",
  async (t) => {
    const { backing, path, pin } = await volume();
    const previous = readFileSync(`${path}.bak`);
    writeFileSync(path, "{}");
    const refused = await runKmsfs(["key", "check", backing], env);
    t.equal(refused.code, "Damaged");
    t.match(
      refused.stderr,
      /^kmsfs: .*volume.json is damaged: [^;\n]+; generation 1 of 20\d\d-.*Z is in .*volume.json.bak: .*--use-previous-header\n$/,
    );
    t.equal((await refusal(backing, MOUNT)).code, "Damaged", "nor does a mount take it");
    t.equal(readFileSync(path, "utf8"), "{}");

    const read = await openVolume(backing, { ...READ, usePreviousHeader: true });
    t.equal(readFileSync(path, "utf8"), "{}", "reading with it repairs nothing");
    const mounted = await openVolume(backing, { ...MOUNT, usePreviousHeader: true });
    t.ok(read.dk.equals(mounted.dk));
    t.match(mounted.warnings, [/volume.json was put back from generation 1, as generation 2/]);
    t.equal(mounted.header.generation, 2);
    t.same(editHeader(backing).header, mounted.header, "mounting with it does");
    t.same(readFileSync(`${path}.bak`), previous, "and leaves the copy that worked");
    t.equal(pinned(pin).lowestGeneration, 2);
    t.ok((await openVolume(backing, MOUNT)).dk.equals(read.dk), "the option is needed once");
    t.notOk(showsKey(refused.stderr, [read.dk]));
  },
);

t.test("both generations damaged: said so", async (t) => {
  const { backing, path } = await volume();
  writeFileSync(path, "{}");
  writeFileSync(`${path}.bak`, "{}");
  t.match((await refusal(backing, READ)).line, /previous generation cannot be used either/);
  t.match((await refusal(backing, { ...READ, usePreviousHeader: true })).line, /\.bak is damaged too/);
  rmSync(`${path}.bak`);
  t.match((await refusal(backing, READ)).line, /there is no previous generation/);
});

t.test(
  "the pin: an older generation is refused, exactly one less is taken with --use-previous-header",
  async (t) => {
    const { backing, pin } = await volume();
    const raise = (lowestGeneration: number) =>
      writeFileSync(pin, JSON.stringify({ ...pinned(pin), lowestGeneration }), { mode: 0o600 });
    raise(2);
    const rolledBack = await refusal(backing, READ);
    t.equal(rolledBack.code, "PinMismatch");
    t.match(rolledBack.line, /generation 1, this host has seen 2/);
    t.equal((await openVolume(backing, { ...READ, usePreviousHeader: true })).header.generation, 1);
    raise(3);
    t.equal((await refusal(backing, { ...READ, usePreviousHeader: true })).code, "PinMismatch");
  },
);

t.test(
  "the pin: another volume put in the place of a pinned one is refused, whatever uuid it bears",
  async (t) => {
    const own = await volume();
    const foreign = await volume();
    rmSync(foreign.pin);
    copyFileSync(foreign.path, own.path);
    const replaced = await refusal(own.backing, READ);
    t.equal(replaced.code, "PinMismatch");
    t.match(replaced.message, `this host knows volume ${own.header.uuid} there`);
    const commitment = Buffer.alloc(32, 1).toString("base64");
    writeFileSync(own.pin, JSON.stringify({ ...pinned(own.pin), commitment }), { mode: 0o600 });
    own.write(own.header);
    t.match((await refusal(own.backing, READ)).line, /commits to another key than the one pinned/);
  },
);

t.test(
  "the pin: written on a host's first mount, with a word; a new init at a place lets the old one go",
  async (t) => {
    const { backing, header, pin } = await volume();
    rmSync(pin);
    t.ok(await openVolume(backing, READ));
    t.notOk(existsSync(pin), "reading pins nothing");
    const first = await openVolume(backing, MOUNT);
    t.match(first.warnings, [/first mount of volume .* on this host: pinned in/]);
    t.match(pinned(pin), {
      uuid: header.uuid,
      commitment: header.commitment,
      keyArns: [],
      lowestGeneration: 1,
      backing,
    });
    rmSync(backing, { recursive: true });
    t.equal((await runKmsfs(["init", backing, "--keyfile", keyfile], env)).code, "Ok");
    t.equal(pinned(pin).backing, null);
    t.same((await openVolume(backing, MOUNT)).warnings, []);
  },
);

t.test("a pin that cannot be trusted is not ignored", async (t) => {
  const { backing, pin } = await volume();
  const good = readFileSync(pin, "utf8");
  const write = (text: string, mode = 0o600) => {
    rmSync(pin);
    writeFileSync(pin, text, { mode });
  };
  for (const text of [
    "",
    "[]",
    "{}",
    good.replace(/"version": 1/, '"version": 9'),
    good.replace(/"keyArns": \[\]/, '"keyArns": 1'),
  ]) {
    write(text);
    t.equal((await refusal(backing, READ)).code, "PinMismatch", text);
  }
  const umask = process.umask(0);
  write(good, 0o666);
  process.umask(umask);
  t.match((await refusal(backing, READ)).line, /others than its owner can write it/);
  write(good);
  t.ok(await openVolume(backing, READ));
});

t.test("keyfile: its own path is remembered, another can be named, a wrong one is refused", async (t) => {
  const { backing } = await volume();
  const moved = scratch.file("moved");
  renameSync(keyfile, moved);
  const gone = await refusal(backing, READ);
  t.equal(gone.code, "KeyFile");
  t.match(gone.line, `key file ${keyfile} does not exist; name it with --keyfile`);
  t.ok(await openVolume(backing, { ...READ, keyfile: moved }));
  const wrong = scratch.file("wrong");
  writeFileSync(wrong, Buffer.alloc(32, 1), { mode: 0o600 });
  t.equal((await refusal(backing, { ...READ, keyfile: wrong })).code, "WrongKey");
  renameSync(moved, keyfile);
});

t.test("key list needs no key, shows no wrapped one, and says that nothing is verified", async (t) => {
  const { backing, header } = await volume();
  const moved = scratch.file("moved");
  renameSync(keyfile, moved);
  const [slot] = header.slots;
  const plain = await runKmsfs(["key", "list", backing], env);
  t.equal(plain.code, "Ok", plain.stderr);
  t.match(plain.stdout, `keyfile, file ${keyfile}; not KMS`);
  t.match(plain.stdout, /MAC of volume.json is unverified/);
  const json = await runKmsfs(["key", "list", backing, "--json"], env);
  t.match(JSON.parse(json.stdout), {
    uuid: header.uuid,
    macVerified: false,
    slots: [{ id: 1, path: keyfile }],
  });
  t.notOk((plain.stdout + json.stdout).includes(slot?.blob ?? "none"));
  t.equal((await runKmsfs(["key", "list", scratch.file("nowhere")], env)).code, "NotAVolume");
  t.equal((await runKmsfs(["key"], env)).code, "Usage");
  renameSync(moved, keyfile);
});
