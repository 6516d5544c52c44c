import type { Argv, CommandModule } from "yargs";
import { chosenMounts } from "../mount/status.js";
import { describe } from "./status-text.js";
import { parseInterval } from "./units.js";

interface Arguments {
  dir: string | undefined;
  json: boolean;
  watch: boolean;
  interval: string;
}

export const command: CommandModule<object, Arguments> = {
  command: "status [dir]",
  describe: "what is mounted, and how it does",
  builder: (argv: Argv): Argv<Arguments> =>
    argv
      .positional("dir", { type: "string", describe: "only the mount there" })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on standard output" })
      .option("watch", {
        alias: "w",
        type: "boolean",
        default: false,
        describe: "what goes on, again and again until Ctrl-C; a line each where the output is no terminal",
      })
      .option("interval", { type: "string", default: "2", describe: "seconds between looks" })
      .example("$0 status", "every mount of this host")
      .example("$0 status /srv/phi --json", "one mount, for a program")
      .example("$0 status --watch", "requests and bytes a second, latencies, hits") as Argv<Arguments>,
  handler: async (argv) => {
    if (argv.watch) {
      const { watch } = await import("./status-watch.js");
      const seconds = parseInterval(argv.interval, "interval");
      // A mount that is not there is an error now; one that goes later is not.
      await chosenMounts(argv.dir);
      const look = () => chosenMounts(argv.dir).catch(() => []);
      await watch({ seconds, json: argv.json, look });
      return;
    }
    const mounts = await chosenMounts(argv.dir);
    if (argv.json) console.log(JSON.stringify({ mounts }, null, 2));
    else if (mounts.length === 0) console.log("nothing is mounted");
    else console.log(mounts.map(describe).join("\n\n"));
  },
};
