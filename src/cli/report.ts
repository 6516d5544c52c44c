import type { Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import type { Named } from "../report/discover.js";
import type { Report } from "../report/facts.js";
import { ExitCode } from "./exit-codes.js";
import { backingOf } from "./key-slots.js";
import { given, openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";

interface Arguments extends UnlockArguments {
  volume: string[] | undefined;
  "out-file": string | undefined;
  force: boolean;
  json: boolean;
  verify: boolean;
  check: boolean;
  "max-key-age": number;
  "max-check-age": number;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const command: CommandModule<object, Arguments> = {
  command: "report [volume..]",
  describe: "one HTML page for an auditor: keys, slots, checks, tamper events, audit chains",
  builder: (argv: Argv) =>
    withUnlockOptions(
      argv
        .positional("volume", {
          type: "string",
          array: true,
          describe: "backing directory, mount point or uuid; all that this host knows unless given",
        })
        .option("out-file", {
          alias: "o",
          type: "string",
          nargs: 1,
          describe: "the file to write, or - for standard output, which is also where it goes into a pipe",
        })
        .option("force", {
          alias: "f",
          type: "boolean",
          default: false,
          describe: "replace a file that is no report",
        })
        .option("json", { type: "boolean", default: false, describe: "the same facts as one JSON object" })
        .option("verify", {
          type: "boolean",
          default: false,
          describe: "open each volume's key, as a mount does, and verify header and audit chain with it",
        })
        .option("check", {
          type: "boolean",
          default: false,
          describe: "exit 33 when there is a problem or a warning",
        })
        .option("max-key-age", {
          type: "number",
          nargs: 1,
          default: 365,
          describe: "days since a key was wrapped, from which on it is a warning",
        })
        .option("max-check-age", {
          type: "number",
          nargs: 1,
          default: 40,
          describe: "days since the last complete verify or scrub, from which on it is a warning",
        }),
    )
      .example("$0 report -o report.html", "every volume of this host; needs no key")
      .example("$0 report /data/phi --verify -o report.html", "one volume, verified with its key")
      .example("$0 report --json --check", "for a program that watches") as Argv<Arguments>,
  handler: async (argv) => {
    const file = given(argv["out-file"], "--out-file");
    if (file === undefined && !argv.json && process.stdout.isTTY) {
      throw new UserError(
        "Usage",
        "a page of HTML is nothing for a terminal",
        "name a file with -o, or - to have it here",
      );
    }
    const limits = {
      keyDays: days(argv["max-key-age"], "--max-key-age"),
      checkDays: days(argv["max-check-age"], "--max-check-age"),
    };
    const opens =
      argv.verify ||
      argv.keyfile !== undefined ||
      argv["passphrase-file"] !== undefined ||
      argv["kms-key"] !== undefined;
    const { collectReport } = await import("../report/collect.js");
    const report = await collectReport({
      volumes: (argv.volume ?? []).map(named),
      open: opens ? openOptions(argv, "read") : undefined,
      limits,
    });
    await put(report, file, argv);
    if (argv.check && report.findings.some(({ severity }) => severity !== "note")) {
      process.exitCode = ExitCode.Findings;
    }
  },
};

async function put(report: Report, file: string | undefined, { json, force }: Arguments): Promise<void> {
  const { reportPage } = await import("../report/html/page.js");
  const text = json ? `${JSON.stringify(report, null, 2)}\n` : reportPage(report);
  if (file === undefined || file === "-") {
    process.stdout.write(text);
    return;
  }
  const { writeReport } = await import("../report/output.js");
  writeReport(file, text, force);
  const count = (wanted: string) => report.findings.filter(({ severity }) => severity === wanted).length;
  console.log(
    `${file}: volumes: ${report.volumes.length}, problems: ${count("problem")}, warnings: ${count("warning")}`,
  );
}

/** A mount point stands for what is mounted there. */
function named(volume: string): Named {
  if (UUID.test(volume)) return { uuid: volume };
  return { backing: backingOf(volume) };
}

function days(value: number, option: string): number {
  if (value >= 0 && value <= 36_500) return value;
  throw new UserError("Usage", `${option} wants a number of days`, "give 0 to 36500");
}
