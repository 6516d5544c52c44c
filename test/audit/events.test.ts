/** What the commands and the daemon write into the chain, and what `kmsfs audit` says of it. */

import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import t, { type Test } from "tap";
import type { AuditLine } from "../../src/audit/event.js";
import { editHeader } from "../support/headers.js";
import { kmsFixture } from "../support/kms-fixture.js";
import { runKmsfs, showsKey } from "../support/run-kmsfs.js";
import { kill, TestVolume } from "../support/test-volume.js";
import { until } from "../support/until.js";

function chainOf(log: string): AuditLine[] {
  const name = readdirSync(log).find((name) => name.endsWith(".audit")) ?? "";
  const lines = readFileSync(`${log}/${name}`, "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as AuditLine);
}

const events = (lines: readonly AuditLine[]) => lines.map(({ event, outcome }) => `${event} ${outcome}`);

async function whole(t: Test, volume: TestVolume): Promise<void> {
  const verified = await volume.run("audit", "verify", volume.backing);
  t.equal(verified.code, "Ok", verified.stdout + verified.stderr);
  t.match(verified.stdout, /\nthe chain is whole\n$/);
}

t.test("the life of a mount, signed by each process with a session of its own", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  await volume.down(t);
  t.equal((await volume.run("verify", volume.backing)).code, "Ok");
  t.equal((await volume.run("export", volume.backing, volume.scratch.file("out"))).code, "Ok");
  const wrong = volume.scratch.file("wrong");
  writeFileSync(wrong, Buffer.alloc(32), { mode: 0o600 });
  t.equal((await volume.mount("--keyfile", wrong)).code, "WrongKey");
  const lines = chainOf(volume.scratch.file("log"));
  t.same(events(lines), [
    "begin ok",
    "init ok",
    "unlock ok",
    "mount ok",
    "unmount ok",
    "unlock ok",
    "verify ok",
    "unlock ok",
    "export ok",
    "unlock failed",
  ]);
  const [, , unlock, mount, unmount] = lines;
  t.match(unlock, { slot: 1, detail: { purpose: "mount" }, who: { uid: 0, command: /^kmsfs mount / } });
  t.match(mount, { who: { command: /^kmsfs-daemon / }, detail: { dir: volume.dir } });
  t.equal(unmount?.session, mount?.session);
  t.not(unlock?.session, mount?.session);
  t.equal(lines.at(-1)?.code, "WrongKey");
  t.equal(lines.at(-1)?.mac, undefined, "who has no key cannot sign");
  await whole(t, volume);
  const shown = await volume.run("audit", "show", volume.backing, "--last", "2");
  t.match(shown.stdout, /^10 .* unlock failed: WrongKey.*unsigned\n11 .* unlock ok: /);
});

t.test("tampering under a mount, and the engine killed, are the daemon's to tell", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeFileSync(volume.at("file"), Buffer.alloc(50_000, 7));
  await volume.down(t);
  const [sealed = ""] = readdirSync(volume.backing).filter((name) => name !== ".kmsfs");
  const path = `${volume.backing}/${sealed}`;
  const bytes = readFileSync(path);
  bytes[9000] = (bytes[9000] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  await volume.up(t);
  for (let i = 0; i < 5; i++) t.throws(() => readFileSync(volume.at("file")), { code: "EIO" });
  const { enginePid } = await volume.status();
  kill(enginePid ?? 0);
  const log = volume.scratch.file("log");
  await until("the death is told", () => events(chainOf(log)).includes("engine-death failed"));
  const lines = chainOf(log);
  const tamper = lines.filter(({ event }) => event === "tamper");
  t.ok(tamper.length >= 1 && tamper.length <= 3, "told once, then counted");
  t.match(tamper[0], { outcome: "detected", detail: { file: /^[0-9a-f]{32}$/, what: /./ } });
  t.ok(
    tamper.every(({ mac }) => mac !== undefined),
    "signed",
  );
  t.match(lines.at(-1), { event: "engine-death", code: "EngineFailed", detail: { message: /SIGKILL/ } });
  await until("the mount is gone", async () => (await volume.statuses()).length === 0);
  await whole(t, volume);
});

