/**
 * Volumes of format 1 that earlier builds made, clean and cut off, whole and damaged, opened by this one: by the engine and
 * by the reference reader. scripts/make-corpus.sh makes new ones; those that are there are never written again.
 */

import { mkdirSync } from "node:fs";
import t from "tap";
import { chainOf } from "../tamper/stage.js";
import {
  corpora,
  damage,
  damages,
  kept,
  listed,
  mount,
  readWhole,
  recovered,
  unpacked,
  volumesOf,
} from "./corpus.js";
import { findings, observed } from "./findings.js";

for (const corpus of corpora()) {
  const undamaged = new Map<string, ReturnType<typeof observed>>();

  for (const name of volumesOf(corpus)) {
    t.test(`${corpus}: ${name}`, async (t) => {
      const { tree, recovered: expected } = kept(corpus, name);
      const volume = unpacked(t, corpus, name);
      const out = volume.scratch.file("out");
      mkdirSync(out);
      t.same(await readWhole(volume, out), [], "the reference reader finds nothing wrong");
      t.same(await listed(out), tree, "and exports what was written");
      const { code, stderr } = await mount(volume);
      t.equal(code, "Ok", stderr);
      t.same(await listed(volume.dir), tree, "the engine shows the same");
      undamaged.set(name, observed(volume));
      await volume.down(t);
      t.same(recovered(volume), expected, "commits that were in the log alone");
      t.same(
        chainOf(volume).filter(({ event }) => event === "tamper"),
        [],
        "and finds nothing wrong",
      );
      t.same(await readWhole(volume), [], "nor does the reader after it");
    });
  }

  for (const { what, of, changes, findings: expected } of damages(corpus)) {
    t.test(`${corpus}: ${of}: ${what}`, async (t) => {
      const volume = unpacked(t, corpus, of);
      damage(volume, changes);
      t.same(await findings(t, volume, undamaged.get(of) ?? new Map()), expected);
    });
  }
}
