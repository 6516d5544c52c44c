import type { Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import { backingOf } from "./key-slots.js";
import { openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";

interface Target {
  volume: string;
  file: string[] | undefined;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function withTarget<T>(argv: Argv<T>): Argv<T & Target> {
  return argv
    .positional("volume", {
      type: "string",
      demandOption: true,
      describe: "the backing directory, where it is mounted, or the volume's uuid",
    })
    .option("file", {
      type: "string",
      array: true,
      nargs: 1,
      describe: "a file of the chain, instead of those of this host; may be repeated",
    }) as Argv<T & Target>;
}

async function uuidOf(volume: string): Promise<string> {
  if (UUID.test(volume)) return volume;
  const { readUnverifiedHeader } = await import("../volume/open.js");
  return (await readUnverifiedHeader(backingOf(volume), false)).uuid;
}

async function chainOf(uuid: string, files: readonly string[] | undefined) {
  const { auditSettings, chainFile } = await import("../audit/settings.js");
  const { readChain } = await import("../audit/read.js");
  const settings = auditSettings();
  const chain = await readChain(settings, uuid, files);
  if (chain.length > 0) return { settings, chain };
  const where = files === undefined ? chainFile(settings.directory, uuid) : files.join(", ");
  throw new UserError(
    "Usage",
    `there is no audit chain in ${where}`,
    "see docs/audit.md for where it is kept",
  );
}

const show: CommandModule<object, Target & { json: boolean; last: number | undefined }> = {
  command: "show <volume>",
  describe: "what the chain tells, oldest first; nothing is verified",
  builder: (argv: Argv) =>
    withTarget(argv)
      .option("json", { type: "boolean", default: false, describe: "the lines as they are, JSON each" })
      .option("last", { type: "number", nargs: 1, describe: "only so many lines of the end" })
      .example("$0 audit show /data/phi --last 20", "who opened it lately"),
  handler: async (argv) => {
    const last = argv.last ?? Number.POSITIVE_INFINITY;
    if (!(last >= 1))
      throw new UserError("Usage", "--last wants a number from 1", "leave it out for all lines");
    const { chain } = await chainOf(await uuidOf(argv.volume), argv.file);
    const { lineText, isJsonLine } = await import("../audit/show.js");
    const lines = chain.flatMap((file) => file.lines.map((line) => line.toString("utf8")));
    for (const line of lines.slice(-last)) {
      if (!argv.json) console.log(lineText(line));
      else if (isJsonLine(line)) console.log(line);
    }
  },
};

type VerifyArguments = Target &
  UnlockArguments & {
    json: boolean;
    head: string[] | undefined;
    anchor: string[] | undefined;
    "hashes-only": boolean;
  };

const verify: CommandModule<object, VerifyArguments> = {
  command: "verify <volume>",
  describe: "check that no line of the chain was altered, removed, inserted or moved",
  builder: (argv: Argv) =>
    withUnlockOptions(withTarget(argv))
      .option("head", {
        type: "string",
        array: true,
        nargs: 1,
        describe: "NUMBER:HASH that kmsfs audit head printed once; may be repeated",
      })
      .option("anchor", {
        type: "string",
        array: true,
        nargs: 1,
        describe: "a file that holds a head, beside those that this host knows; may be repeated",
      })
      .option("hashes-only", {
        type: "boolean",
        default: false,
        describe: "check the hashes alone: who can write the file can forge them",
      })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on standard output" })
      .example("$0 audit verify /data/phi", "with the volume's key")
      .example(
        "$0 audit verify /data/phi --head 12:5f0c...",
        "with a head that was kept elsewhere",
      ) as Argv<VerifyArguments>,
  handler: async (argv) => {
    const { anchorsFrom, conclude } = await import("../audit/report.js");
    const { verifyChain } = await import("../audit/verify.js");
    const uuid = await uuidOf(argv.volume);
    const key = argv["hashes-only"] ? undefined : await keyOf(argv);
    try {
      const { settings, chain } = await chainOf(uuid, argv.file);
      const anchors = await anchorsFrom(settings, uuid, argv.head ?? [], argv.anchor ?? []);
      conclude(verifyChain(chain, uuid, key, anchors), uuid, {
        json: argv.json,
        withKey: key !== undefined,
        anchors,
      });
    } finally {
      key?.fill(0);
    }
  },
};

async function keyOf(argv: VerifyArguments): Promise<Buffer> {
  if (UUID.test(argv.volume)) {
    throw new UserError(
      "Usage",
      "a uuid does not open a volume's key",
      "name the backing directory, or --hashes-only",
    );
  }
  const { openVolume } = await import("../volume/open.js");
  const { auditKey } = await import("../audit/line.js");
  const { header, dk, audit } = await openVolume(backingOf(argv.volume), openOptions(argv, "read"));
  try {
    return auditKey(dk, header.uuid);
  } finally {
    dk.fill(0);
    await audit.close();
  }
}

const head: CommandModule<object, Target> = {
  command: "head <volume>",
  describe: "number and hash of the chain's last line, to be kept elsewhere",
  builder: (argv: Argv) =>
    withTarget(argv).example("$0 audit head /data/phi", "for kmsfs audit verify --head, another day"),
  handler: async (argv) => {
    const { headText } = await import("../audit/head.js");
    const { verifyChain } = await import("../audit/verify.js");
    const uuid = await uuidOf(argv.volume);
    const { chain } = await chainOf(uuid, argv.file);
    const { head } = verifyChain(chain, uuid, undefined, []);
    if (head === undefined)
      throw new UserError("Tampered", "the chain has no whole line", "see kmsfs audit verify");
    console.log(headText(head));
  },
};

export const command: CommandModule = {
  command: "audit",
  describe: "the chain of what was done with a volume and its keys",
  builder: (argv) =>
    argv.command(show).command(verify).command(head).demandCommand(1, "no audit command given"),
  handler: () => undefined,
};
