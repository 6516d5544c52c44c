import { spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { ScrubStatus } from "../../src/mount/scrub.js";
import { packageRoot } from "../../src/package-root.js";
import { TestVolume } from "../support/test-volume.js";
import { until } from "../support/until.js";

const BLOCK = 4096;

/** Backing files of at least this many bytes. */
function homes(volume: TestVolume, least: number): string[] {
  return readdirSync(volume.backing, { recursive: true, encoding: "utf8" })
    .filter((name) => !name.startsWith(".kmsfs"))
    .map((name) => join(volume.backing, name))
    .filter((path) => statSync(path).isFile() && statSync(path).size >= least);
}

/** Changes one byte of a direct block at home: its header takes the first 4096 bytes. */
function damage(path: string, block: number): void {
  const [fd, at, byte] = [openSync(path, "r+"), BLOCK * (block + 1) + 17, Buffer.alloc(1)];
  readSync(fd, byte, 0, 1, at);
  byte[0] = (byte[0] ?? 0) ^ 1;
  writeSync(fd, byte, 0, 1, at);
  closeSync(fd);
}

/** Not only in the kernel's page cache: a scrub looks at what has reached the engine. */
function writeThrough(path: string, data: Buffer): void {
  const fd = openSync(path, "w");
  writeSync(fd, data);
  fsyncSync(fd);
  closeSync(fd);
}

async function scrub(volume: TestVolume, ...more: string[]): Promise<{ code: string; scrub: ScrubStatus }> {
  const { code, stdout, stderr } = await volume.run("scrub", volume.dir, "--json", ...more);
  if (stdout === "") throw new Error(stderr);
  return { code, scrub: (JSON.parse(stdout) as { scrub: ScrubStatus }).scrub };
}

/** Content that is not the same in any two blocks. */
function content(bytes: number): Buffer {
  return Buffer.from(Uint32Array.from({ length: bytes / 4 }, (_, i) => i * 2654435761).buffer);
}

t.test("a damaged block is found: the file, the block, and nothing else", async (t: Test) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeFileSync(volume.at("large"), content(3_000_000));
  for (let i = 0; i < 40; i++) writeFileSync(volume.at(`small-${i}`), content(20_000));
  await volume.down(t);
  const [large] = homes(volume, 2_000_000);
  damage(large ?? "", 5);
  await volume.up(t);
  const { code, scrub: first } = await scrub(volume, "--wait", "--rate", "0");
  t.equal(code, "Tampered");
  t.match(first.findings, [{ path: "large", place: large, block: 5, detail: /does not authenticate/ }]);
  t.equal(first.findings.length, 1);
  t.equal(first.counts.files, 41);
  t.throws(() => readFileSync(volume.at("large")), { code: "EIO" });
  const tampers = () => volume.logText().match(/ tamper: .*/g) ?? [];
  t.match(tampers(), [/block 5 does not authenticate/]);

  t.comment("and damage that is done while the volume is mounted");
  const [small] = homes(volume, 10_000).filter((path) => path !== large);
  damage(small ?? "", 2);
  const { scrub: second } = await scrub(volume, "--wait");
  t.strictSame(
    second.findings.map(({ place, block }) => [place, block]).sort(),
    [
      [large, 5],
      [small, 2],
    ].sort(),
  );
  t.equal(tampers().length, 2, "what was told of before is not told of again");
  const status = await volume.status();
  t.equal(status.scrub?.lastDone?.findingCount, 2);
  t.notMatch(readFileSync(volume.scratch.file(`log/${status.uuid}.scrub.json`), "utf8"), "small-");
  await volume.down(t);
});

t.test("records, names, targets and headers are verified too", async (t: Test) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeFileSync(volume.at("other"), content(12_000));
  writeFileSync(volume.at("one"), content(8_000));
  await volume.down(t);
  const [other, one] = [
    homes(volume, 14_000)[0] ?? "",
    homes(volume, 10_000).find((p) => statSync(p).size < 14_000) ?? "",
  ];
  // A header of another file, under a record that is in order.
  const header = readFileSync(other).subarray(0, BLOCK);
  const fd = openSync(one, "r+");
  writeSync(fd, header, 0, BLOCK, 0);
  closeSync(fd);
  copyFileSync(other, join(volume.backing, "A".repeat(43)));
  await volume.up(t);
  const { code, scrub: result } = await scrub(volume, "--wait");
  t.equal(code, "Tampered");
  const details = result.findings.map(({ place, detail }) => `${place} ${detail}`).sort();
  t.equal(details.length, 2, details.join("; "));
  t.ok(details.some((text) => text.startsWith(`${one} has the header of another file`)));
  t.ok(details.some((text) => text.includes("A".repeat(43))));
  await volume.down(t);
});

