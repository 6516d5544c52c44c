/**
 * Writes the licences of what is linked into the engine: every crate of its dependency graph for this platform, with the
 * texts that its package carries, and the two libraries that come with the toolchain. And of the packages of npm that are
 * bundled into dist/ (scripts/bundle.mjs).
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const [out = "THIRD-PARTY-NOTICES.txt"] = process.argv.slice(2);
const ROOT = "kmsfs-engine";
const PLATFORM = `${process.arch === "arm64" ? "aarch64" : "x86_64"}-unknown-linux-gnu`;
const TOOLCHAIN = `The Rust standard library (MIT OR Apache-2.0), https://github.com/rust-lang/rust
The GNU C Library (LGPL-2.1-or-later), https://sourceware.org/glibc/: a prebuilt engine is linked with it statically.
    To link the engine with another C library, change what you like and run scripts/build-engine.sh of this package,
    which carries the engine's whole source.`;

const metadata = JSON.parse(
  execFileSync(
    "cargo",
    [
      "metadata",
      "--locked",
      "--format-version=1",
      "--filter-platform",
      PLATFORM,
      "--manifest-path",
      "native/Cargo.toml",
    ],
    { encoding: "utf8", maxBuffer: 2 ** 28, stdio: ["ignore", "pipe", "inherit"] },
  ),
);

const packages = new Map(metadata.packages.map((each) => [each.id, each]));
const nodes = new Map(metadata.resolve.nodes.map((node) => [node.id, node]));

/** What ends up in the binary: neither tests nor what only builds. */
function linked(id, seen) {
  if (seen.has(id)) return seen;
  seen.add(id);
  for (const { pkg, dep_kinds: kinds } of nodes.get(id).deps) {
    if (kinds.some(({ kind }) => kind === null) && !isMacro(packages.get(pkg))) linked(pkg, seen);
  }
  return seen;
}

function isMacro({ targets }) {
  return targets.some(({ kind }) => kind.includes("proc-macro"));
}

function licenceTexts({ manifest_path: manifest }) {
  const directory = dirname(manifest);
  return readdirSync(directory)
    .filter((name) => /^(licen[cs]e|copying|copyright|notice)/i.test(name))
    .sort()
    .flatMap((name) => {
      try {
        return [readFileSync(join(directory, name), "utf8").trimEnd()];
      } catch {
        // A directory of that name.
        return [];
      }
    });
}

/** The packages of npm that something of went into the bundle, as crates are described. */
function bundled() {
  const inputs = JSON.parse(readFileSync("node_modules/.kmsfs-bundle.json", "utf8"));
  const names = inputs.map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))].sort().map((name) => {
    const manifest = `node_modules/${name}/package.json`;
    const { version, license, repository } = JSON.parse(readFileSync(manifest, "utf8"));
    return {
      name,
      version,
      license,
      repository: typeof repository === "string" ? repository : repository?.url,
      manifest_path: manifest,
    };
  });
}

const root = metadata.packages.find(({ name }) => name === ROOT);
const crates = [...linked(root.id, new Set())]
  .map((id) => packages.get(id))
  .filter(({ source }) => source !== null)
  .sort((a, b) => (a.name < b.name ? -1 : 1));
const packed = bundled();
const unlicensed = [...crates, ...packed].filter(({ license, license_file: file }) => !license && !file);
if (unlicensed.length > 0) throw new Error(`no licence: ${unlicensed.map(({ name }) => name).join(", ")}`);

/** Each text once, with the crates that carry it. */
const texts = new Map();
for (const crate of [...crates, ...packed]) {
  for (const text of licenceTexts(crate)) texts.set(text, [...(texts.get(text) ?? []), crate.name]);
}

const rule = "=".repeat(100);
const line = ({ name, version, license, repository }) =>
  `${name} ${version} (${license})${repository ? `, ${repository}` : ""}`;
const sections = [...texts].map(([text, names]) => `${rule}\n${names.join(", ")}\n${rule}\n${text}`);
const text = `kmsfs is under the licence in LICENSE. Its engine is linked with:

${[...crates.map(line), TOOLCHAIN].join("\n")}

Its commands hold parts of:

${packed.map(line).join("\n")}

${sections.join("\n\n")}
`;
writeFileSync(out, text);
