/** The same cases as awkward.test.ts, where every write goes to the engine at once. */

import t from "tap";
import { runFileCases } from "./python-cases.js";

const root = process.getuid?.() === 0;

t.test("files with -o nowriteback", { skip: !root && "needs root", timeout: 280_000 }, (t) =>
  runFileCases(t, "allow_other,nowriteback"),
);
