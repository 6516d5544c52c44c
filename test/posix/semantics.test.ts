/** docs/semantics.md and the cases behind it tell of each other. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { packageRoot } from "../../src/package-root.js";
import { CASES, casesOf } from "./python-cases.js";

const document = readFileSync(join(packageRoot(), "docs/semantics.md"), "utf8");
const scripts = readdirSync(CASES).filter((name) => !["common.py", "handles.py"].includes(name));
const cases = scripts.filter((name) => name.endsWith(".py")).flatMap(casesOf);

t.test("every case is named in docs/semantics.md", async (t) => {
  t.ok(cases.length > 50);
  t.same(
    cases.filter((name) => !document.includes(`\`${name}\``)),
    [],
  );
});

t.test("every case that a table names is there", async (t) => {
  const shownBy = document.split("\n").flatMap((line) => line.match(/^\|.*\|([^|]*)\|$/)?.[1] ?? []);
  const named = shownBy.flatMap((cell) =>
    [...cell.matchAll(/`([a-z]\w*_\w*)`/g)].map(([, name = ""]) => name),
  );
  t.ok(named.length > 50);
  t.same(
    named.filter((name) => !cases.includes(name)),
    [],
  );
});
