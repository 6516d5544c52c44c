/** What `kmsfs report` finds, where it writes, and how it ends. */

import { lstatSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Report } from "../../src/report/facts.js";
import { findingsOf } from "../../src/report/findings.js";
import { headerPath } from "../support/headers.js";
import { TestVolume } from "../support/test-volume.js";

async function reportOf(volume: TestVolume, ...args: string[]): Promise<Report> {
  const { stdout, stderr, code } = await volume.run("report", "--json", ...args);
  if (code !== "Ok") throw new Error(stderr);
  return JSON.parse(stdout) as Report;
}

const ids = ({ findings }: Pick<Report, "findings">, severity: string): string[] =>
  findings.flatMap((finding) => (finding.severity === severity ? [finding.id] : [])).sort();

t.test("findings follow what happened to a volume", async (t: Test) => {
  const volume = await TestVolume.make(t);
  const fresh = await reportOf(volume, volume.backing);
  t.same(ids(fresh, "problem"), []);
  t.same(ids(fresh, "warning"), ["never-checked", "no-kms", "no-recovery"]);
  t.same(ids(fresh, "note"), ["audit-not-anchored", "unverified"]);
  t.match(fresh.volumes, [
    { key: { state: "not-asked" }, pin: { state: "matches" }, trail: { chain: { intact: true } } },
  ]);

  t.equal((await volume.run("verify", volume.backing)).code, "Ok");
  const checked = await reportOf(volume, volume.backing, "--verify");
  t.same(ids(checked, "warning"), ["no-kms", "no-recovery"]);
  t.same(ids(checked, "note"), ["audit-not-anchored"]);
  t.match(checked.volumes, [
    { key: { state: "verified", slot: 1 }, trail: { chain: { withKey: true, intact: true } } },
  ]);

  const wrong = volume.scratch.file("wrong");
  writeFileSync(wrong, Buffer.alloc(32), { mode: 0o600 });
  const refused = await reportOf(volume, volume.backing, "--keyfile", wrong);
  t.match(refused.volumes, [{ key: { state: "failed", code: "WrongKey" } }]);
  t.ok(ids(refused, "warning").includes("not-opened"), "it is written all the same");
  t.ok(ids(refused, "note").includes("refused"));

  const later = (daysOn: number) => {
    const now = new Date(Date.parse(checked.generated) + daysOn * 86_400_000);
    const aged = checked.volumes.map((facts) => ({
      ...facts,
      header: facts.header && {
        ...facts.header,
        slots: facts.header.slots.map((slot) => ({ ...slot, days: slot.days + daysOn })),
      },
    }));
    return ids({ findings: findingsOf(aged, checked.auditing, checked.limits, now) }, "warning");
  };
  t.same(later(39), ["no-kms", "no-recovery"]);
  t.same(later(41), ["check-age", "no-kms", "no-recovery"]);
  t.same(later(366), ["check-age", "key-age", "no-kms", "no-recovery"]);

  writeFileSync(headerPath(volume.backing), "{");
  const damaged = await reportOf(volume, volume.backing);
  t.same(ids(damaged, "problem"), ["no-header"], "known by its pin");
  rmSync(volume.backing, { recursive: true });
  const gone = await reportOf(volume, fresh.volumes[0]?.uuid ?? "");
  t.same(ids(gone, "problem"), ["no-header"]);
  rmSync(join(volume.scratch.file("log"), `${fresh.volumes[0]?.uuid}.audit`));
  const cut = await reportOf(volume, fresh.volumes[0]?.uuid ?? "");
  t.same(ids(cut, "problem"), ["audit-broken", "no-header"], "the head tells that there was a chain");
});

t.test("without names: all that this host knows; a mount point names its volume", async (t) => {
  const volume = await TestVolume.make(t);
  const other = volume.scratch.file("other");
  t.equal((await volume.run("init", other, "--keyfile", volume.keyfile)).code, "Ok");
  await volume.up(t);
  const all = await reportOf(volume);
  // This machine may have mounts of others, whose records are elsewhere.
  const ours = all.volumes.filter(({ backing }) => backing?.startsWith(volume.scratch.path));
  t.same(ours.map(({ backing }) => backing).sort(), [volume.backing, other].sort());
  t.match(ours.find(({ backing }) => backing === volume.backing)?.mounts, [
    { dir: volume.dir, condition: "mounted" },
  ]);
  const [one, ...more] = (await reportOf(volume, volume.dir)).volumes;
  t.equal(one?.backing, volume.backing);
  t.same(more, []);
  await volume.down(t);
});

t.test("the file: whole, private, and never in the place of something else", async (t) => {
  const volume = await TestVolume.make(t);
  const file = (name: string) => volume.scratch.file(name);
  const write = (to: string, ...more: string[]) => volume.run("report", volume.backing, "-o", to, ...more);
  t.equal((await write(file("page.html"))).code, "Ok");
  t.equal(statSync(file("page.html")).mode & 0o777, 0o600);
  t.match(readFileSync(file("page.html"), "utf8"), /^<!DOCTYPE html>[\s\S]*<\/html>\n$/);
  symlinkSync("page.html", file("latest"));
  t.equal((await write(file("latest"), "--json")).code, "Ok", "a report takes the place of a report");
  t.ok(lstatSync(file("latest")).isSymbolicLink());
  t.equal((JSON.parse(readFileSync(file("page.html"), "utf8")) as Report).kmsfsReport, 1);
  t.equal((await write(file("page.html"))).code, "Ok");

  writeFileSync(file("letter.html"), "<!DOCTYPE html>\n<p>Dear auditor");
  const refused = await write(file("letter.html"));
  t.equal(refused.code, "Usage");
  t.match(refused.stderr, /is no report of kmsfs; name another file, or give --force\n$/);
  t.match(readFileSync(file("letter.html"), "utf8"), "Dear auditor");
  t.equal((await write(file("letter.html"), "--force")).code, "Ok");
  t.notMatch(readFileSync(file("letter.html"), "utf8"), "Dear auditor");
  t.equal((await write(volume.scratch.path)).code, "Usage", "a directory");
  t.equal((await write("/dev/null", "--force")).code, "Usage", "a device");
  t.equal((await write(file("none/page.html"))).code, "Usage");
  t.same(
    readdirSync(volume.scratch.path).filter((name) => name.endsWith(".new")),
    [],
  );

  const piped = await write("-");
  t.match(piped.stdout, /^<!DOCTYPE html>[\s\S]*<\/html>\n$/);
  t.match(
    (await volume.run("report", volume.backing)).stdout,
    /^<!DOCTYPE html>/,
    "into a pipe without being told",
  );
});

t.test("exit codes", async (t) => {
  const volume = await TestVolume.make(t);
  t.equal((await volume.run("report", volume.backing, "--json")).code, "Ok");
  const checked = await volume.run("report", volume.backing, "--json", "--check");
  t.equal(checked.code, "Findings");
  t.equal((JSON.parse(checked.stdout) as Report).volumes.length, 1, "the report is written");
  t.equal((await volume.run("report", volume.scratch.path, "--json")).code, "NotAVolume");
  t.equal((await volume.run("report", "--json", "--max-key-age", "soon")).code, "Usage");
  writeFileSync(volume.scratch.file("etc/audit.json"), "{");
  const unset = await reportOf(volume, volume.backing);
  t.ok(ids(unset, "problem").includes("audit-settings"), "settings that cannot be used are a finding");
});
