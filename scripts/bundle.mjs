/**
 * Makes dist/ of src/: the programs, with what they load later in chunks. Loading some hundred files was a fifth of a
 * command's time (docs/decisions/0013). The packages of `dependencies` stay outside; yargs is inside. What went in is written to
 * node_modules/.kmsfs-bundle.json, for the licences (scripts/third-party.mjs).
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import standalone from "ajv/dist/standalone/index.js";
import { build } from "esbuild";

/** What is started by its path, or by cli/main. What stands together shares its chunks. */
const PROGRAMS = [
  ["cli/main"],
  ["cli/all", "manual/write"],
  ["cli/mount-alone"],
  ["mount/daemon-main"],
  ["metrics/document"],
];
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

/** cli/main loads the other programs as they are. */
const programs = {
  name: "programs",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/(all|mount-alone)\.js$/ }, ({ path }) => ({ path, external: true }));
  },
};

const { dependencies, optionalDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
/** Programs with what they load later in chunks. What they share with others of one call would be in chunks as well. */
async function bundle(together) {
  const { metafile } = await build({
    entryPoints: together.map((program) => `src/${program}.ts`),
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
    plugins: [validators, programs],
    metafile: true,
    logLevel: "warning",
  });
  return metafile;
}

const bundles = await Promise.all(PROGRAMS.map(bundle));
const all = (part) => [...new Set(bundles.flatMap((metafile) => Object.keys(metafile[part])))];

const made = new Set(all("outputs"));
const stale = (entry) => entry.isFile() && !made.has(join(entry.parentPath ?? entry.path, entry.name));
for (const entry of readdirSync(OUT, { recursive: true, withFileTypes: true })) {
  if (stale(entry)) rmSync(join(entry.parentPath ?? entry.path, entry.name));
}
writeFileSync("node_modules/.kmsfs-bundle.json", JSON.stringify(all("inputs")));
