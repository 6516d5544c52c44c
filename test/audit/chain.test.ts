/** What is done to a chain behind its writers' backs is found, whatever it is. */

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import t, { type Test } from "tap";
import {
  auditKey,
  firstSessionKey,
  genesis,
  hashOf,
  isSigned,
  nextSessionKey,
} from "../../src/audit/line.js";
import { REFUSED, TAMPER, Trail, UNLOCK } from "./trail.js";

/** A chain of several writers, with unsigned lines in the middle and at the end. */
async function trail(t: Test): Promise<Trail> {
  const trail = new Trail(t);
  await trail.write(UNLOCK, TAMPER);
  await trail.write(REFUSED);
  await trail.write(UNLOCK);
  await trail.write(REFUSED);
  return trail;
}

/** Finds that something is wrong, with the key, and by the hashes and the head alone unless `onlyWithKey`. */
async function found(t: Test, trail: Trail, what: string, onlyWithKey = false): Promise<string[]> {
  const anchors = await trail.anchors();
  const { problems } = await trail.verify(anchors);
  t.ok(problems.length > 0, what);
  if (!onlyWithKey)
    t.ok((await trail.verify(anchors, false)).problems.length > 0, `${what}: without the key too`);
  return problems.map((problem) => problem.what);
}

t.test("a chain as it is written is whole, and says what no signature covers", async (t) => {
  const chain = await trail(t);
  const verdict = await chain.verify(await chain.anchors());
  t.same(verdict.problems, []);
  t.match(verdict, { lines: 6, first: 1, signed: 4, uncovered: 1, notes: [] });
  t.same(verdict.head, await chain.head());
});

t.test("the bytes are what the document says", async (t) => {
  const chain = await trail(t);
  const [first = "", second = ""] = chain.lines();
  t.equal(JSON.parse(first).event, "begin");
  t.equal(JSON.parse(first).prev, createHash("sha256").update(`kmsfs audit v1 ${chain.uuid}`).digest("hex"));
  t.equal(JSON.parse(first).prev, genesis(chain.uuid));
  t.equal(JSON.parse(second).prev, createHash("sha256").update(first).digest("hex"));
  const { session } = JSON.parse(first);
  const key = firstSessionKey(auditKey(chain.dk, chain.uuid), session);
  t.ok(isSigned(first, key));
  t.ok(isSigned(second, nextSessionKey(key)), "each line has a key of its own");
  t.notOk(isSigned(second, key));
});

t.test("any byte of any line changed", async (t) => {
  const chain = await trail(t);
  const good = readFileSync(chain.file);
  const anchors = await chain.anchors();
  await fc.assert(
    fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ mask;
      writeFileSync(chain.file, bad);
      const { problems } = await chain.verify(anchors);
      return problems.length > 0;
    }),
    { numRuns: 100 },
  );
  t.pass("found each time");
});

t.test("lines deleted, repeated, inserted, swapped", async (t) => {
  const chain = await trail(t);
  const good = chain.lines();
  for (let at = 0; at < good.length; at++) {
    chain.put(good.filter((_, i) => i !== at));
    await found(t, chain, `line ${at + 1} deleted`);
    chain.put(good.flatMap((line, i) => (i === at ? [line, line] : [line])));
    await found(t, chain, `line ${at + 1} twice`);
  }
  await fc.assert(
    fc.asyncProperty(fc.shuffledSubarray(good, { minLength: 2 }), async (lines) => {
      fc.pre(lines.join() !== good.join());
      chain.put(lines);
      return (await chain.verify(await chain.anchors())).problems.length > 0;
    }),
    { numRuns: 40 },
  );
});

t.test("a line rewritten with the hashes after it made right again: the signatures tell", async (t) => {
  const chain = await trail(t);
  const lines = chain.lines();
  const forge = (from: number, change: (line: Record<string, unknown>) => object) => {
    const forged = lines.slice(0, from);
    for (const [i, line] of lines.slice(from).entries()) {
      const fields = JSON.parse(line) as Record<string, unknown>;
      const changed = i === 0 ? change(fields) : fields;
      forged.push(JSON.stringify({ ...changed, prev: hashOf(forged.at(-1) ?? "") }));
    }
    chain.put(forged);
    const last = forged.at(-1) ?? "";
    writeFileSync(chain.headFile, `${JSON.parse(last).seq}:${hashOf(last)}`);
  };
  forge(3, (line) => ({ ...line, who: { ...(line.who as object), uid: 4711 } }));
  const what = await found(t, chain, "who tried is another one", true);
  t.match(what.join(), /MAC is wrong/);
  t.same((await chain.verify(await chain.anchors(), false)).problems, [], "hashes alone do not");
  forge(1, ({ session: _, n: __, mac: ___, ...line }) => line);
  await found(t, chain, "a MAC removed", true);
  forge(1, ({ session: _, n: __, mac: ___, ...line }) => ({ ...line, event: "slot-add" }));
  t.match((await found(t, chain, "an unsigned event")).join(), /slot-add has to be signed/);
});

t.test("the tail cut: known by the head, by an anchor, and for ever after the next line", async (t) => {
  const chain = await trail(t);
  const good = chain.lines();
  const anchors = await chain.anchors();
  for (let kept = 0; kept < good.length; kept++) {
    chain.put(good.slice(0, kept));
    const { problems } = await chain.verify(anchors);
    t.match(problems.at(-1)?.what, /the end is missing: head knows line 6/);
  }
  chain.put(good.slice(0, 4));
  await chain.write(UNLOCK);
  const later = await chain.verify(await chain.anchors());
  t.match(
    later.problems.map((problem) => problem.what),
    [/lost its end .*line 6 had been its last/],
  );
  t.equal(later.head?.seq, 8, "no number comes twice");
  writeFileSync(chain.headFile, "");
  chain.put(good.slice(0, 4));
  t.same(
    (await chain.verify()).problems,
    [],
    "without head and anchor it cannot be known: docs/audit.md says so",
  );
});

t.test("the whole file replaced: by another volume's, by an older state, by a new beginning", async (t) => {
  const chain = await trail(t);
  const anchors = await chain.anchors();
  const other = new Trail(t, "11111111-4b5a-4978-8695-a4b3c2d1e0f1");
  for (let i = 0; i < 8; i++) await other.write(UNLOCK);
  chain.put(other.lines());
  const { problems } = await chain.verify();
  t.ok(problems.length >= 8);
  t.match(problems[0]?.what, /of volume 11111111/);

  const own = new Trail(t, chain.uuid);
  for (let i = 0; i < 8; i++) await own.write(UNLOCK);
  chain.put(own.lines());
  t.match((await chain.verify()).problems[0]?.what, /MAC is wrong/, "made with another key");
  const { problems: anchored } = await chain.verify(anchors, false);
  t.match(anchored.at(-1)?.what, /line 6 is not the one that head knows: the chain was replaced/);
});

t.test("the beginning cut off", async (t) => {
  const chain = await trail(t);
  const good = chain.lines();
  for (let cut = 1; cut < good.length; cut++) {
    chain.put(good.slice(cut));
    t.match((await found(t, chain, `${cut} lines`)).join(), /cut off the beginning/);
  }
});
