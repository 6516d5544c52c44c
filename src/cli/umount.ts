import type { Argv, CommandModule } from "yargs";
import { unmount } from "../mount/unmount.js";

interface Arguments {
  dir: string;
  lazy: boolean;
}

export const command: CommandModule<object, Arguments> = {
  command: "umount <dir>",
  describe: "unmount; returns when everything is written and the volume is free",
  builder: (argv: Argv): Argv<Arguments> =>
    argv
      .positional("dir", { type: "string", demandOption: true, describe: "the mount point" })
      .option("lazy", {
        alias: "l",
        type: "boolean",
        default: false,
        describe: "detach at once; the mount ends with its last user",
      })
      .example("$0 umount /srv/phi", "unmount, and wait until the volume is free"),
  handler: async (argv) => unmount(argv.dir, argv.lazy),
};
