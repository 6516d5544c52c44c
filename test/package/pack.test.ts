/** The npm package: what is in it, and that it works where nothing but Node is. */

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import t, { type Test } from "tap";
import { packageRoot } from "../../src/package-root.js";
import { Scratch } from "../support/run-kmsfs.js";

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

const scratch = new Scratch();
t.teardown(() => scratch.remove());

/** A PATH with node, sh, coreutils, util-linux and attr: no compiler, no cargo, no git. */
const tools = scratch.file("tools");
mkdirSync(tools);
for (const tool of ["sh", "env", "mount", "umount", "findmnt", "flock", "cat", "getfattr", "setfattr"]) {
  const found = spawnSync("sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).stdout.trim();
  symlinkSync(found, join(tools, tool));
}
writeFileSync(join(tools, "node"), `#!/bin/sh\nexec '${process.execPath}' "$@"\n`, { mode: 0o755 });

/** npm with the settings of this machine, and without the instruments that tap puts into every process's environment. */
function npm(args: readonly string[], cwd: string): string {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const run = spawnSync("npm", [...args], { cwd, env, encoding: "utf8", maxBuffer: 2 ** 26 });
  if (run.status !== 0) throw new Error(`npm ${args.join(" ")}: ${run.stderr}`);
  return run.stdout;
}

/** What prepack builds was built before the tests: run here, it would write under the feet of other tests. */
function pack(): Packed {
  const shrinkwrap = join(packageRoot(), "scripts/shrinkwrap.mjs");
  t.teardown(() => rmSync(join(packageRoot(), "npm-shrinkwrap.json"), { force: true }));
  spawnSync(process.execPath, [shrinkwrap], { cwd: packageRoot() });
  const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", scratch.path];
  const answer: unknown = JSON.parse(npm(args, packageRoot()));
  rmSync(join(packageRoot(), "npm-shrinkwrap.json"));
  // npm 10 answers with a list, npm 11 with an object whose names are those of the packages.
  const [packed] = Object.values(answer as object) as Packed[];
  if (packed === undefined) throw new Error("npm pack packed nothing");
  return packed;
}

const packed = pack();
const paths = packed.files.map(({ path }) => path);

t.test("the package holds what it needs", (t) => {
  for (const path of [
    "dist/cli/main.js",
    "dist/mount/daemon-main.js",
    "native/engine/protocol.schema.json",
    `prebuilt/linux-${process.arch}/kmsfs-engine`,
    "native/Cargo.lock",
    "native/engine/src/main.rs",
    "scripts/build-engine.sh",
    "scripts/mount.kmsfs",
    "systemd/kmsfs@.service",
    "share/man/man1/kmsfs.1",
    "share/man/man8/mount.kmsfs.8",
    "share/bash-completion/completions/kmsfs",
    "docs/exit-codes.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "THIRD-PARTY-NOTICES.txt",
    "npm-shrinkwrap.json",
  ])
    t.ok(paths.includes(path), path);
  const executable = packed.files
    .filter(({ mode }) => (mode & 0o111) !== 0)
    .map(({ path }) => basename(path));
  for (const name of ["main.js", "kmsfs-engine", "build-engine.sh", "mount.kmsfs"])
    t.ok(executable.includes(name), name);
  t.end();
});

t.test("and nothing else: no tests, no build directory, no sources of TypeScript, no secrets", (t) => {
  const known =
    /^(dist\/.+\.js|docs\/.+|native\/(Cargo\.(toml|lock)|clippy\.toml|\w+\/Cargo\.toml|\w+\/src\/.+\.rs|engine\/protocol\.schema\.json)|prebuilt\/linux-\w+\/kmsfs-engine|share\/.+|systemd\/.+|scripts\/(build-engine\.sh|mount\.kmsfs)|package\.json|npm-shrinkwrap\.json|(README|CHANGELOG|SECURITY)\.md|LICENSE|THIRD-PARTY-NOTICES\.txt)$/;
  t.strictSame(
    paths.filter((path) => !known.test(path)),
    [],
  );
  t.strictSame(
    paths.filter((path) => /(^|\/)\.|\.(test\.js|key|pem|npmrc|log)$/.test(path)),
    [],
  );
  t.ok(packed.size < 4 * 2 ** 20, `${packed.size} bytes`);
  t.end();
});

t.test("every crate of the engine, and each package in the bundle, is named with its licence", (t) => {
  const notices = readFileSync(join(packageRoot(), "THIRD-PARTY-NOTICES.txt"), "utf8");
  for (const name of ["aws-lc-rs", "aws-lc-sys", "rustix", "The GNU C Library", "yargs", "cliui"]) {
    t.match(notices, new RegExp(`^${name}.*\\(.+\\)`, "m"));
  }
  t.end();
});

t.test("packed twice, it is the same", (t) => {
  const first = readFileSync(join(scratch.path, packed.filename));
  t.ok(first.equals(readFileSync(join(scratch.path, pack().filename))));
  t.end();
});

t.test("npm publish would take it", (t) => {
  npm(["publish", "--dry-run", "--ignore-scripts", join(scratch.path, packed.filename)], scratch.path);
  t.end();
});

t.test("installed without scripts and run without a compiler", (t) => {
  const prefix = scratch.file("prefix");
  const archive = join(scratch.path, packed.filename);
  npm(
    ["install", "--global", "--prefix", prefix, "--ignore-scripts", "--prefer-offline", archive],
    scratch.path,
  );
  const installed = join(prefix, "lib/node_modules/kmsfs");

  t.test("the engine is static: it needs no interpreter and no library", (t) => {
    const engine = join(installed, `prebuilt/linux-${process.arch}/kmsfs-engine`);
    const headers = spawnSync("readelf", ["--wide", "--program-headers", "--dynamic", engine], {
      encoding: "utf8",
    });
    t.match(headers.stdout, /\bLOAD\b/);
    t.notMatch(headers.stdout, /INTERP|NEEDED/);
    t.end();
  });

  t.test("init, mount, write, umount, verify", { skip: process.getuid?.() !== 0 && "needs root" }, (t) => {
    mkdirSync(scratch.file("mnt"));
    t.teardown(() => spawnSync("umount", ["-i", "-l", scratch.file("mnt")]));
    const kmsfs = (...args: string[]) => runInstalled(t, join(prefix, "bin/kmsfs"), args);
    const [backing, mnt] = [scratch.file("backing"), scratch.file("mnt")];
    t.match(kmsfs("--version"), /^\d+\.\d+\.\d+/);
    kmsfs("init", backing, "--keyfile", scratch.file("key"));
    kmsfs("mount", backing, mnt);
    writeFileSync(join(mnt, "hello"), "world");
    kmsfs("umount", mnt);
    t.match(kmsfs("verify", backing), /files: 1/);
    t.end();
  });

  t.test("where the package has no engine and nothing to build one with, it says what to do", (t) => {
    spawnSync("mv", [join(installed, "prebuilt"), join(installed, "prebuilt.away")]);
    t.teardown(() => spawnSync("mv", [join(installed, "prebuilt.away"), join(installed, "prebuilt")]));
    const { status, stderr } = spawn(join(prefix, "bin/kmsfs"), ["setup", "--root", scratch.file("staged")]);
    t.equal(status, 16, "EngineFailed");
    t.match(
      stderr,
      /^kmsfs: no engine for this machine is in the package, and cargo [^\n]+; install Rust[^\n]+\n$/,
    );
    t.end();
  });
  t.end();
});

t.test("the engine's sources in the package are complete: cargo reads them", (t) => {
  const directory = scratch.file("sources");
  mkdirSync(directory);
  spawnSync("tar", ["-xzf", join(scratch.path, packed.filename), "-C", directory]);
  const manifest = join(directory, "package/native/Cargo.toml");
  const run = spawnSync("cargo", [
    "metadata",
    "--locked",
    "--no-deps",
    "--format-version=1",
    "--manifest-path",
    manifest,
  ]);
  t.equal(run.status, 0, run.stderr.toString());
  t.end();
});

function spawn(program: string, args: readonly string[]) {
  const settings = {
    PATH: tools,
    KMSFS_ETC: scratch.file("etc"),
    KMSFS_RUN: scratch.file("run"),
    KMSFS_LOG: scratch.file("log"),
    AWS_EC2_METADATA_DISABLED: "true",
  };
  const words = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  return spawnSync("env", ["-i", ...words, join(tools, "node"), program, ...args], { encoding: "utf8" });
}

function runInstalled(t: Test, program: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawn(program, args);
  t.equal(status, 0, `kmsfs ${args.join(" ")}: ${stderr}`);
  return stdout;
}
