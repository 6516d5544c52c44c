/**
 * Makes dist/ of src/: the programs, with what they share in chunks. Loading some hundred files was a fifth of a command's
 * time (docs/decisions/0013). The packages of `dependencies` stay outside; yargs is inside. What went in is written to
 * node_modules/.kmsfs-bundle.json, for the licences (scripts/third-party.mjs).
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import standalone from "ajv/dist/standalone/index.js";
import { build } from "esbuild";

/** What is started by its path. */
const PROGRAMS = ["cli/main", "manual/write", "metrics/document", "mount/daemon-main"];
const OUT = "dist";

/** In the place of src/mount/validators.ts: the same functions, compiled. */
const validators = {
  name: "validators",
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/mount\/validators\.ts$/ }, () => {
      const options = { strict: false, validateFormats: false, code: { source: true, esm: true } };
      const text = readFileSync("native/engine/protocol.schema.json", "utf8");
      // What is said about them would be in the code.
      const schema = JSON.parse(text, (key, value) =>
        key === "description" && typeof value === "string" ? undefined : value,
      );
      const ajv = new Ajv2020(options).addSchema(schema, "protocol");
      const kinds = ["Control", "Event", "Unlock"].map((kind) => [kind, `protocol#/$defs/${kind}`]);
      return { contents: standalone.default(ajv, Object.fromEntries(kinds)), loader: "js" };
    });
  },
};

const { dependencies, optionalDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
const { metafile } = await build({
  entryPoints: PROGRAMS.map((program) => `src/${program}.ts`),
  outdir: OUT,
  outbase: "src",
  chunkNames: "chunks/[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  sourcemap: true,
  sourcesContent: false,
  external: Object.keys({ ...dependencies, ...optionalDependencies }),
  // yargs's own measures emoji with tables that take as long to load as all the rest of a command.
  alias: { "string-width": "./src/cli/text-width.ts" },
  plugins: [validators],
  metafile: true,
  logLevel: "warning",
});

const made = new Set(Object.keys(metafile.outputs));
const stale = (entry) => entry.isFile() && !made.has(join(entry.parentPath ?? entry.path, entry.name));
for (const entry of readdirSync(OUT, { recursive: true, withFileTypes: true })) {
  if (stale(entry)) rmSync(join(entry.parentPath ?? entry.path, entry.name));
}
writeFileSync("node_modules/.kmsfs-bundle.json", JSON.stringify(Object.keys(metafile.inputs)));
