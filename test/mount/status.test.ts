/** What `kmsfs status` shows of a mount that works, of one that cannot be written any more, and while somebody watches. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import t, { type Test } from "tap";
import { MAIN } from "../support/run-kmsfs.js";
import { smallDisk } from "../support/small-disk.js";
import { TestVolume } from "../support/test-volume.js";
import { until } from "../support/until.js";

interface Watching {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  said(): string;
}

function watch(t: Test, child: ChildProcess): Watching {
  t.teardown(() => child.kill("SIGKILL"));
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  return { child, ended: new Promise((done) => child.on("close", done)), said: () => text };
}

t.test("--watch into a pipe: a line for each mount and look, until it is stopped", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const plain = watch(t, volume.start("status", volume.dir, "--watch", "--interval", "1"));
  const json = watch(t, volume.start("status", volume.dir, "--watch", "--interval", "1", "--json"));
  await until("something was read and written", () => {
    writeFileSync(volume.at("file"), Buffer.alloc(100_000, 7));
    readFileSync(volume.at("file"));
    return /, [1-9]\d* requests\/s, .* written, hits /.test(plain.said());
  });
  await until("two looks as JSON", () => json.said().split("\n").length > 2);
  for (const line of plain.said().trimEnd().split("\n")) t.match(line, new RegExp(`^${volume.dir}[, ]`));
  for (const line of json.said().trimEnd().split("\n")) {
    t.match(JSON.parse(line), { time: /^20.*Z$/, mounts: [{ dir: volume.dir, condition: "mounted" }] });
  }
  await volume.down(t);
  await volume.up(t);
  const before = plain.said().length;
  await until("it goes on with the next mount there", () => plain.said().length > before);
  for (const { child } of [plain, json]) child.kill("SIGINT");
  t.strictSame(await Promise.all([plain.ended, json.ended]), [0, 0]);
  await volume.down(t);
});

t.test("--watch on a terminal draws in place, and Ctrl-C ends it", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const settings = Object.entries(volume.env).map(([name, value]) => `${name}=${value}`);
  const command = `exec env -i ${settings.join(" ")} ${process.execPath} ${MAIN} status --watch --interval 1`;
  // A terminal of script(1)'s, whose own input passes on what is typed.
  const child = spawn("script", ["-qec", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
  const terminal = watch(t, child);
  await until("it has drawn twice", () => terminal.said().split("\x1b[H").length > 2);
  t.match(terminal.said(), "\x1b[Hkmsfs, every 1 s, ");
  t.match(terminal.said(), `${volume.backing} on ${volume.dir}`);
  t.match(terminal.said(), /cache .* of .*, log .* of .*, .* uncommitted, 0 files open/);
  child.stdin.write("\x03");
  t.equal(await terminal.ended, 0);
  await volume.down(t);
});

t.test("what cannot be printed is one line and a code; a reader that has enough is none", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const settings = Object.entries(volume.env).map(([name, value]) => `${name}=${value}`);
  const shell = (script: string) =>
    spawnSync(
      "env",
      ["-i", ...settings, "bash", "-c", `kmsfs() { "${process.execPath}" "${MAIN}" "$@"; }\n${script}`],
      {
        encoding: "utf8",
      },
    );
  for (const command of ["status", "status --json", "status --watch --interval 1", "metrics", "key list"]) {
    const at = command === "key list" ? volume.backing : volume.dir;
    const full = shell(`kmsfs ${command} ${at} >/dev/full`);
    t.equal(full.status, 1, command);
    t.match(full.stderr, /^kmsfs: standard output: ENOSPC[^\n]*; what was to be printed is not whole\n$/);
    const enough = shell(`kmsfs ${command} ${at} | head -c 1 >/dev/null; exit "\${PIPESTATUS[0]}"`);
    t.equal(enough.status, 0, command);
    t.equal(enough.stderr, "");
  }
  await volume.down(t);
});

function must(program: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: ${stderr}`);
}

/** A small disk whose medium, a file in a tmpfs, takes no block that it does not have yet once `filler` fills that. */
function failingDisk(volume: TestVolume): { backing: string; filler: string } {
  const medium = volume.scratch.file("medium");
  mkdirSync(medium);
  must("mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", medium);
  symlinkSync(`${medium}/disk.img`, volume.scratch.file("disk.img"));
  return { backing: smallDisk(volume, 96), filler: `${medium}/filler` };
}

t.test("after a flush that failed: why nothing can be written, in status and metrics", async (t) => {
  let filler = "";
  const volume = await TestVolume.make(t, [], (v) => {
    const disk = failingDisk(v);
    filler = disk.filler;
    return disk.backing;
  });
  await volume.up(t);
  const fd = openSync(volume.at("file"), "w");
  writeSync(fd, "durable");
  fsyncSync(fd);
  t.equal((await volume.status()).readOnly, null);
  spawnSync("sh", ["-c", 'sync; cat /dev/zero >"$1"', "sh", filler]);
  // Within a page of the log that is on the medium already there is room; not for so much.
  writeSync(fd, Buffer.alloc(1_000_000, 1));
  t.throws(() => fsyncSync(fd), "the writer is told");
  try {
    closeSync(fd);
  } catch {
    // It was told before.
  }
  t.throws(() => writeFileSync(volume.at("other"), "x"), { code: /EROFS|EIO/ });
  t.match((await volume.status()).readOnly, /flush failed: /);
  t.match((await volume.run("status", volume.dir)).stdout, /read-only +.*flush failed/);
  t.match((await volume.run("metrics")).stdout, /^kmsfs_mount_failed\{.*\} 1$/m);
  t.equal(readFileSync(volume.at("file"), "utf8").slice(0, 7), "durable", "what can be read can be read");

  const unmounted = await volume.umount();
  t.not(unmounted.code, "Ok", "an unmount that could not write everything does not say it did");
  rmSync(filler);
  const disk = volume.scratch.file("disk");
  must("umount", disk);
  spawnSync("e2fsck", ["-fy", volume.scratch.file("disk.img")]);
  must("mount", "-o", "loop", volume.scratch.file("disk.img"), disk);
  await volume.up(t);
  t.equal(readFileSync(volume.at("file"), "utf8").slice(0, 7), "durable");
  t.equal((await volume.status()).readOnly, null);
  await volume.down(t);
  t.equal((await volume.run("verify", volume.backing)).code, "Ok");
});
