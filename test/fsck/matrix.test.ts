/** Each way to damage a volume: named exactly, nothing touched by the report, repaired, and nothing readable lost by that. */

import { lstatSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Finding } from "../../src/fsck/finding.js";
import { counted, look, repair } from "../../src/fsck/fsck.js";
import { MANIFEST } from "../../src/fsck/lost-found.js";
import { type Problem, verify } from "../../src/reader/verify.js";
import { everythingIn } from "../reader/damage.js";
import { FixtureVolume, settingTogether } from "../reader/fixture.js";
import { DAMAGES, type Damage, NAMED_COUNT } from "./damage.js";
import { readable, session, stateOf } from "./fixture-session.js";

const skip = process.getuid?.() !== 0 && "needs root";
const GROUPS = [0, 1, 2, 3, 4];

async function problems(v: FixtureVolume): Promise<Problem[]> {
  const volume = v.open();
  const found: Problem[] = [];
  await verify(volume, { onProblem: (problem) => found.push(problem) });
  volume.close();
  return found;
}

async function readableOf(v: FixtureVolume): Promise<Set<string>> {
  const volume = v.open();
  return readable(volume).finally(() => volume.close());
}

/** What is wanted and was not found, and what was found and is not wanted. */
function compare(t: Test, found: readonly Finding[], wanted: readonly string[], what: string): void {
  const rest = found.map(({ kind, place }) => `${kind} ${place}`);
  // The longest first: "/" is the beginning of every other one.
  const missing = [...wanted]
    .sort((a, b) => b.length - a.length)
    .filter((line) => {
      const at = rest.findIndex((one) => one.startsWith(line));
      if (at >= 0) rest.splice(at, 1);
      return at < 0;
    });
  t.same({ missing, more: rest }, { missing: [], more: [] }, what);
}

function placed([kind, place]: readonly [string, string], scene: string): string {
  if (place.startsWith("//")) return `${kind} ${place.slice(1)}`;
  return `${kind} ${place.startsWith("/") ? `/${scene}${place}` : place}`;
}

function groupOf({ group }: Damage, i: number): number {
  return group ?? (i % 3) + 1;
}

t.test("every damage has its name", (t) => {
  t.equal(DAMAGES.length, NAMED_COUNT);
  t.end();
});

for (const group of GROUPS) {
  const damages = DAMAGES.filter((damage, i) => groupOf(damage, i) === group);
  t.test(damages.map(({ what }) => what).join("; "), { skip }, async (t) => {
    const v = new FixtureVolume();
    t.teardown(() => v.remove());
    const scenes = settingTogether(() =>
      damages.map((damage, i) => {
        const scene = `scene ${i}`;
        return { ...damage, scene, everything: everythingIn(v, v.directory(v.root, scene), true) };
      }),
    );
    const opened = session(v);
    const whole = await readableOf(v);
    for (const { does, everything } of scenes) does(everything);
    const wanted = scenes.flatMap(({ finds, scene }) => finds.map((find) => placed(find, scene)));
    const lasting = scenes.flatMap(({ finds, scene, left = [] }) =>
      finds.filter(([kind]) => left.includes(kind)).map((find) => placed(find, scene)),
    );

    const before = stateOf(v.backing);
    const first = await look(opened, { deep: true });
    t.same(stateOf(v.backing), before, "the report changes nothing");
    compare(t, counted(first.findings), wanted, "each is named, and nothing else");

    const could = await readableOf(v);
    const result = await repair(v.backing, opened, first, {});
    compare(t, counted(result.left.findings), lasting, "what no repair helps is left");
    const can = await readableOf(v);
    t.same(
      [...could].filter((line) => !can.has(line)),
      [],
      "what could be read can be read",
    );
    for (const { scene } of scenes.filter((one) => one.whole)) {
      const ofScene = [...whole].filter((line) => line.startsWith(`/${scene}/`));
      t.same(
        [ofScene.length > 10, ofScene.filter((line) => !can.has(line))],
        [true, []],
        `${scene} is whole`,
      );
    }
    const codes = (await problems(v)).map(({ code }) => code);
    t.same(codes.length > 0, lasting.length > 0, `it verifies, but for what is left: ${codes}`);
    checkKept(t, result.lostAndFound);
  });
}

/** What was taken out is where the manifest says. */
function checkKept(t: Test, directory: string | undefined): void {
  if (directory === undefined) return;
  const lines = readFileSync(join(directory, MANIFEST), "utf8").trimEnd().split("\n");
  const items = lines.flatMap((line) => (JSON.parse(line) as { item?: string }).item ?? []);
  t.doesNotThrow(() => items.map((item) => lstatSync(join(directory, item))), "what was taken out is kept");
}
