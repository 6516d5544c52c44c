/** What every command prints, writes and passes on: no key, but a recovery key on the one standard output it is meant for. */

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { kmsFixture } from "../support/kms-fixture.js";
import { runKmsfs, showsKey } from "../support/run-kmsfs.js";
import { kill } from "../support/test-volume.js";

function filesBelow(dir: string): string[] {
  const names = readdirSync(dir, { recursive: true, encoding: "utf8" });
  return names.map((name) => join(dir, name)).filter((path) => statSync(path).isFile());
}

t.test("no command shows a key", { skip: process.getuid?.() !== 0 && "needs root" }, async (t) => {
  const { scratch, kms, other, env, volume } = await kmsFixture(t);
  const places = { KMSFS_RUN: scratch.file("run"), KMSFS_LOG: scratch.file("log") };
  const dir = scratch.file("mnt");
  mkdirSync(dir);
  const outputs: string[] = [];
  const run = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await runKmsfs(args, { ...env, ...places, KMSFS_DEBUG: "1" });
    t.equal(code, "Ok", `${args.join(" ")}: ${stderr}`);
    outputs.push(stderr, args.includes("--recovery") ? "" : stdout);
    return stdout;
  };
  const recoveryKey = (await run("key", "add", volume, "--recovery")).trim();
  t.match(
    recoveryKey,
    /^([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}$/,
    "that alone is on standard output",
  );
  const paper = scratch.file("paper");
  writeFileSync(paper, recoveryKey, { mode: 0o600 });

  await run("mount", volume, dir, "-o", "debug");
  const [status] = JSON.parse(await run("status", dir, "--json")).mounts as {
    daemonPid: number;
    enginePid: number;
  }[];
  const pids = [status?.daemonPid ?? 0, status?.enginePid ?? 0];
  t.teardown(() => pids.forEach(kill));
  const processes = pids.flatMap((pid) =>
    ["cmdline", "environ"].map((name) => readFileSync(`/proc/${pid}/${name}`, "latin1")),
  );
  writeFileSync(join(dir, "file"), "content");
  await run("key", "check", dir, "--passphrase-file", paper);
  await run("key", "add", dir, "--new-kms-key", other.arn);
  await run("key", "rotate", dir, "1");
  await run("key", "list", dir, "--json");
  await run("key", "remove", dir, "3");
  for (const command of ["status", "metrics"]) await run(command, dir);
  await run("scrub", dir, "--wait", "--json");
  await run("umount", dir);
  await run("verify", volume, "--json");
  await run("export", volume, scratch.file("out"));
  await run("audit", "show", volume, "--json");
  await run("audit", "verify", volume);
  await run("audit", "head", volume);
  await run("report", "--out-file", scratch.file("report.html"), volume);

  const files = [places.KMSFS_LOG, scratch.file("etc"), volume].flatMap(filesBelow);
  const written = [...files, scratch.file("report.html")].map((path) => readFileSync(path, "latin1"));
  const secrets = [...kms.keys.handedOut, Buffer.from(recoveryKey)];
  t.ok(kms.keys.handedOut.length > 0);
  for (const [what, texts] of Object.entries({ outputs, processes, written })) {
    t.notOk(
      texts.some((text) => showsKey(text, secrets)),
      what,
    );
  }
  t.notOk(
    [...outputs, ...processes, ...written].some((text) =>
      text.replaceAll("-", "").includes(recoveryKey.replaceAll("-", "")),
    ),
    "nor the recovery key without its dashes",
  );
});