t.test("extended attributes, targets of links and ACLs are verified too", async (t: Test) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const shell = (script: string, ...args: string[]): string => {
    const { status, stdout, stderr } = spawnSync("bash", ["-euc", script, "bash", ...args], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`${script}: ${stderr}`);
    return stdout.trim();
  };
  for (const name of ["attribute", "acl"]) writeFileSync(volume.at(name), "x");
  shell('setfattr -n user.note -v value "$1/attribute"; setfacl -m u:1234:r "$1/acl"', volume.dir);
  shell('ln -s target "$1/link"', volume.dir);
  const places = readdirSync(volume.backing).filter((name) => name !== ".kmsfs");
  shell('ln -s "$(printf "t%.0s" {1..3000})" "$1/far"', volume.dir);
  await volume.down(t);
  await volume.up(t);
  t.equal((await scrub(volume, "--wait")).code, "Ok", "nothing is wrong before");
  await volume.down(t);

  const attributes = 'getfattr --absolute-names -m "^user\\.kmsfs\\." "$1" | grep ^user || true';
  const paths = places.map((name) => join(volume.backing, name));
  const bearer =
    paths.find((path) => !lstatSync(path).isSymbolicLink() && shell(attributes, path) !== "") ?? "";
  shell(
    'setfattr -n "$2" -v 0x0011223344556677889900112233445566778899 "$1"',
    bearer,
    shell(attributes, bearer),
  );
  const listed =
    paths.find((path) => shell('getfacl -cp "$1" 2>/dev/null || true', path).includes("user:1234:r")) ?? "";
  shell('setfacl -m u:1234:rw "$1"', listed);
  const link = paths.find((path) => lstatSync(path).isSymbolicLink()) ?? "";
  shell(
    'record=$(getfattr -h --absolute-names --only-values -n trusted.kmsfs -- "$1" | xxd -p | tr -d "\\n"); rm -- "$1"; ' +
      'ln -s elsewhere "$1"; setfattr -h -n trusted.kmsfs -v "0x$record" -- "$1"',
    link,
  );
  const links = join(volume.backing, ".kmsfs/links");
  const [far = ""] = readdirSync(links);
  const bytes = readFileSync(join(links, far));
  bytes[50] = (bytes[50] ?? 0) ^ 1;
  writeFileSync(join(links, far), bytes);

  await volume.up(t);
  const { code, scrub: result } = await scrub(volume, "--wait");
  t.equal(code, "Tampered");
  const found = result.findings.map(({ path, detail }) => `${path}: ${detail}`).sort();
  t.equal(found.length, 4, found.join("; "));
  for (const name of ["acl", "attribute", "far", "link"]) {
    t.ok(
      found.some((text) => text.startsWith(`${name}:`)),
      `${name}: ${found.join("; ")}`,
    );
  }
  await volume.down(t);
});

