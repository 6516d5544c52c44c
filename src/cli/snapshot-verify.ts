import type { Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import { ExitCode } from "./exit-codes.js";
import { type SessionArguments, snapshotId, withEbs, withSessionOptions } from "./snapshot-session.js";

interface Arguments extends SessionArguments {
  snapshot: string;
  against: string | undefined;
}

export const verify: CommandModule<object, Arguments> = {
  command: "verify <snapshot>",
  describe: "read a snapshot and prove that every block is there and intact",
  builder: (argv: Argv) =>
    withSessionOptions(argv)
      .positional("snapshot", { type: "string", demandOption: true, describe: "its id" })
      .option("against", {
        type: "string",
        requiresArg: true,
        describe: "a device or an image file that it has to equal, block by block",
      })
      .example(
        "$0 snapshot verify snap-0123456789abcdef0 --against /dev/nvme1n1",
        "is it that volume?",
      ) as Argv<Arguments>,
  handler: async (argv) => {
    const snapshot = snapshotId(argv.snapshot);
    const verdict = await withEbs(argv, "nothing was changed", async ({ ebs, bar }) => {
      const { verifySnapshot } = await import("../snapshot/verify.js");
      return verifySnapshot(ebs, snapshot, argv.against, (done, total) => bar.show("verifying", done, total));
    });
    const { problems } = verdict;
    if (argv.json) {
      console.log(JSON.stringify(verdict));
      if (problems.length > 0) process.exitCode = ExitCode.SnapshotDiffers;
      return;
    }
    for (const { block, message } of problems) console.log(`block ${block}: ${message}`);
    const proof = [
      "every block is as its checksum says",
      ...(verdict.manifest ? ["as it was pushed"] : []),
      ...(verdict.against === null ? [] : [`as ${verdict.against} has it`]),
    ];
    if (problems.length === 0) {
      console.log(`${snapshot}: ${verdict.blocks} blocks of ${verdict.volumeGib} GiB: ${proof.join(", ")}`);
      if (!verdict.manifest)
        console.log("this host did not push it: which blocks there have to be is not known here");
      return;
    }
    const what = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    throw new UserError(
      "SnapshotDiffers",
      `${snapshot} has ${what}`,
      "what is named above is missing, damaged or other",
    );
  },
};
