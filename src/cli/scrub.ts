import { setTimeout as sleep } from "node:timers/promises";
import type { Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import type { ScrubRequest } from "../mount/control.js";
import type { ScrubStatus } from "../mount/scrub.js";
import { ExitCode } from "./exit-codes.js";
import { Progress } from "./progress.js";
import { findingLine, scrubBar, scrubText } from "./scrub-text.js";
import { parseSize } from "./units.js";

interface Arguments {
  dir: string;
  rate: string;
  wait: boolean;
  pause: boolean;
  stop: boolean;
  restart: boolean;
  json: boolean;
}

/** Between two looks at how far it is, in milliseconds. */
const LOOK_MS = 300;

export const command: CommandModule<object, Arguments> = {
  command: "scrub <dir>",
  describe: "verify a mounted volume in the background, from the disk",
  builder: (argv: Argv): Argv<Arguments> =>
    argv
      .positional("dir", { type: "string", demandOption: true, describe: "the mount point" })
      .option("rate", {
        type: "string",
        default: "50M",
        describe: "bytes a second at most, with K, M or G; 0 for no limit",
      })
      .option("wait", {
        alias: "w",
        type: "boolean",
        default: false,
        describe: "stay until it has ended; exits 15 when it found damage",
      })
      .option("pause", { type: "boolean", default: false, describe: "end it, to be gone on with later" })
      .option("stop", { type: "boolean", default: false, describe: "end it for good" })
      .option("restart", {
        type: "boolean",
        default: false,
        describe: "begin anew instead of going on where an earlier one was paused or interrupted",
      })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on standard output" })
      .example("$0 scrub /srv/phi", "start it, or go on with it")
      .example("$0 scrub /srv/phi --wait", "and wait for the result")
      .example("$0 scrub /srv/phi --pause", "let the disk rest") as Argv<Arguments>,
  handler: async (argv) => {
    if (Number(argv.pause) + Number(argv.stop) + Number(argv.wait || argv.restart) > 1) {
      throw new UserError("Usage", "--pause, --stop, and --wait or --restart exclude one another");
    }
    const { chosenMounts } = await import("../mount/status.js");
    const { requestScrub } = await import("../mount/control-client.js");
    const [mount] = await chosenMounts(argv.dir);
    if (mount === undefined) throw new UserError("NotMounted", `no kmsfs mount on ${argv.dir}`);
    const request: ScrubRequest = {
      action: argv.pause ? "pause" : argv.stop ? "stop" : "start",
      rate: parseSize(argv.rate, "rate"),
      restart: argv.restart,
    };
    const scrub = await requestScrub(mount.dir, request);
    if (scrub === undefined) {
      throw new UserError(
        "EngineFailed",
        `the daemon of ${argv.dir} does not answer`,
        "kmsfs status says why",
      );
    }
    if (!argv.wait) return say(argv, scrub);
    const ended = await follow(argv, mount.dir);
    say(argv, ended);
    conclude(argv, ended);
  },
};

function say({ dir, json, wait, pause, stop }: Arguments, scrub: ScrubStatus | null): void {
  if (json) {
    console.log(JSON.stringify({ dir, scrub }, null, 2));
    return;
  }
  if (scrub === null) {
    console.log(`no scrub of ${dir} is known`);
    return;
  }
  if (wait) for (const finding of scrub.findings) console.log(findingLine(dir, finding));
  const doing = scrub.state === "running" && (pause || stop) ? "it ends; " : "";
  console.log(`scrub of ${dir}: ${doing}${scrubText(scrub)}`);
}

/** Until it has ended; Ctrl-C ends the waiting, not the scrub. */
async function follow({ dir }: Arguments, mountPoint: string): Promise<ScrubStatus> {
  const { liveStatus } = await import("../mount/control-client.js");
  const progress = new Progress();
  for (;;) {
    const scrub = (await liveStatus(mountPoint))?.scrub;
    if (scrub == null) {
      progress.clear();
      throw new UserError(
        "EngineFailed",
        `the mount on ${dir} ended before its scrub did`,
        `mount it again, and kmsfs scrub ${dir} goes on`,
      );
    }
    if (scrub.state !== "running") {
      progress.clear();
      return scrub;
    }
    progress.show(() => scrubBar(scrub));
    await sleep(LOOK_MS);
  }
}

function conclude({ dir, json }: Arguments, scrub: ScrubStatus): void {
  if (scrub.findingCount > 0) {
    if (json) {
      process.exitCode = ExitCode.Tampered;
      return;
    }
    const what = scrub.findingCount === 1 ? "1 problem" : `${scrub.findingCount} problems`;
    throw new UserError("Tampered", `${dir} has ${what}`, "restore what is named above from a backup");
  }
  if (scrub.state === "done") return;
  throw new UserError(
    scrub.state === "failed" ? "EngineFailed" : "Incomplete",
    `the scrub of ${dir} was not finished: ${scrub.message ?? scrub.state}`,
    `kmsfs scrub ${dir} ${scrub.state === "stopped" ? "begins anew" : "goes on"}`,
  );
}
