import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import type { Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import { packageRoot } from "../package-root.js";
import { given } from "./unlock-options.js";

interface Arguments {
  prefix: string;
  root: string;
  command: string | undefined;
  package: string | undefined;
  uninstall: boolean;
  "dry-run": boolean;
  "build-engine": boolean;
}

const NOTES = `It writes, and --uninstall removes:
  /sbin/{mount,umount}.kmsfs, .fuse.kmsfs  links to the helper of mount(8), umount(8) and fstab
  PREFIX/lib/systemd/system/               units
  PREFIX/share/man/                        manual pages
  PREFIX/share/                            completions for bash, zsh and fish
  PREFIX/lib/kmsfs/setup.json              the list of what was written
A file that somebody else wrote, or changed since, is neither replaced nor removed.`;

/** Where services and mount(8) find commands. */
const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

export const command: CommandModule<object, Arguments> = {
  command: "setup",
  describe:
    "put mount helper, units, manual pages and completions in place; build the engine where none fits",
  builder: (argv: Argv) =>
    argv
      .option("prefix", {
        type: "string",
        nargs: 1,
        default: "/usr/local",
        describe: "directory above lib and share",
      })
      .option("uninstall", { type: "boolean", default: false, describe: "take everything away again" })
      .option("dry-run", { alias: "n", type: "boolean", default: false, describe: "say what would be done" })
      .option("build-engine", {
        type: "boolean",
        default: false,
        describe: "build the engine from source even where the package carries one",
      })
      .option("root", {
        type: "string",
        nargs: 1,
        default: "/",
        describe: "write below this directory, for packagers",
      })
      .option("command", {
        type: "string",
        nargs: 1,
        describe: "the kmsfs that units call, when it is not this one",
      })
      .option("package", {
        type: "string",
        nargs: 1,
        describe: "where the npm package will lie, when it is not here",
      })
      .example("$0 setup", "make mount -t kmsfs, systemctl and man know kmsfs")
      .example("$0 setup --uninstall", "before npm uninstall -g kmsfs")
      .epilogue(NOTES) as Argv<Arguments>,
  handler: async (argv) => {
    const prefix = absolute(argv.prefix, "--prefix");
    const root = absolute(argv.root, "--root");
    const { SystemFiles } = await import("../setup/system.js");
    const system = new SystemFiles(root, join(prefix, "lib/kmsfs/setup.json"), argv["dry-run"]);
    const changes = argv.uninstall ? system.uninstall() : await install(argv, prefix, system);
    const words = argv["dry-run"] ? WOULD : DONE;
    for (const { kind, path } of changes) console.log(`${words[kind]} ${path}`);
    if (argv["dry-run"]) return;
    // Units that are new or gone; systemd does not look by itself.
    if (root === "/" && existsSync("/run/systemd/system")) spawnSync("systemctl", ["daemon-reload"]);
  },
};

const DONE = {
  write: "wrote",
  keep: "is as it should be:",
  remove: "removed",
  leave: "changed since, left:",
};
const WOULD = { ...DONE, write: "would write", remove: "would remove" };

async function install(argv: Arguments, prefix: string, system: import("../setup/system.js").SystemFiles) {
  const { planFiles, planLauncher } = await import("../setup/plan.js");
  const { buildEngine, hasEngine } = await import("../setup/engine.js");
  if (!argv["dry-run"] && (argv["build-engine"] || !hasEngine())) buildEngine();
  const packageDir = absolute(given(argv.package, "--package") ?? packageRoot(), "--package");
  const named = given(argv.command, "--command");
  if (named !== undefined) {
    return system.install(planFiles({ prefix, packageDir, command: absolute(named, "--command") }));
  }
  const found = commandOnPath();
  if (found !== undefined) return system.install(planFiles({ prefix, packageDir, command: found }));
  const node = process.execPath;
  const launcher = planLauncher(prefix, node, packageDir);
  return system.install([launcher, ...planFiles({ prefix, packageDir, command: launcher.path, node })]);
}

/** This very command, when a service finds both it and Node by its PATH. */
function commandOnPath(): string | undefined {
  const called = process.argv[1] ?? "";
  const known = SYSTEM_PATH.some((directory) => called === join(directory, "kmsfs"));
  const node = SYSTEM_PATH.some((directory) => existsSync(join(directory, "node")));
  return known && node ? called : undefined;
}

function absolute(path: string, option: string): string {
  if (isAbsolute(path)) return resolve(path);
  throw new UserError("Usage", `${option} ${path} is not an absolute path`, "begin it with /");
}
