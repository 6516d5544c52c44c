/** Completion, asked of the shells themselves. */

import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { COMMANDS } from "../../src/cli/command-names.js";
import { everyCommand, MOUNT_OPTIONS, spellings } from "../../src/manual/completion-values.js";
import { commandDefinitions } from "../../src/manual/definitions.js";
import { parseMountOptions } from "../../src/mount/options.js";
import { packageRoot } from "../../src/package-root.js";
import { cannotRun } from "../support/programs.js";
import { Scratch } from "../support/run-kmsfs.js";

const scratch = new Scratch();
t.teardown(() => scratch.remove());
const share = scratch.file("share");
spawnSync(process.execPath, [join(packageRoot(), "dist-test/src/manual/write.js"), share]);
const BASH = join(share, "bash-completion/completions/kmsfs");

/** Where files and directories are completed */
const here = scratch.file("here");
mkdirSync(join(here, "a directory"), { recursive: true });
writeFileSync(join(here, "a file"), "");

const definitions = everyCommand(await commandDefinitions());

/** What bash offers for the last word of a line. `setUp` is run first. */
function bash(words: readonly string[], setUp = ""): string[] {
  const script = `${setUp}
source "$1"; shift
cd "$1"; shift
COMP_WORDS=(kmsfs "$@") COMP_CWORD=$# COMP_LINE="kmsfs $*"; COMP_POINT=\${#COMP_LINE}
_kmsfs 2>/dev/null
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = spawnSync("bash", ["--norc", "-c", script, "bash", BASH, here, ...words], {
    encoding: "utf8",
  });
  return stdout.split("\n").filter((line) => line !== "");
}

t.test("bash offers the commands, and what they take", async (t) => {
  t.strictSame(bash([""]).sort(), [...COMMANDS, "help"].sort());
  t.strictSame(bash(["mou"]), ["mount"]);
  t.strictSame(bash(["mount", "--passphrase-f"]), ["--passphrase-file"]);
  t.strictSame(bash(["mount", "--keyfile", "a"]).sort(), ["a directory", "a file"], "files");
  t.strictSame(bash(["mount", "a"]), ["a directory"], "directories");
  t.strictSame(bash(["mount", "-o", "nowr"]), ["nowriteback"]);
  t.strictSame(bash(["mount", "-o", "ro,nowr"]), ["ro,nowriteback"]);
  // bash itself splits at "=", and replaces what stands behind it
  t.strictSame(bash(["mount", "-o", "ro,mlock=t"]), ["try"]);
  t.strictSame(bash(["key", "lis"]), ["list"]);
  t.strictSame(bash(["umount", "/no mount"]), []);
});

t.test("bash offers every option of every command", async (t) => {
  for (const command of definitions) {
    t.strictSame(
      bash([...command.path, "-"]).sort(),
      [...command.options.flatMap(spellings), "--help"].sort(),
      command.path.join(" "),
    );
  }
});

t.test("words that are values of options are no places of the command", async (t) => {
  t.strictSame(bash(["--help", "mou"]), ["mount"]);
  t.strictSame(bash(["export", "--keyfile", "x", "y", "a"]), ["a directory"]);
  t.strictSame(bash(["export", "--keyfile", "x", "y", "z", "a"]), []);
});

t.test("fish offers the same", { skip: cannotRun("fish") }, async (t) => {
  const fish = (line: string): string[] => {
    const script = `source ${share}/fish/vendor_completions.d/kmsfs.fish; cd ${here}; complete -C '${line}'`;
    const { stdout, stderr } = spawnSync("fish", ["--no-config", "-c", script], { encoding: "utf8" });
    t.equal(stderr, "");
    return stdout.split("\n").flatMap((text) => (text === "" ? [] : [text.split("\t")[0] ?? ""]));
  };
  t.strictSame(fish("kmsfs ").sort(), [...COMMANDS, "help"].sort());
  t.strictSame(fish("kmsfs mount --passphrase-f"), ["--passphrase-file"]);
  t.strictSame(fish("kmsfs mount -o ro,nowr"), ["ro,nowriteback"]);
  t.strictSame(fish("kmsfs key lis"), ["list"]);
});

/** A key of its own completes, tells what stands on the line then, and clears it: nothing depends on timing. */
const ZSH = `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; fpath=($1/zsh/site-functions \\$fpath); autoload -U compinit; compinit -u -D; cd $2"
zpty -w z 'probe() { zle complete-word; print -r -- "G"OT:"$BUFFER":END; zle kill-buffer }; zle -N probe; bindkey ^X probe'
zpty -w z 'print REA""DY'
zpty -r z out '*READY*'
for line in "\${@[3,-1]}"; do
  zpty -w -n z "$line"$'\\x18'
  zpty -r z out '*GOT:*:END*'
  out=\${out##*GOT:}
  print -r -- "\${out%%:END*}"
done`;

t.test("zsh completes the line", { skip: cannotRun("zsh") }, async (t) => {
  const lines = new Map([
    ["kmsfs mou", "kmsfs mount"],
    ["kmsfs mount --passphrase-f", "kmsfs mount --passphrase-file"],
    ["kmsfs mount -o allow_o", "kmsfs mount -o allow_other"],
    ["kmsfs key lis", "kmsfs key list"],
    ["kmsfs help exp", "kmsfs help export"],
  ]);
  const args = ["-f", "-c", ZSH, "zsh", share, here, ...lines.keys()];
  const { stdout } = spawnSync("zsh", args, { encoding: "utf8", timeout: 60_000 });
  t.strictSame(
    stdout
      .trim()
      .split("\n")
      // A comma that the next key would take away again
      .map((line) => line.trim().replace(/,$/, "")),
    [...lines.values()],
  );
});

t.test("every mount option that is offered is one", (t) => {
  for (const option of MOUNT_OPTIONS) {
    t.doesNotThrow(() => parseMountOptions([option.replace(/=$/, "=64M")]), option);
  }
  t.end();
});
