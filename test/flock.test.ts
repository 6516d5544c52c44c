import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { flock, LockHeld, withLock } from "../src/flock.js";
import { packageRoot } from "../src/package-root.js";

const directory = mkdtempSync(join(tmpdir(), "kmsfs-flock-"));
t.teardown(() => rmSync(directory, { recursive: true }));
const NOW = { waitSeconds: 0 };

/** Whether another process, flock(1) itself, gets the lock now. */
function free(path: string, how: "-x" | "-s"): boolean {
  return spawnSync("flock", [how, "-n", path, "true"]).status === 0;
}

t.test(
  "a lock keeps others out until it is released, of a file that it makes and of a directory",
  async (t) => {
    for (const path of [join(directory, "made"), directory]) {
      const held = await flock(path, NOW);
      t.ok(existsSync(path));
      t.notOk(free(path, "-s"), path);
      const refused: unknown = await flock(path, NOW).catch((error: unknown) => error);
      t.ok(refused instanceof LockHeld);
      held.release();
      t.ok(free(path, "-x"), path);
    }
    t.ok(statSync(join(directory, "made")).isFile());
  },
);

t.test("shared locks let each other in, and nobody who wants it alone", async (t) => {
  const path = join(directory, "shared");
  const locks = [await flock(path, { ...NOW, shared: true }), await flock(path, { ...NOW, shared: true })];
  t.ok(free(path, "-s"));
  t.notOk(free(path, "-x"));
  for (const lock of locks) lock.release();
  t.ok(free(path, "-x"));
});

t.test("who waits gets it when it is released, which it is also after work that failed", async (t) => {
  const path = join(directory, "waited");
  const first = await flock(path, NOW);
  const waiting = withLock(path, { waitSeconds: 60 }, async () => "done");
  first.release();
  t.equal(await waiting, "done");
  await t.rejects(
    withLock(path, NOW, async () => {
      throw new Error("work");
    }),
    { message: "work" },
  );
  t.ok(free(path, "-x"));
});

t.test("a lock ends with the process that has it, and no child of that one inherits it", async (t) => {
  const path = join(directory, "ended");
  const library = join(packageRoot(), "dist-test/src/flock.js");
  const script = `
    const { flock } = await import(${JSON.stringify(library)});
    const { spawn } = await import("node:child_process");
    await flock(${JSON.stringify(path)}, { waitSeconds: 0 });
    const child = spawn("sleep", ["60"], { stdio: "ignore", detached: true });
    console.log(child.pid);
    process.kill(process.pid, "SIGKILL");`;
  const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  const child = Number(stdout);
  t.ok(free(path, "-x"));
  t.ok(child > 0 && process.kill(child, "SIGKILL"));
});

t.test("what cannot be opened says why", async (t) => {
  await t.rejects(flock(join(directory, "none", "file"), NOW), { message: /ENOENT/ });
});
