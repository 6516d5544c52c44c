/**
 * Attacks on recovery: a volume that was cut off in the middle of its work, whose log or files are changed before it is
 * mounted again. Copies of it are attacked, so that recovery finds the files by their ids; test/tamper/handles.test.ts is
 * about handles. docs/threat-model.md has the results.
 */

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { TestVolume } from "../support/test-volume.js";
import { copy } from "./backing.js";
import { crash, found, homesOf, SMALL_LOG, save, segmentInUse } from "./crash.js";
import { type Line, sectionIs } from "./document.js";
import { LOG_ATTACKS } from "./log-attacks.js";
import { chainOf, wrongIn } from "./stage.js";
import { verified } from "./verified.js";

const FILES = ["first", "second", "third"];
const VERSIONS = ["new", "old", "cloned"];

t.test("attacks on recovery", async (t) => {
  const volume = await TestVolume.make(t, SMALL_LOG);
  Object.assign(process.env, volume.env);
  const dirs = Object.fromEntries(
    ["earlier", "between", "clone", "foreign", "trial"].map((name) => [name, volume.scratch.file(name)]),
  ) as Record<"earlier" | "between" | "clone" | "foreign" | "trial", string>;
  await volume.up(t);
  for (const name of FILES) save(volume, name, "old");
  await crash(volume);
  copy(volume.backing, dirs.earlier);
  copy(volume.backing, dirs.clone);
  t.equal((await volume.run("mount", dirs.clone, volume.dir)).code, "Ok");
  for (const name of FILES) save(volume, name, "cloned");
  await crash(volume);
  await volume.up(t);
  for (const name of FILES) {
    save(volume, name, "new");
    if (name === "first") copy(volume.backing, dirs.between);
  }
  const homes = homesOf(volume);
  await crash(volume);
  const other = await TestVolume.make(t, SMALL_LOG);
  await other.up(t);
  for (const name of FILES) save(other, name, "foreign");
  await crash(other);
  copy(other.backing, dirs.foreign);

  const lines: Line[] = [];
  for (const attack of LOG_ATTACKS) {
    rmSync(dirs.trial, { recursive: true, force: true });
    copy(volume.backing, dirs.trial);
    writeFileSync(`${dirs.trial}.outside`, "outside");
    const home = (name: string) => join(dirs.trial, homes.get(name) ?? "");
    attack.act({ ...dirs, backing: dirs.trial, segment: segmentInUse(dirs.trial), home });
    const read = await verified(dirs.trial);
    const told = chainOf(volume).length;
    const mounted = await volume.run("mount", dirs.trial, volume.dir);
    const files = mounted.code === "Ok" ? FILES.map((name) => found(volume, name, VERSIONS)) : [];
    if (mounted.code === "Ok") await volume.down(t);
    const events = wrongIn(chainOf(volume).slice(told));
    const whole = files.length > 0 && files.every((file) => file.endsWith(": new"));
    t.ok(mounted.code === "Ok" || events.length === 1, `${attack.does}: one event: ${events}`);
    const verdict = events.length > 0 ? "D" : whole ? "no effect" : "U";
    t.equal(
      verdict,
      attack.verdict.replace(/:.*/, ""),
      `${attack.does}: ${files} ${events} ${mounted.stderr}`,
    );
    t.notOk(
      files.some((file) => file.endsWith("never there")),
      "nothing that was never there",
    );
    t.equal(readFileSync(`${dirs.trial}.outside`, "utf8"), "outside", "and nothing outside was touched");
    const seen = mounted.code === "Ok" ? files.join("; ") : `mount: exit ${mounted.status} (${mounted.code})`;
    lines.push({
      row: attack.row,
      cells: [
        attack.does,
        whole ? "all as it was synced" : seen,
        [...new Set(events)].join("; ") || "nothing",
        read,
        attack.verdict,
      ],
    });
  }
  sectionIs(t, "log", ["what was done", "what programs see", "events", "`verify`", ""], lines);
});
