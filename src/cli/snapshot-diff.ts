import type { Argv, CommandModule } from "yargs";
import { BLOCK_BYTES } from "../snapshot/blocks.js";
import { type SessionArguments, snapshotId, withEbs, withSessionOptions } from "./snapshot-session.js";
import { sizeText } from "./units.js";

interface Arguments extends SessionArguments {
  first: string;
  second: string;
}

export const diff: CommandModule<object, Arguments> = {
  command: "diff <first> <second>",
  describe: "list the blocks in which two snapshots of one lineage differ",
  builder: (argv: Argv) =>
    withSessionOptions(argv)
      .positional("first", { type: "string", demandOption: true, describe: "the older snapshot's id" })
      .positional("second", { type: "string", demandOption: true, describe: "the newer one's" })
      .example(
        "$0 snapshot diff snap-0123456789abcdef0 snap-0123456789abcdef1",
        "as ranges of bytes",
      ) as Argv<Arguments>,
  handler: async (argv) => {
    const [first, second] = [snapshotId(argv.first), snapshotId(argv.second)];
    const result = await withEbs(argv, "nothing was changed", async ({ ebs }) => {
      const { diffSnapshots } = await import("../snapshot/diff.js");
      return diffSnapshots(ebs, first, second);
    });
    if (argv.json) {
      console.log(JSON.stringify(result));
      return;
    }
    for (const { from, count } of result.ranges) {
      const last = from + count - 1;
      const blocks = count === 1 ? `block ${from}` : `blocks ${from}-${last}`;
      console.log(`${blocks}: bytes ${from * BLOCK_BYTES}-${(last + 1) * BLOCK_BYTES - 1}`);
    }
    console.log(
      `${result.changed} blocks (${sizeText(result.changed * BLOCK_BYTES)}) differ, ${result.added} of them not in ${first}`,
    );
  },
};
