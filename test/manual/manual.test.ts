/** Help and manual pages: complete, consistent with one another, and clean for the programs that show them. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { COMMANDS } from "../../src/cli/command-names.js";
import { ExitCode } from "../../src/cli/exit-codes.js";
import { everyCommand, spellings } from "../../src/manual/completion-values.js";
import { commandDefinitions } from "../../src/manual/definitions.js";
import { packageRoot } from "../../src/package-root.js";
import { cannotRun } from "../support/programs.js";
import { runKmsfs, Scratch } from "../support/run-kmsfs.js";

const commands = await commandDefinitions();
const scratch = new Scratch();
t.teardown(() => scratch.remove());

const share = mkdtempSync("/var/tmp/kmsfs-test-");
t.teardown(() => rmSync(share, { recursive: true, force: true }));
const written = spawnSync(process.execPath, [join(packageRoot(), "dist-test/src/manual/write.js"), share]);
t.equal(written.status, 0, written.stderr.toString());

const pages = ["man1", "man8"].flatMap((section) =>
  readdirSync(join(share, "man", section)).map((name) => join(share, "man", section, name)),
);

t.test("every command says what it does, describes every argument and shows an example", async (t) => {
  for (const command of everyCommand(commands)) {
    const name = command.path.join(" ");
    t.not(command.describe, "", name);
    for (const { describe } of [...command.positionals, ...command.options]) t.not(describe, "", name);
    if (command.subcommands.length > 0) continue;
    t.not(command.examples.length, 0, `kmsfs ${name} has an example`);
    for (const example of command.examples)
      t.match(example.command, `kmsfs ${name}`, "the example is of the command");
  }
});

t.test("--help shows every option, and where the exit codes are", async (t) => {
  for (const command of everyCommand(commands)) {
    const { stdout, code } = await runKmsfs(["help", ...command.path], scratch.environment());
    t.equal(code, "Ok");
    t.match(stdout, /kmsfs\(1\)/, `kmsfs help ${command.path.join(" ")}`);
    for (const name of command.options.flatMap(spellings)) t.ok(stdout.includes(name), name);
  }
  const { stdout } = await runKmsfs(["--help"], scratch.environment());
  for (const name of COMMANDS) t.match(stdout, new RegExp(`^ {2}kmsfs ${name}\\b`, "m"));
});

t.test("there is a page for every command, and each lists every option", (t) => {
  const expected = ["kmsfs", ...COMMANDS.map((name) => `kmsfs-${name}`)].map((name) => `${name}.1`);
  t.strictSame(readdirSync(join(share, "man/man1")).sort(), expected.sort());
  for (const command of commands) {
    const page = readFileSync(join(share, "man/man1", `kmsfs-${command.path[0]}.1`), "utf8").replaceAll(
      "\\-",
      "-",
    );
    for (const each of everyCommand([command])) {
      for (const name of each.options.flatMap(spellings)) t.ok(page.includes(name), `${each.path}: ${name}`);
    }
  }
  t.end();
});

t.test("kmsfs(1) lists every exit code", (t) => {
  const page = readFileSync(join(share, "man/man1/kmsfs.1"), "utf8");
  for (const [name, code] of Object.entries(ExitCode)) t.match(page, `\\fB${code}\\fR ${name}\n`);
  t.end();
});

t.test(
  "mandoc and groff have nothing to say against the pages",
  { skip: cannotRun("mandoc", "groff") },
  (t) => {
    for (const page of pages) {
      const lint = spawnSync("mandoc", ["-T", "lint", "-W", "warning", page], { encoding: "utf8" });
      t.equal(lint.stdout, "", page);
      t.equal(lint.status, 0, page);
      const groff = spawnSync("groff", ["-man", "-ww", "-Tutf8", "-z", page], { encoding: "utf8" });
      t.equal(groff.stderr, "", page);
    }
    t.end();
  },
);

t.test("what a page shows is what the definitions say", { skip: cannotRun("mandoc") }, (t) => {
  const shown = spawnSync("mandoc", [
    "-T",
    "ascii",
    "-O",
    "width=400",
    join(share, "man/man1/kmsfs-mount.1"),
  ]);
  const text = shown.stdout.toString().replace(/.[\b]/g, "");
  const mount = commands.find(({ path }) => path[0] === "mount");
  for (const note of mount?.notes ?? []) {
    for (const line of note.split("\n")) t.ok(text.includes(line.trim()), line);
  }
  for (const { command } of mount?.examples ?? []) t.ok(text.includes(command), command);
  t.end();
});
