import { mkdir, readdir, realpath, rmdir } from "node:fs/promises";
import { dirname, relative, resolve } from "node:path";
import type { ArgumentsCamelCase, Argv, CommandModule } from "yargs";
import { errnoOf, messageOf, UserError } from "../errors.js";
import type { ExportCounts } from "../reader/export.js";
import { Progress } from "./progress.js";
import { sizeText } from "./units.js";
import { openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";
import { problemLine } from "./verify.js";

interface Options extends UnlockArguments {
  backing: string;
  out: string;
}

export const command: CommandModule<object, Options> = {
  command: "export <backing> <out>",
  describe: "write a volume that is not mounted out in clear",
  builder: (argv: Argv) =>
    withUnlockOptions(
      argv
        .positional("backing", { type: "string", demandOption: true, describe: "the backing directory" })
        .positional("out", { type: "string", demandOption: true, describe: "an empty or a new directory" })
        .example("$0 export /data/phi /secure/phi", "copy everything out, without mounting"),
    ) as Argv<Options>,
  handler: async (argv: ArgumentsCamelCase<Options>) => {
    const { withVolume } = await import("../reader/open.js");
    const { exportTree } = await import("../reader/export.js");
    const progress = new Progress();
    const say = (line: string) => {
      progress.clear();
      console.error(line);
    };
    await withVolume(argv.backing, openOptions(argv, "read"), async (volume, _uuid, audit) => {
      const out = await emptyDirectory(argv.out, argv.backing);
      const { counts, problems } = await exportTree(volume, out, {
        onProblem: (problem) => say(problemLine(problem)),
        onWarning: (line) => say(`kmsfs: warning: ${line}`),
        onProgress: (now) => progress.show(() => `exported ${countsText(now)}`),
      });
      progress.clear();
      await audit.tell({
        event: "export",
        outcome: problems > 0 ? "detected" : "ok",
        detail: { out, problems, files: counts.files, bytes: counts.bytes },
      });
      console.log(`exported to ${argv.out}: ${countsText(counts)}`);
      if (problems === 0) return;
      const hint = "what could be opened of damaged files has a name that ends in .damaged";
      const what = problems === 1 ? "1 problem" : `${problems} problems`;
      throw new UserError("Tampered", `${argv.backing} has ${what}`, hint);
    });
  },
};

/** The real path of `out`, which is empty or was made. Throws a UserError, and so for one within the volume. */
async function emptyDirectory(out: string, backing: string): Promise<string> {
  const made = await makeDirectory(out);
  const path = await realpath(out);
  const inside = relative(await realpath(backing), path);
  if (inside === "" || !(inside === ".." || inside.startsWith("../"))) {
    if (made) await rmdir(path);
    throw new UserError("Usage", `${out} lies inside the volume`, "name a directory elsewhere");
  }
  const names = await readdir(path).catch((error: unknown) => {
    throw new UserError(
      "Usage",
      `${out} cannot be read: ${messageOf(error)}`,
      "name an empty or a new directory",
    );
  });
  if (names.length > 0) {
    throw new UserError("Usage", `${out} is not empty`, "name an empty or a new directory");
  }
  return path;
}

async function makeDirectory(out: string): Promise<boolean> {
  try {
    await mkdir(out, 0o700);
    return true;
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    const hint = `make ${dirname(resolve(out))} first, or choose another place`;
    throw new UserError("Usage", `${out} cannot be made: ${messageOf(error)}`, hint);
  }
}

function countsText({ directories, files, symlinks, special, bytes }: Readonly<ExportCounts>): string {
  const inodes = `directories: ${directories}, symlinks: ${symlinks}, special files: ${special}`;
  return `${inodes}, files: ${files} (${sizeText(bytes)})`;
}
