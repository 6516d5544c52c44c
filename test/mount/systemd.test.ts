/** The unit, and what a service tells systemd: sd_notify(3) against a socket of the test's own. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { ExitCode } from "../../src/cli/exit-codes.js";
import { packageRoot } from "../../src/package-root.js";
import { MAIN } from "../support/run-kmsfs.js";
import { TestVolume } from "../support/test-volume.js";
import { until } from "../support/until.js";

const UNIT = join(packageRoot(), "systemd/kmsfs@.service");

interface Message {
  readonly pid: number;
  readonly lines: readonly string[];
}

/** Collects what is sent to a socket at `address`; "@..." is one of the abstract kind. */
async function notifySocket(t: Test, address: string): Promise<Message[]> {
  const script = join(packageRoot(), "test/support/notify-socket.py");
  const child = spawn("python3", [script, address], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill());
  const messages: Message[] = [];
  let pending = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (pending + text).split("\n");
    pending = lines.pop() ?? "";
    messages.push(...lines.map((line) => JSON.parse(line) as Message));
  });
  await until("the socket is there", () => messages.length > 0);
  return messages;
}

interface Service {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  said(): string;
}

/** The unit's command, started as systemd starts it: without more environment than it needs, in a journal's stream. */
function startService(t: Test, volume: TestVolume, more: Record<string, string>, options: string): Service {
  const settings = Object.entries({ ...volume.env, ...more }).map(([name, value]) => `${name}=${value}`);
  // stat(1) sees the pipe that is its standard error too.
  const script = 'exec env -i JOURNAL_STREAM="$(stat -L -c %d:%i /proc/self/fd/2)" "$@"';
  const command = [
    process.execPath,
    MAIN,
    "mount",
    "--foreground",
    "-o",
    options,
    volume.backing,
    volume.dir,
  ];
  const child = spawn("sh", ["-c", script, "sh", ...settings, ...command], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  let text = "";
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  return { child, ended: new Promise((done) => child.on("close", done)), said: () => text };
}

function has(messages: readonly Message[], line: string): boolean {
  return messages.some(({ lines }) => lines.includes(line));
}

for (const kind of ["a path", "an abstract name"]) {
  t.test(`READY when the mount is up, a clean stop on SIGTERM; NOTIFY_SOCKET is ${kind}`, async (t) => {
    const volume = await TestVolume.make(t);
    const path = volume.scratch.file("notify");
    const address = kind === "a path" ? path : `@kmsfs${path}`;
    const messages = await notifySocket(t, address);
    const service = startService(t, volume, { NOTIFY_SOCKET: address }, `keyfile=${volume.keyfile}`);
    await until("it is ready", () => has(messages, "READY=1"));
    t.equal((await volume.statuses())[0]?.condition, "mounted", "ready is not said before");
    writeFileSync(volume.at("file"), "content");
    const statuses = messages.flatMap(({ lines }) => lines.filter((line) => line.startsWith("STATUS=")));
    t.strictSame(statuses, [
      "STATUS=asking for the key",
      "STATUS=opening the volume, recovering what a crash left",
      `STATUS=serving ${volume.backing} on ${volume.dir}`,
    ]);
    service.child.kill("SIGTERM");
    t.equal(await service.ended, 0, service.said());
    t.ok(has(messages, "STOPPING=1"));
    t.ok(has(messages, "STATUS=writing out"));
    t.ok(has(messages, "EXTEND_TIMEOUT_USEC=30000000"));
    // systemd-notify(1) sends a barrier in its own name; a manager takes it from anybody.
    const ours = messages.slice(1).filter(({ lines }) => lines[0] !== "BARRIER=1");
    t.ok(
      ours.every(({ pid }) => pid === service.child.pid),
      "all in the main process's name: NotifyAccess=main is enough",
    );
    t.match(
      service.said(),
      /^<6>mounted .* on /m,
      "one line an event, with a priority and no time of its own",
    );
    t.match(service.said(), /^<6>unmounted /m);
    await volume.up(t);
    t.equal(readFileSync(volume.at("file"), "utf8"), "content");
    await volume.down(t);
  });
}

t.test("a failure is one line with a priority and the exit code that the unit looks at", async (t) => {
  const volume = await TestVolume.make(t);
  const wrong = volume.scratch.file("wrong");
  writeFileSync(wrong, Buffer.alloc(32, 7), { mode: 0o600 });
  const messages = await notifySocket(t, volume.scratch.file("notify"));
  const more = { NOTIFY_SOCKET: volume.scratch.file("notify") };
  const service = startService(t, volume, more, `keyfile=${wrong}`);
  t.equal(await service.ended, ExitCode.WrongKey);
  t.match(service.said(), /^<3>kmsfs: key file [^\n]*\n$/);
  t.notOk(has(messages, "READY=1"));
});

t.test("the unit: no code is both retried and incurable, and the incurable ones are these", async (t) => {
  const text = readFileSync(UNIT, "utf8");
  const codes = /^RestartPreventExitStatus=(.*)$/m.exec(text)?.[1]?.split(" ").map(Number) ?? [];
  const names = Object.entries(ExitCode)
    .filter(([, code]) => codes.includes(code))
    .map(([name]) => name);
  t.equal(names.length, codes.length, "every number is one of ours");
  for (const cured of [
    "KmsUnreachable",
    "KmsThrottled",
    "KmsTimeout",
    "NoCredentials",
    "InUse",
    "EngineFailed",
  ]) {
    t.notOk(names.includes(cured), `${cured} is tried again`);
  }
  for (const incurable of ["Usage", "WrongKey", "Damaged", "PinMismatch", "NewerFormat", "KeyFile"]) {
    t.ok(names.includes(incurable), `${incurable} is not`);
  }
});

t.test("systemd-analyze finds the unit in order, and its exposure no worse than it was", async (t) => {
  const volume = TestVolume.bare(t);
  const instance = volume.scratch.file("units/kmsfs@srv-phi.service");
  mkdirSync(dirname(instance));
  // verify looks whether the command is there.
  writeFileSync(instance, readFileSync(UNIT, "utf8").replaceAll("/usr/bin/kmsfs", process.execPath));
  const analyze = (...args: string[]) =>
    spawnSync("systemd-analyze", [...args, instance], { encoding: "utf8" });
  const verified = analyze("verify", "--man=no");
  t.equal(verified.status, 0, verified.stderr);
  t.equal(verified.stderr, "");
  const security = analyze("security", "--offline=true", "--threshold=60");
  t.equal(security.status, 0, security.stdout);
  const escaped = spawnSync("systemd-escape", ["--path", "--template=kmsfs@.service", "/srv/phi"]);
  t.equal(escaped.stdout.toString().trim(), "kmsfs@srv-phi.service");
});