t.test("a daemon that was killed leaves a mount without an end, which is said", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const { daemonPid } = await volume.status();
  kill(daemonPid ?? 0);
  await volume.down(t);
  const verified = await volume.run("audit", "verify", volume.backing);
  t.equal(verified.code, "Ok", verified.stderr);
  t.match(verified.stdout, /note: the mount of .* has no end here: it is up, or its daemon was killed/);
});

t.test("a header that was tampered with", async (t) => {
  const volume = await TestVolume.make(t);
  const { header, write } = editHeader(volume.backing);
  write({ ...header, log: { ...header.log, segments: 5 } });
  t.equal((await volume.mount()).code, "Damaged");
  const put = await volume.mount("--use-previous-header");
  t.equal(put.code, "Ok", put.stderr);
  await volume.down(t);
  const lines = chainOf(volume.scratch.file("log"));
  t.match(lines[2], { event: "tamper", outcome: "detected", detail: { header: /its MAC is wrong/ } });
  t.same(events(lines.slice(3, 6)), ["unlock ok", "recovery ok", "mount ok"]);
  await whole(t, volume);
});

t.test("`require`: nothing is unlocked or mounted without its line; the anchor elsewhere", async (t) => {
  const volume = await TestVolume.make(t);
  const [anchors, log] = [volume.scratch.file("anchors"), volume.scratch.file("log")];
  const settings = volume.scratch.file("etc/audit.json");
  mkdirSync(anchors);
  const set = (value: unknown) => writeFileSync(settings, JSON.stringify(value));
  set({ policy: "require", anchor: anchors });
  await volume.up(t);
  await volume.down(t);
  const [anchor = ""] = readdirSync(anchors);
  t.equal(readFileSync(`${anchors}/${anchor}`, "utf8"), readFileSync(`${log}/${anchor}`, "utf8"));

  rmSync(log, { recursive: true });
  t.equal((await volume.run("key", "check", volume.backing)).code, "Ok");
  writeFileSync(volume.scratch.file("kept"), `5:${"0".repeat(64)}`);
  const lost = await volume.run("audit", "verify", volume.backing, "--anchor", volume.scratch.file("kept"));
  t.equal(lost.code, "Tampered", "a chain that began anew is not the one that was anchored");
  t.match(lost.stdout, /kept knows line 5/);

  rmSync(log, { recursive: true });
  writeFileSync(log, "no directory");
  const refused = await volume.run("key", "check", volume.backing);
  t.equal(refused.code, "AuditFailed", refused.stderr);
  t.match(refused.stderr, /^kmsfs: the audit chain .* cannot be written: [^\n]+\n$/);
  t.equal((await volume.mount()).code, "AuditFailed");
  t.same(await volume.statuses(), []);
  set({});
  const tried = await volume.run("key", "check", volume.backing);
  t.equal(tried.code, "Ok");
  t.match(tried.stderr, /^kmsfs: warning: the audit chain .* cannot be written/);
  for (const bad of [{ policy: "maybe" }, { polcy: "try" }, { anchor: "relative" }, []]) {
    set(bad);
    t.equal((await volume.run("key", "check", volume.backing)).code, "Usage", JSON.stringify(bad));
  }
  rmSync(log);
  set({ anchor: `${volume.dir}/anchors` });
  t.equal((await volume.mount()).code, "MountPoint", "an anchor inside the mount");
});

