import type { CommandModule } from "yargs";
import { diff } from "./snapshot-diff.js";
import { list } from "./snapshot-list.js";
import { mount } from "./snapshot-mount.js";
import { push } from "./snapshot-push.js";
import { restore } from "./snapshot-restore.js";
import { verify } from "./snapshot-verify.js";

export const command: CommandModule = {
  command: "snapshot",
  describe: "EBS snapshots, written and read block by block",
  builder: (argv) =>
    argv
      .command(push)
      .command(restore)
      .command(verify)
      .command(diff)
      .command(mount)
      .command(list)
      .demandCommand(1, "no snapshot command given"),
  handler: () => undefined,
};