t.test("goes on where it was: after a pause, an unmount, and when the engine was killed", async (t: Test) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeThrough(volume.at("large"), content(24_000_000));
  const running = async (least: number): Promise<ScrubStatus> => {
    await until("the scrub says so", async () => ((await volume.status()).scrub?.counts.bytes ?? 0) >= least);
    const { scrub } = await volume.status();
    if (scrub === null) throw new Error("no scrub");
    return scrub;
  };
  const began = await scrub(volume, "--rate", "1M");
  t.equal(began.code, "Ok");
  await running(1 << 20);
  await scrub(volume, "--pause");
  await until("the scrub says so", async () => (await volume.status()).scrub?.state === "paused");
  const paused = (await volume.status()).scrub;
  t.ok((paused?.cursor?.block ?? 0) > 0, "within the file");

  const again = await scrub(volume, "--rate", "1M");
  t.equal(again.scrub.counts.bytes, paused?.counts.bytes, "from there");
  t.equal(again.scrub.started, paused?.started);
  await running((paused?.counts.bytes ?? 0) + (1 << 20));
  await volume.down(t);
  await volume.up(t);
  const interrupted = (await volume.status()).scrub;
  t.equal(interrupted?.state, "interrupted");
  t.ok((interrupted?.cursor?.block ?? 0) > (paused?.cursor?.block ?? 0));

  await scrub(volume, "--rate", "1M");
  await running((interrupted?.counts.bytes ?? 0) + (1 << 20));
  process.kill((await volume.status()).enginePid ?? 0, "SIGKILL");
  await until("the scrub says so", async () => (await volume.statuses()).length === 0);
  await volume.up(t);
  const killed = (await volume.status()).scrub;
  t.equal(killed?.state, "interrupted");
  t.ok((killed?.counts.bytes ?? 0) > (interrupted?.counts.bytes ?? 0));
  const { code, scrub: done } = await scrub(volume, "--wait", "--rate", "0");
  t.equal(code, "Ok");
  t.equal(done.state, "done");
  t.equal(done.counts.files, 1);
  // Each byte once, but for what was read after the last word before the kill: that is a second's worth.
  const whole = statSync(homes(volume, 20_000_000)[0] ?? "").size;
  t.ok(
    done.counts.bytes >= whole * 0.99 && done.counts.bytes <= whole + (4 << 20),
    `${done.counts.bytes} of ${whole}`,
  );
  await volume.down(t);
});

t.test("keeps to its rate", async (t: Test) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeThrough(volume.at("large"), content(24_000_000));
  await scrub(volume, "--rate", "2M");
  for (let looks = 0; looks < 4; looks++) {
    const before = (await volume.status()).scrub?.updated;
    await until("the scrub says so", async () => (await volume.status()).scrub?.updated !== before);
    const status = (await volume.status()).scrub;
    // It may be slower on a busy machine. One group of blocks is read before it is waited for.
    const most = (status?.seconds ?? 0) * (2 << 20) + (2 << 20);
    t.ok((status?.counts.bytes ?? 0) <= most, `${status?.counts.bytes} bytes in ${status?.seconds} s`);
  }
  const stopped = await scrub(volume, "--stop");
  t.equal(stopped.code, "Ok");
  await until("the scrub says so", async () => (await volume.status()).scrub?.state === "stopped");
  await volume.down(t);
});

t.test("no false alarm under writes, truncations, renames and removals", async (t: Test) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const script = join(packageRoot(), "test/mount/scrub-load.py");
  const load = spawn("python3", [script, volume.dir, "7"], { stdio: ["ignore", "ignore", "pipe"] });
  t.teardown(() => load.kill("SIGKILL"));
  let said = "";
  load.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const ended = new Promise<number | null>((done) => load.once("close", done));
  for (let round = 0; round < 8; round++) {
    const { code, scrub: result } = await scrub(volume, "--wait", "--rate", "0");
    if (code !== "Ok") t.fail(`round ${round}: ${JSON.stringify(result.findings)}`);
  }
  load.kill("SIGTERM");
  t.equal(await ended, 0, said);
  t.notMatch(volume.logText(), / tamper: /);
  await volume.down(t);
  const verified = await volume.run("verify", volume.backing, "--keyfile", volume.keyfile);
  t.equal(verified.code, "Ok", verified.stderr + verified.stdout);
});

t.test("bad calls are refused", async (t: Test) => {
  const volume = await TestVolume.make(t);
  t.equal((await volume.run("scrub", volume.dir)).code, "NotMounted");
  await volume.up(t);
  t.equal((await volume.run("scrub", volume.dir, "--rate", "fast")).code, "Usage");
  t.equal((await volume.run("scrub", volume.dir, "--pause", "--wait")).code, "Usage");
  const none = await scrub(volume, "--pause");
  t.equal(none.scrub, null, "nothing to pause");
  t.notOk(existsSync(volume.scratch.file(`log/${(await volume.status()).uuid}.scrub.json`)));
  await volume.down(t);
});
