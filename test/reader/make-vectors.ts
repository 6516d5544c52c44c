// node dist-test/test/reader/make-vectors.js > docs/format-vectors.json
import { buildVectors } from "./vectors.js";

process.stdout.write(`${JSON.stringify(buildVectors(), null, 2)}\n`);