t.test("each line goes to the system's log too", async (t) => {
  const volume = TestVolume.bare(t);
  const socket = volume.scratch.file("syslog");
  const received = volume.scratch.file("received");
  const listener = syslogListener(socket, received);
  t.teardown(() => listener.kill());
  await until("it listens", () => existsSync(socket));
  volume.env.KMSFS_SYSLOG = socket;
  const made = await volume.run("init", volume.backing, "--keyfile", volume.keyfile);
  t.equal(made.code, "Ok", made.stderr);
  const text = () => (existsSync(received) ? readFileSync(received, "utf8") : "");
  await until("both lines came", () => text().includes('"event":"init"'));
  const { uuid } = editHeader(volume.backing).header;
  const chain = readFileSync(`${volume.scratch.file("log")}/${uuid}.audit`, "utf8");
  const [begin = "", init = ""] = chain.split("\n");
  t.match(text(), /<85>.*kmsfs-audit.*: \{"seq":1/);
  t.ok(text().includes(begin) && text().includes(init), "whole, so that a collector has the chain");
});

/** Takes datagrams as syslogd does; Node has no such sockets. */
function syslogListener(socket: string, file: string): ChildProcess {
  const program = `import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(sys.argv[1])
while True:
    data = s.recv(1 << 17); open(sys.argv[2], "ab").write(data + b"\\n")`;
  return spawn("python3", ["-c", program, socket, file], { stdio: "ignore" });
}

t.test("KMS: which key, which request, and which slots were refused before", async (t) => {
  const { scratch, kms, key, other, env, volume } = await kmsFixture(t);
  const far = kms.addRegion("us-west-2").keys.add("far");
  const run = (...args: string[]) => runKmsfs(args, env);
  t.equal((await run("key", "add", volume, "--new-kms-key", far.arn)).code, "Ok");
  t.equal((await run("key", "rotate", volume, "1", "--new-kms-key", other.arn)).code, "Ok");
  other.state = "Disabled";
  t.equal((await run("key", "check", volume)).code, "Ok");
  kms.keys.denied.add("kms:Encrypt");
  t.equal((await run("key", "add", volume, "--new-kms-key", key.arn)).code, "KmsDenied");
  t.equal((await run("key", "remove", volume, "1")).code, "Ok");
  const lines = chainOf(scratch.file("log"));
  t.same(events(lines), [
    "begin ok",
    "init ok",
    "unlock ok",
    "slot-add ok",
    "unlock ok",
    "slot-rotate ok",
    "unlock failed",
    "unlock ok",
    "unlock failed",
    "unlock ok",
    "slot-add failed",
    "unlock ok",
    "slot-remove ok",
  ]);
  const requestId = /^[0-9a-f-]{36}$/;
  t.match(lines[1], { slot: 1, keyArn: key.arn, requestId });
  t.match(lines[3], { slot: 2, keyArn: far.arn, requestId });
  t.match(lines[5], { slot: 1, keyArn: other.arn, requestId });
  t.match(lines[6], { slot: 1, keyArn: other.arn, code: "KmsKeyDisabled", requestId });
  t.match(lines[7], { slot: 2, keyArn: far.arn });
  t.match(lines[10], { code: "KmsDenied", requestId });
  t.ok(lines[6]?.mac !== undefined, "a refusal before an opening is signed with it");
  t.notOk(showsKey(JSON.stringify(lines), kms.keys.handedOut));
  const verified = await run("audit", "verify", volume, "--json");
  t.match(JSON.parse(verified.stdout), { intact: true, withKey: true, problems: [] });
  const { uuid: id } = editHeader(volume).header;
  const head = await run("audit", "head", id);
  t.match(head.stdout, /^14:[0-9a-f]{64}\n$/);
  const hashes = await run("audit", "verify", id, "--hashes-only", "--head", head.stdout.trim());
  t.equal(hashes.code, "Ok", hashes.stderr);
  t.equal((await run("audit", "verify", id)).code, "Usage", "a uuid opens no key");
  t.equal((await run("audit", "verify", id, "--hashes-only", "--head", "x")).code, "Usage");
  t.equal((await run("audit", "show", "00000000-0000-4000-8000-000000000000")).code, "Usage");
});

t.test("something else in the place of .kmsfs: damaged, and told of the volume that was there", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  await volume.down(t);
  const control = `${volume.backing}/.kmsfs`;
  const aside = volume.scratch.file("aside");
  renameSync(control, aside);
  const replacements: [string, () => void][] = [
    ["a symbolic link", () => symlinkSync(aside, control)],
    ["a file", () => writeFileSync(control, "")],
  ];
  for (const [is, put] of replacements) {
    put();
    const { code, stderr } = await volume.mount();
    t.equal(code, "Damaged", stderr);
    t.match(stderr, new RegExp(`^kmsfs: ${control} is ${is} and not the directory of a volume; [^\n]+\n$`));
    const last = chainOf(volume.scratch.file("log")).at(-1);
    t.match(last, {
      event: "tamper",
      outcome: "detected",
      detail: { control: `${is} in the place of .kmsfs` },
    });
    rmSync(control);
  }
  renameSync(aside, control);
  await whole(t, volume);
});
