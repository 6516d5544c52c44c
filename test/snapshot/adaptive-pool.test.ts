/** How many requests run at once: grown and shrunk by the answers alone, no clock in it. */

import t from "tap";
import { AdaptivePool, forEachAtOnce } from "../../src/snapshot/adaptive-pool.js";

t.test(
  "the limit grows to the most with each success, and by one a round after the first throttling",
  async (t) => {
    const pool = new AdaptivePool(20);
    t.equal(pool.limit, 8);
    for (let i = 0; i < 50; i++) pool.succeeded();
    t.equal(pool.limit, 20);
    pool.throttled(pool.epoch);
    t.equal(pool.limit, 14);
    for (let i = 0; i < 14; i++) pool.succeeded();
    t.equal(pool.limit, 14, "not a whole one yet: 14 successes of a limit just above 14");
    for (let i = 0; i < 3; i++) pool.succeeded();
    t.equal(pool.limit, 15);
  },
);

t.test("refusals of one burst count once, and one request always goes", async (t) => {
  const pool = new AdaptivePool(10);
  const { epoch } = pool;
  for (let i = 0; i < 10; i++) pool.throttled(epoch);
  t.equal(pool.limit, 5);
  for (let i = 0; i < 100; i++) pool.throttled(pool.epoch);
  t.equal(pool.limit, 1);
  t.equal(await pool.run(async () => "done"), "done");
});

t.test("never more than the limit run, and all that wait get their turn", async (t) => {
  const pool = new AdaptivePool(3);
  let [running, most, done] = [0, 0, 0];
  const work = async () => {
    running += 1;
    most = Math.max(most, running);
    await Promise.resolve();
    running -= 1;
    done += 1;
  };
  await Promise.all(Array.from({ length: 50 }, () => pool.run(work)));
  t.strictSame([most, done], [3, 50]);
});

t.test("the first failure stops the drawing of items, and what runs is waited for", async (t) => {
  let [drawn, ended] = [0, 0];
  function* items() {
    for (;;) {
      drawn += 1;
      yield drawn;
    }
  }
  const work = async (item: number) => {
    await Promise.resolve();
    ended += 1;
    if (item === 4) throw new Error("four");
  };
  await t.rejects(
    forEachAtOnce(items(), () => 3, work),
    /four/,
  );
  t.equal(ended, drawn);
  t.ok(drawn < 10);
});
