/** Writers at once, crashes, rotation, full disks, and what the policy makes of them. */

import { execFileSync, spawnSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import t from "tap";
import { REFUSED, TAMPER, Trail, UNLOCK } from "./trail.js";

t.test("many writers at once make one chain", async (t) => {
  const chain = new Trail(t);
  const daemon = chain.auditor(true);
  await Promise.all([
    ...Array.from({ length: 6 }, () => chain.write(UNLOCK, TAMPER)),
    ...Array.from({ length: 6 }, () => chain.write(REFUSED)),
    ...Array.from({ length: 20 }, () => daemon.record(TAMPER)),
  ]);
  await daemon.close();
  const verdict = await chain.verify(await chain.anchors());
  t.same(verdict.problems, []);
  t.equal(verdict.lines, 1 + 12 + 6 + 20);
  t.same(chain.problems, []);
});

t.test("torn by a crash at any byte: it stays, with a word, and the chain goes on", async (t) => {
  const chain = new Trail(t);
  await chain.write(UNLOCK);
  await chain.write(UNLOCK);
  const head = readFileSync(chain.headFile);
  const before = readFileSync(chain.file);
  await chain.write(UNLOCK);
  const whole = readFileSync(chain.file);
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: before.length + 1, max: whole.length - 1 }), async (length) => {
      writeFileSync(chain.file, whole.subarray(0, length));
      writeFileSync(chain.headFile, head);
      const torn = await chain.verify(await chain.anchors());
      await chain.write(UNLOCK);
      const { problems, notes } = await chain.verify(await chain.anchors());
      const kept = readFileSync(chain.file).subarray(0, length).equals(whole.subarray(0, length));
      const said = length === whole.length - 1 || notes.some((note) => note.includes("a crash tore line 4"));
      return torn.problems.length === 0 && problems.length === 0 && kept && said;
    }),
    { numRuns: 20 },
  );
  writeFileSync(chain.file, Buffer.concat([before, Buffer.alloc(100)]));
  writeFileSync(chain.headFile, head);
  await chain.write(UNLOCK);
  t.same((await chain.verify()).problems, [], "nor do zeros after a power loss stop it");
});

t.test("a crash between the line and its head", async (t) => {
  const chain = new Trail(t);
  await chain.write(UNLOCK);
  const head = readFileSync(chain.headFile);
  await chain.write(UNLOCK);
  writeFileSync(chain.headFile, head);
  t.same((await chain.verify(await chain.anchors())).problems, []);
  renameSync(chain.file, `${chain.file}.1`);
  await chain.write(UNLOCK);
  t.same((await chain.verify(await chain.anchors())).problems, [], "even if the file is rotated then");
});

t.test("rotation by name, by date, compressed, by an empty file, by copying", async (t) => {
  const chain = new Trail(t);
  const daemon = chain.auditor(true);
  const both = async () => {
    await daemon.record(TAMPER);
    await chain.write(REFUSED);
  };
  await both();
  renameSync(chain.file, `${chain.file}.1`);
  await both();
  writeFileSync(`${chain.file}.2.gz`, gzipSync(readFileSync(`${chain.file}.1`)));
  rmSync(`${chain.file}.1`);
  renameSync(chain.file, `${chain.file}-20261124`);
  writeFileSync(chain.file, "");
  await both();
  writeFileSync(`${chain.file}.1`, readFileSync(chain.file));
  truncateSync(chain.file);
  await both();
  await daemon.close();
  const verdict = await chain.verify(await chain.anchors());
  t.same(verdict.problems, []);
  t.equal(verdict.lines, 3 * 4);
  rmSync(`${chain.file}.2.gz`);
  const kept = await chain.verify(await chain.anchors());
  t.same(kept.problems, [], "old ones may go");
  t.match(kept.notes, [/lines 1 to 3 are in no file here/]);
  rmSync(`${chain.file}-20261124`);
  renameSync(`${chain.file}.1`, `${chain.file}-20261123`);
  t.same((await chain.verify()).problems, []);
  writeFileSync(
    `${chain.file}.1`,
    readFileSync(`${chain.file}-20261123`, "utf8").split("\n").slice(1).join("\n"),
  );
  rmSync(`${chain.file}-20261123`);
  t.ok((await chain.verify()).problems.length > 0, "a rotated one that lost its beginning");
});

t.test("a full disk: nothing is torn, what could not be written follows", async (t) => {
  const chain = new Trail(t);
  mkdirSync(chain.settings.directory);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", chain.settings.directory]);
  t.teardown(() => spawnSync("umount", ["-l", chain.settings.directory]));
  const daemon = chain.auditor(true);
  await daemon.record(UNLOCK);
  const filler = `${chain.settings.directory}/filler`;
  writeFileSync(filler, "");
  for (let full = false; !full; ) {
    try {
      appendFileSync(filler, Buffer.alloc(4096));
    } catch {
      full = true;
    }
  }
  for (let i = 0; chain.problems.length === 0; i++) await daemon.record({ ...TAMPER, detail: { i } });
  t.match(chain.problems[0], /cannot be written: .*no space/i);
  t.same((await chain.verify(await chain.anchors())).problems, []);
  rmSync(filler);
  await daemon.record(UNLOCK);
  await daemon.close();
  const verdict = await chain.verify(await chain.anchors());
  t.same(verdict.problems, []);
  const told = chain.lines().flatMap((line) => JSON.parse(line).detail?.i ?? []);
  t.same(
    told,
    told.map((_, i) => i),
    "every event is there, in its order",
  );
});

t.test(
  "a chain that cannot be written: `require` refuses, `try` tells; a link or a fifo is not followed",
  async (t) => {
    for (const policy of ["require", "try"] as const) {
      const chain = new Trail(t, undefined, policy);
      mkdirSync(chain.settings.directory);
      execFileSync("mkfifo", [chain.file]);
      const attempt = chain.auditor(true).record(UNLOCK);
      if (policy === "require") await t.rejects(attempt, { code: "AuditFailed" });
      else await attempt;
      rmSync(chain.file);
      execFileSync("ln", ["-s", "/etc/passwd", chain.file]);
      const other = chain.auditor(true).record(UNLOCK);
      if (policy === "require") await t.rejects(other, { code: "AuditFailed" });
      else await other;
      t.equal(chain.problems.length, policy === "try" ? 2 : 0);
    }
  },
);
