import type { Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import { BLOCK_BYTES } from "../snapshot/blocks.js";
import { type SessionArguments, snapshotId, withEbs, withSessionOptions } from "./snapshot-session.js";
import { sizeText } from "./units.js";

interface Arguments extends SessionArguments {
  source: string;
  parent: string | undefined;
  description: string | undefined;
  tag: string[];
  freeze: boolean;
}

export const push: CommandModule<object, Arguments> = {
  command: "push <source>",
  describe: "write a block device or an image file into a new EBS snapshot",
  builder: (argv: Argv) =>
    withSessionOptions(argv)
      .positional("source", {
        type: "string",
        demandOption: true,
        describe: "a block device or an image file",
      })
      .option("parent", {
        type: "string",
        requiresArg: true,
        describe: "an earlier snapshot of it: only what differs is sent",
      })
      .option("description", { type: "string", requiresArg: true, describe: "the snapshot's description" })
      .option("tag", {
        type: "string",
        array: true,
        nargs: 1,
        default: [],
        describe: "a tag of the snapshot, NAME=VALUE; may be given again",
      })
      .option("freeze", {
        type: "boolean",
        default: true,
        describe: "hold the writers of mounted file systems on the source while its image is fixed",
      })
      .example("$0 snapshot push /dev/nvme1n1", "a first snapshot")
      .example(
        "$0 snapshot push /dev/nvme1n1 --parent snap-0123456789abcdef0",
        "what has changed since",
      ) as Argv<Arguments>,
  handler: async (argv) => {
    const parent = argv.parent === undefined ? undefined : snapshotId(argv.parent);
    const tags = argv.tag.map(tagOf);
    const again = "run the same command again: it goes on where it was";
    const result = await withEbs(argv, again, async ({ ebs, bar }) => {
      const { push: run } = await import("../snapshot/push.js");
      const region = await ebs.region();
      const { source, description, freeze } = argv;
      return run(
        ebs,
        { source, parent, description, tags, freeze, region },
        {
          onProgress: ({ phase, done, total, sent }) =>
            bar.show(phase, done, total, `${sizeText(sent * BLOCK_BYTES)} sent, ${ebs.pool.limit} at once`),
          onLine: (line) => {
            bar.clear();
            if (!argv.json) console.error(`kmsfs: ${line}`);
          },
        },
      );
    });
    if (argv.json) {
      console.log(JSON.stringify(result));
      return;
    }
    const { snapshot, bytes, sent, unchanged, zero, frozenMs } = result;
    const parts = [`${sizeText(sent * BLOCK_BYTES)} sent`, `${zero} blocks of zeros left out`];
    if (parent !== undefined) parts.push(`${unchanged} as in ${parent}`);
    if (frozenMs !== null) parts.push(`writers held for ${(frozenMs / 1000).toFixed(1)} s`);
    console.log(`${snapshot}: ${sizeText(bytes)} of ${argv.source}; ${parts.join(", ")}`);
  },
};

function tagOf(text: string): { Key: string; Value: string } {
  const at = text.indexOf("=");
  if (at < 1) throw new UserError("Usage", `--tag ${text} is not NAME=VALUE`, "give --tag NAME=VALUE");
  return { Key: text.slice(0, at), Value: text.slice(at + 1) };
}
