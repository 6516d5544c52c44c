import type { Argv, CommandModule } from "yargs";
import { type SessionArguments, snapshotId, withEbs, withSessionOptions } from "./snapshot-session.js";

interface Arguments extends SessionArguments {
  snapshot: string;
  target: string;
  force: boolean;
}

export const restore: CommandModule<object, Arguments> = {
  command: "restore <snapshot> <target>",
  describe: "write a snapshot onto a block device or into a sparse file",
  builder: (argv: Argv) =>
    withSessionOptions(argv)
      .positional("snapshot", { type: "string", demandOption: true, describe: "its id" })
      .positional("target", {
        type: "string",
        demandOption: true,
        describe: "a device that is not in use, or a file that does not exist yet",
      })
      .option("force", { type: "boolean", default: false, describe: "overwrite what the target holds" })
      .example(
        "$0 snapshot restore snap-0123456789abcdef0 /dev/nvme2n1",
        "onto a new volume",
      ) as Argv<Arguments>,
  handler: async (argv) => {
    const snapshot = snapshotId(argv.snapshot);
    const after = `${argv.target} is not valid as it is: run it again`;
    const result = await withEbs(argv, after, async ({ ebs, bar }) => {
      const { restore: run } = await import("../snapshot/restore.js");
      const { target, force } = argv;
      return run(ebs, { snapshot, target, force }, (done, total) => bar.show("restoring", done, total));
    });
    if (argv.json) console.log(JSON.stringify(result));
    else {
      const proof = result.manifest ? "every block as it was pushed" : "every block as its checksum says";
      console.log(
        `${snapshot} restored to ${argv.target}: ${result.blocks} blocks, ${result.volumeGib} GiB; ${proof}`,
      );
    }
  },
};
