import type { Argv, CommandModule } from "yargs";
import { messageOf } from "../errors.js";
import { BLOCK_BYTES } from "../snapshot/blocks.js";
import { sizeText } from "./units.js";

interface Arguments {
  json: boolean;
}

export const list: CommandModule<object, Arguments> = {
  command: "list",
  describe: "the snapshots that this host has pushed, and pushes that are not done",
  builder: (argv: Argv) =>
    argv
      .option("json", { type: "boolean", default: false, describe: "one JSON object on standard output" })
      .example("$0 snapshot list", "from the manifests; AWS is not asked") as Argv<Arguments>,
  handler: async (argv) => {
    const { knownSnapshots } = await import("../snapshot/known.js");
    const { snapshots, unfinished, damaged } = await knownSnapshots();
    if (argv.json) {
      const bad = damaged.map(({ snapshot, error }) => ({ snapshot, message: messageOf(error) }));
      console.log(JSON.stringify({ snapshots, unfinished, damaged: bad }));
      return;
    }
    for (const { snapshot, created, volumeGib, blocks, written, source, parent } of snapshots) {
      const of = source === null ? "" : ` of ${source}`;
      const kin = parent === null ? "" : `, parent ${parent}`;
      const size = `${volumeGib} GiB, ${sizeText(blocks * BLOCK_BYTES)} in blocks, ${sizeText(written * BLOCK_BYTES)} sent`;
      console.log(`${snapshot} ${created}${of}: ${size}${kin}`);
    }
    for (const { source, started, put } of unfinished) {
      console.log(
        `not done: the push of ${source} of ${started}, ${sizeText(put * BLOCK_BYTES)} sent; run it again`,
      );
    }
    for (const { error } of damaged) console.log(messageOf(error));
    if (snapshots.length + unfinished.length + damaged.length === 0) {
      console.log("none; others of the account: aws ec2 describe-snapshots --owner-ids self");
    }
  },
};
