import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ExitCode, isExitCodeName } from "../src/cli/exit-codes.js";
import { UserError } from "../src/errors.js";
import { packageRoot } from "../src/package-root.js";

t.test("docs/exit-codes.md lists exactly the codes that the program has", async (t) => {
  const text = readFileSync(join(packageRoot(), "docs/exit-codes.md"), "utf8");
  const rows = [...text.matchAll(/^\| (\d+) \| (\w+) \|/gm)].map((m) => [m[2], Number(m[1])]);
  t.same(Object.fromEntries(rows), ExitCode);
  t.equal(new Set(Object.values(ExitCode)).size, Object.keys(ExitCode).length, "no code twice");
});

t.test("a UserError is one line, whatever its parts hold", async (t) => {
  const error = new UserError("Usage", "bad name a\nkmsfs: forged", "do\tthis");
  t.equal(error.line, "bad name a kmsfs: forged; do this");
  t.equal(error.exitCode, 2);
  t.equal(isExitCodeName("toString"), false);
});
