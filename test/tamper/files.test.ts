/**
 * The rows of the threat table that are about files, names and attributes: each attack on a real volume, unmounted and
 * mounted, and what applications, the audit chain and `kmsfs verify` say of it. docs/threat-model.md has the results.
 */

import t from "tap";
import { ATTACKS } from "./attacks.js";
import { sectionIs } from "./document.js";
import { FILES_HEAD, filesLines, problemsOf } from "./files-section.js";
import { Stage } from "./stage.js";

t.test("attacks on files, names and attributes", async (t) => {
  const stage = await Stage.build(t);
  const { volume } = stage;
  t.equal((await stage.verify()).code, "Ok", "clean before");

  stage.attack();
  const verified = await stage.verify();
  t.same(verified.elsewhere, [], "verify finds nothing where nothing was done");
  await volume.up(t);
  const offline = await stage.results(t);
  stage.undo();
  t.equal((await stage.verify()).code, "Ok", "clean when undone");

  await volume.up(t);
  stage.attack();
  const mounted = await stage.results(t);
  stage.undo();
  t.equal((await stage.verify()).code, "Ok", "clean when undone");
  await volume.up(t);
  for (const [index, changed] of stage.changes().entries()) {
    t.same([...changed], [], `readable again: ${ATTACKS[index]?.does}`);
  }
  t.equal((await volume.status()).tamperEvents, 0);
  await volume.down(t);

  for (const [when, { results, counted, elsewhere }] of Object.entries({ offline, mounted })) {
    const told = results.reduce((sum, result) => sum + result.told.length, 0);
    t.same(elsewhere, [], `${when}: nothing is told of what was left alone`);
    t.equal(counted, told, `${when}: status counts what the chain tells`);
    for (const [index, attack] of ATTACKS.entries()) {
      const result = results[index] ?? { seen: new Map<string, string>(), told: [] };
      const found = verified.problems[index] ?? [];
      t.same(problemsOf(attack, result, found), [], `${when}: ${attack.row}: ${attack.does}`);
    }
  }
  const outcome = ATTACKS.map((attack, index) => ({
    attack,
    offline: offline.results[index],
    mounted: mounted.results[index],
    verified: verified.problems[index] ?? [],
  }));
  sectionIs(t, "files", FILES_HEAD, filesLines(outcome));
});
