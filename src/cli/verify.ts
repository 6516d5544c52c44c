import type { ArgumentsCamelCase, Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import type { Counts, Problem, VerifyResult } from "../reader/verify.js";
import { ExitCode } from "./exit-codes.js";
import { Progress } from "./progress.js";
import { sizeText } from "./units.js";
import { openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";

interface Options extends UnlockArguments {
  backing: string;
  json: boolean;
}

export const command: CommandModule<object, Options> = {
  command: "verify <backing>",
  describe: "open every record, name and block of a volume that is not mounted",
  builder: (argv: Argv) =>
    withUnlockOptions(
      argv
        .positional("backing", { type: "string", demandOption: true, describe: "the backing directory" })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on standard output" })
        .example("$0 verify /data/phi", "check all of a volume that is not mounted"),
    ) as Argv<Options>,
  handler: async (argv: ArgumentsCamelCase<Options>) => {
    const { withVolume } = await import("../reader/open.js");
    const { verify } = await import("../reader/verify.js");
    const progress = new Progress();
    const problems: Problem[] = [];
    const onProblem = (problem: Problem) => {
      if (argv.json) problems.push(problem);
      else {
        progress.clear();
        console.log(problemLine(problem));
      }
    };
    const onProgress = (counts: Readonly<Counts>) => progress.show(() => `checked ${countsText(counts)}`);
    await withVolume(argv.backing, openOptions(argv, "read"), async (volume, uuid, audit) => {
      const result = await verify(volume, { onProblem, onProgress });
      progress.clear();
      await audit.tell({
        event: "verify",
        outcome: result.problems > 0 ? "detected" : "ok",
        detail: { problems: result.problems, files: result.counts.files, blocks: result.counts.blocks },
      });
      if (argv.json) console.log(JSON.stringify({ volume: uuid, problems, counts: result.counts }));
      conclude(argv, result);
    });
  },
};

function conclude({ backing, json }: Options, { counts, problems }: VerifyResult): void {
  if (json) {
    if (problems > 0) process.exitCode = ExitCode.Tampered;
    return;
  }
  console.log(`checked ${countsText(counts)}`);
  if (counts.foldedCommits > 0) {
    console.log(
      `${counts.foldedCommits} commits are in the log and not yet in the files; a mount puts them there`,
    );
  }
  if (problems > 0) {
    const what = problems === 1 ? "1 problem" : `${problems} problems`;
    throw new UserError(
      "Tampered",
      `${backing} has ${what}`,
      "what is named above was damaged or tampered with",
    );
  }
  console.log("all of it is authentic");
}

/** One line for one problem. */
export function problemLine({ place, id, block, message }: Problem): string {
  const where = [place, id === undefined ? "" : `id ${id}`, block === undefined ? "" : `block ${block}`];
  return `${where.filter((part) => part !== "").join(", ")}: ${message}`;
}

function countsText(counts: Readonly<Counts>): string {
  const { directories, files, symlinks, special, blocks, bytes } = counts;
  const inodes = `directories: ${directories}, files: ${files}, symlinks: ${symlinks}, special files: ${special}`;
  return `${inodes}, blocks: ${blocks} (${sizeText(bytes)})`;
}
