/** `kmsfs fsck` on volumes that the engine wrote. */

import { spawn } from "node:child_process";
import { readdirSync, readFileSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { kill } from "../support/test-volume.js";
import { describeTree } from "../support/tree.js";
import { until } from "../support/until.js";
import { chainOf } from "../tamper/stage.js";
import { stateOf } from "./fixture-session.js";
import { KINDS, RealVolume } from "./real-volume.js";

const skip = process.getuid?.() !== 0 && "needs root";

/** One volume for all that follows: to make one takes its time. */
let real: RealVolume;

t.before(async () => {
  if (skip === false) real = await RealVolume.make(t);
});

interface Told {
  readonly repaired: { kind: string; place: string; repair: string | null }[];
  readonly left: { kind: string; place: string; repair: string | null }[];
  readonly expected: { kind: string }[];
  readonly lostAndFound: string | null;
}

async function fsck(...more: string[]) {
  const { volume } = real;
  const outcome = await volume.run("fsck", volume.backing, "--json", ...more);
  const told = outcome.stdout === "" ? undefined : (JSON.parse(outcome.stdout) as Told);
  return { ...outcome, told };
}

function kinds(found: readonly { kind: string }[] | undefined): string[] {
  return [...new Set((found ?? []).map(({ kind }) => kind))].sort();
}

async function same(t: Test): Promise<void> {
  await real.volume.up(t);
  const now = describeTree(real.volume.dir).map((line) => line.replace(/ [\d.]+( [0-9a-f]{64})$/, "$1"));
  const was = real.tree.map((line) => line.replace(/ [\d.]+( [0-9a-f]{64})$/, "$1"));
  t.same(real.whole(now), real.whole(was), "what was not damaged is as it was");
  await real.volume.down(t);
}

t.test("who reads keeps a repair away, and not a report", { skip, timeout: 900_000 }, async (t) => {
  const { volume } = real;
  const holder = spawn("flock", ["-s", real.control("lock"), "sh", "-c", "echo held; cat"]);
  t.teardown(() => holder.stdin.end());
  await new Promise((resolve) => holder.stdout.once("data", resolve));
  t.equal((await fsck()).code, "Ok");
  t.match(await volume.run("fsck", volume.backing, "--repair", "-y"), {
    code: "InUse",
    stderr: /being read/,
  });
});

t.test("the header: torn, and put back on demand", { skip, timeout: 900_000 }, async (t) => {
  const { volume } = real;
  const needless = await volume.run("fsck", volume.backing, "--header-from-backup");
  t.match(needless, { code: "Usage", stderr: /volume\.json is whole/ });
  const header = real.control("volume.json");
  truncateSync(header, 100);
  writeFileSync(`${header}.new`, "half a hea");
  const torn = await volume.run("fsck", volume.backing, "--repair", "--yes");
  t.match(
    torn,
    { code: "Damaged", stderr: /volume\.json is damaged.*--header-from-backup takes it\n$/ },
    torn.stderr,
  );
  const before = stateOf(volume.backing);
  const report = await fsck("--header-from-backup");
  t.match(report, {
    code: "Unrepaired",
    told: { left: [{ kind: "volume-header", repair: "put-header-back" }] },
  });
  t.same(kinds(report.told?.expected), ["header-temporary"]);
  t.same(stateOf(volume.backing), before, "the report changes nothing");
  const repaired = await fsck("--header-from-backup", "--repair", "--yes");
  t.match(
    repaired,
    { code: "Repaired", told: { repaired: [{ kind: "volume-header" }], left: [] } },
    repaired.stderr,
  );
  t.match(
    chainOf(volume).filter(({ event }) => event === "recovery"),
    [{ outcome: "ok", detail: { header: "put back", from: 1, generation: 2 } }],
  );
  t.equal((await fsck()).code, "Ok");
});

t.test("report, repair, undo", { skip, timeout: 900_000 }, async (t) => {
  const { volume } = real;
  const lines = chainOf(volume).length;
  const clean = await volume.run("fsck", volume.backing, "--deep");
  t.match(
    clean,
    { code: "Ok", stdout: /^looked at \d+ inodes\nnothing is damaged or left over\n$/ },
    clean.stdout,
  );

  real.damage();
  const before = stateOf(volume.backing);
  const report = await volume.run("fsck", volume.backing, "-n");
  t.equal(report.code, "Unrepaired", report.stderr);
  t.match(
    report.stdout,
    /^damage: \/texts\/spoilt, id [0-9a-f]{32}: .*; repair moves it to lost\+found; .*\(header\)$/m,
  );
  t.match(report.stderr, /^kmsfs: \S+ has 10 things that are not repaired; kmsfs fsck \S+ --repair .*\n$/);
  t.same(kinds((await fsck()).told?.left), KINDS);
  const asked = await volume.run("fsck", volume.backing, "--repair");
  t.match(asked, { code: "Usage", stderr: /--yes/ });
  t.same(stateOf(volume.backing), before, "nothing was touched");

  const repaired = await fsck("--repair", "--yes");
  t.equal(repaired.code, "Repaired", repaired.stderr);
  t.same(repaired.told?.left, []);
  t.same(kinds(repaired.told?.repaired), KINDS);
  t.equal((await fsck()).code, "Ok");
  const verified = await volume.run("verify", volume.backing);
  t.equal(verified.code, "Ok", verified.stdout);
  await same(t);
  t.match(
    chainOf(volume)
      .slice(lines)
      .filter(({ event }) => event === "fsck")
      .map(({ outcome }) => outcome),
    ["ok", "detected", "detected", "ok", "ok"],
  );
  t.equal((await volume.run("audit", "verify", volume.backing)).code, "Ok");

  // As the documents say: mv by the manifest.
  const directory = repaired.told?.lostAndFound ?? "";
  const manifest = readFileSync(join(directory, "manifest.jsonl"), "utf8").trimEnd().split("\n");
  const kept = manifest.map((line) => JSON.parse(line) as { item?: string; from: string; does: string });
  t.notMatch(manifest.join(), /spoilt|texts/, "no name in clear");
  for (const { item, from, does } of kept) {
    if (item !== undefined && does === "set-aside")
      renameSync(join(directory, item), join(volume.backing, from));
  }
  const undone = await fsck();
  t.same(kinds(undone.told?.left), [
    "directory-id",
    "garbage",
    "header",
    "record",
    "target-sidecar",
    "temporary",
  ]);

  const out = volume.scratch.file("out");
  t.equal((await fsck("--repair", "-y")).code, "Repaired");
  t.equal((await volume.run("export", volume.backing, out)).code, "Ok");
  t.notOk(
    readdirSync(out).some((name) => name.includes("lost+found")),
    "lost+found is no part of the tree",
  );
});

t.test("what is mounted is busy; what the engine left is expected", { skip, timeout: 900_000 }, async (t) => {
  const { volume } = real;
  await volume.up(t);
  for (const more of [[], ["--repair", "--yes"]]) {
    const busy = await volume.run("fsck", volume.backing, ...more);
    t.match(busy, { code: "InUse", stderr: /^kmsfs: \S+ is mounted/ });
  }
  writeFileSync(volume.at("written before the end"), "x".repeat(100_000));
  const { daemonPid, enginePid } = await volume.status();
  kill(daemonPid ?? 0);
  kill(enginePid ?? 0);
  await until("both are gone", async () => (await volume.status()).condition === "dead");
  await volume.umount();
  const before = stateOf(volume.backing);
  const { code, told } = await fsck("--repair", "--yes");
  t.equal(code, "Ok");
  t.same(told?.left, []);
  t.ok(kinds(told?.expected).includes("log-recovery"), kinds(told?.expected).join());
  t.same(stateOf(volume.backing), before, "nothing to repair, nothing changed");
  await volume.up(t);
  t.equal(readFileSync(volume.at("written before the end"), "utf8"), "x".repeat(100_000));
  await volume.down(t);
  t.same((await fsck()).told, { ...told, expected: [], inodes: (told as { inodes?: number }).inodes });
});
