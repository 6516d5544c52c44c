import { setTimeout as sleep } from "node:timers/promises";
import type { Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import type { Format } from "../metrics/exposition.js";
import { chosenMounts } from "../mount/status.js";
import { parseInterval } from "./units.js";

interface Arguments {
  dir: string | undefined;
  format: Format | undefined;
  textfile: string | undefined;
  interval: string | undefined;
}

export const command: CommandModule<object, Arguments> = {
  command: "metrics [dir]",
  describe: "metrics of what is mounted, in OpenMetrics text",
  builder: (argv: Argv): Argv<Arguments> =>
    argv
      .positional("dir", { type: "string", describe: "only the mount there" })
      .option("format", {
        choices: ["openmetrics", "prometheus"] as const,
        describe: "openmetrics, and prometheus's older one for --textfile, unless said otherwise",
      })
      .option("textfile", {
        type: "string",
        describe: "write them to this file, whole at any moment, for node_exporter's textfile collector",
      })
      .option("interval", {
        type: "string",
        describe: "with --textfile: write it again every so many seconds, until stopped",
      })
      .epilogue("docs/metrics.md lists them")
      .example("$0 metrics", "every mount of this host")
      .example(
        "$0 metrics --textfile /var/lib/prometheus/node-exporter/kmsfs.prom",
        "for node_exporter",
      ) as Argv<Arguments>,
  handler: async ({ dir, format, textfile, interval }) => {
    const { expose } = await import("../metrics/exposition.js");
    if (textfile === undefined) {
      if (interval !== undefined) throw new UserError("Usage", "--interval needs --textfile");
      process.stdout.write(expose(await chosenMounts(dir), format ?? "openmetrics"));
      return;
    }
    const { replaceTextfile } = await import("../metrics/textfile.js");
    const seconds = interval === undefined ? undefined : parseInterval(interval, "interval");
    const stop = new AbortController();
    if (seconds !== undefined) {
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
    }
    do {
      replaceTextfile(textfile, expose(await chosenMounts(dir), format ?? "prometheus"));
      if (seconds === undefined) return;
      await sleep(seconds * 1000, undefined, { signal: stop.signal }).catch(() => undefined);
    } while (!stop.signal.aborted);
  },
};
