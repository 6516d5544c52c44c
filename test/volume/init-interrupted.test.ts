/** Ctrl-C in `kmsfs init`: a whole volume, or nothing. */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import t, { type Test } from "tap";
import { runKmsfs, Scratch, spawnKmsfs } from "../support/run-kmsfs.js";
import { until } from "../support/until.js";

const KILLER = pathToFileURL(
  join(dirname(fileURLToPath(import.meta.url)), "../support/kill-at-call.js"),
).href;
const skip = process.getuid?.() !== 0 && "needs root";
const NOTHING = /^kmsfs: interrupted: no volume was made in [^\n]+; nothing was left behind; run it again\n$/;

function fresh(t: Test): Scratch {
  const scratch = new Scratch();
  t.teardown(() => scratch.remove());
  return scratch;
}

t.test("by SIGINT at every call that changes a directory", { skip, timeout: 120_000 }, async (t) => {
  const scratch = fresh(t);
  const init = (name: string, more: Record<string, string>) => {
    const env = { ...scratch.environment(), KMSFS_ETC: scratch.file(`etc-${name}`), ...more };
    const args = ["init", scratch.file(name), "--keyfile", scratch.file(`key-${name}`)];
    return runKmsfs(args, env, "", ["--import", KILLER]);
  };
  const counted = await init("whole", { KILL_COUNT: scratch.file("count") });
  t.equal(counted.code, "Ok", counted.stderr);
  const calls = Number(readFileSync(scratch.file("count"), "utf8"));
  t.ok(calls > 8, `${calls} calls`);
  const codes = new Set<string>();
  for (let at = 1; at <= calls; at++) {
    const name = `v${at}`;
    const { code, stdout, stderr } = await init(name, { KILL_AT: String(at), KILL_SIGNAL: "SIGINT" });
    codes.add(code);
    if (code === "Ok") {
      t.same(readdirSync(scratch.file(name)), [".kmsfs"], `call ${at}: a volume`);
      const opened = await runKmsfs(["key", "check", scratch.file(name)], scratch.environment());
      t.equal(opened.code, "Ok", opened.stderr);
    } else {
      t.equal(code, "Interrupted", `call ${at}: ${stderr}`);
      t.match(stderr, NOTHING);
      t.equal(stdout, "");
      t.notOk(existsSync(scratch.file(name)), `call ${at}: nothing is left`);
      t.notOk(existsSync(scratch.file(`key-${name}`)), `call ${at}: no key file is left`);
    }
  }
  t.same([...codes].sort(), ["Interrupted", "Ok"], "early ones stop it, late ones come when it is made");
});

t.test("while it waits for a passphrase, in a directory that was there", { skip }, async (t) => {
  const scratch = fresh(t);
  const backing = scratch.file("there");
  mkdirSync(backing);
  // The last program that init calls before it asks for the key.
  const bin = scratch.file("bin");
  mkdirSync(bin);
  const script = `#!/bin/sh\nPATH=$OTHERS; : >>"${scratch.file("probed")}"; exec setfattr "$@"\n`;
  writeFileSync(join(bin, "setfattr"), script, { mode: 0o755 });
  const env = {
    ...scratch.environment(),
    OTHERS: process.env.PATH ?? "",
    PATH: `${bin}:${process.env.PATH}`,
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const child = spawnKmsfs(["init", backing, "--passphrase-file", "-"], env);
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    const ended = new Promise<number | null>((done) => child.on("close", done));
    await until("it has begun", () => existsSync(scratch.file("probed")));
    child.kill(signal);
    t.equal(await ended, 130, said);
    t.match(said, NOTHING);
    t.same(readdirSync(backing), []);
    rmSync(scratch.file("probed"));
  }
});

t.test("by a signal that also ends the programs it runs", { skip }, async (t) => {
  const scratch = fresh(t);
  const bin = scratch.file("bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "setfattr"), "#!/bin/sh\nkill -INT $PPID; kill -INT $$\n", { mode: 0o755 });
  const env = { ...scratch.environment(), PATH: `${bin}:${process.env.PATH}` };
  const args = ["init", scratch.file("v"), "--keyfile", scratch.file("key")];
  const { code, stderr } = await runKmsfs(args, env);
  t.equal(code, "Interrupted", stderr);
  t.match(stderr, NOTHING);
  t.notOk(existsSync(scratch.file("v")));
});
