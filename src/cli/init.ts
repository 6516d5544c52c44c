import type { ArgumentsCamelCase, Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import { LOG_BOUNDS } from "../volume/header.js";
import type { NewVolume } from "../volume/init.js";
import type { KeySource } from "../volume/key-source.js";
import { given, kmsTimeoutMs, kmsTimeoutOption } from "./unlock-options.js";

const BLOCK_SIZES = [4096, 16384, 65536] as const;

const OPTIONS = {
  "kms-key": {
    type: "string",
    nargs: 1,
    describe: "KMS key that wraps the volume's key: ARN, key id or alias/NAME",
  },
  context: {
    type: "string",
    array: true,
    nargs: 1,
    describe: "pair NAME=VALUE for the encryption context, with --kms-key; may be repeated",
  },
  "kms-timeout": kmsTimeoutOption,
  keyfile: {
    type: "string",
    nargs: 1,
    describe: "file of 32 raw bytes, mode 0600; made when it does not exist",
  },
  "passphrase-file": {
    type: "string",
    nargs: 1,
    describe: "its first line is the passphrase (-: standard input)",
  },
  "block-size": {
    type: "number",
    nargs: 1,
    default: 4096,
    describe: `bytes of a block: ${BLOCK_SIZES.join(", ")}`,
  },
  label: { type: "string", nargs: 1, default: "", describe: "a name for the key slot" },
  "log-segments": { type: "number", describe: "segments of the commit log (default 4)" },
  "log-segment-size": {
    type: "number",
    describe: "MiB of each segment (default 16, less on a small file system)",
  },
} as const;

type Options = ReturnType<typeof build> extends Argv<infer T> ? T : never;

function build(argv: Argv<object>) {
  return argv
    .positional("backing", { type: "string", demandOption: true, describe: "an empty or a new directory" })
    .options(OPTIONS)
    .example("$0 init /data/phi --kms-key alias/phi", "make a volume whose key KMS keeps")
    .example("$0 init /tmp/try --keyfile /root/try.key", "try it out, without KMS");
}

/** The pairs of --context. Throws UserError (Usage). */
export function parseContext(pairs: readonly string[]): Record<string, string> {
  const entries = pairs.map((pair): [string, string] => {
    const at = pair.indexOf("=");
    if (at < 1)
      throw new UserError("Usage", `--context ${pair} is not NAME=VALUE`, "write for example team=billing");
    return [pair.slice(0, at), pair.slice(at + 1)];
  });
  const names = entries.map(([name]) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new UserError("Usage", `--context names ${twice} twice`, "give each name once");
  return Object.fromEntries(entries);
}

function keySource(argv: Options): KeySource {
  const keyId = given(argv["kms-key"], "--kms-key");
  const keyfile = given(argv.keyfile, "--keyfile");
  const passphraseFile = given(argv["passphrase-file"], "--passphrase-file");
  if ([keyId, keyfile, passphraseFile].filter((value) => value !== undefined).length !== 1) {
    throw new UserError(
      "Usage",
      "a new volume wants exactly one of --kms-key, --keyfile, --passphrase-file",
      "see kmsfs init --help",
    );
  }
  if (keyId !== undefined) {
    const timeoutMs = kmsTimeoutMs(argv["kms-timeout"]);
    return { provider: "aws-kms", keyId, context: parseContext(argv.context ?? []), timeoutMs };
  }
  if (argv.context !== undefined) {
    throw new UserError("Usage", "--context goes with --kms-key alone", "leave it out");
  }
  return keyfile !== undefined
    ? { provider: "keyfile", path: keyfile }
    : { provider: "passphrase", path: passphraseFile ?? "" };
}

function logParameters(argv: Options) {
  const { minSegments, maxSegments, minSegmentSize, maxSegmentSize } = LOG_BOUNDS;
  const segments = inBounds(argv["log-segments"], "--log-segments", minSegments, maxSegments);
  const size = inBounds(
    argv["log-segment-size"],
    "--log-segment-size",
    minSegmentSize >> 20,
    maxSegmentSize >> 20,
  );
  return {
    ...(segments === undefined ? {} : { segments }),
    ...(size === undefined ? {} : { segmentSize: size * 2 ** 20 }),
  };
}

function blockSize(value: number): (typeof BLOCK_SIZES)[number] {
  const size = BLOCK_SIZES.find((size) => size === value);
  if (size !== undefined) return size;
  throw new UserError("Usage", "bad --block-size", `give one of ${BLOCK_SIZES.join(", ")}`);
}

function inBounds(value: number | undefined, option: string, min: number, max: number): number | undefined {
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) return value;
  throw new UserError(
    "Usage",
    `${option} ${value} is out of bounds`,
    `give a whole number from ${min} to ${max}`,
  );
}

export function slotLabel(value: string): string {
  if (value.length <= 256 && !/\p{Cc}/u.test(value)) return value;
  throw new UserError(
    "Usage",
    "--label is longer than 256 characters or has control characters",
    "shorten it",
  );
}

function report({ backing, header, madeKeyfile, warnings }: NewVolume): void {
  const [slot] = header.slots;
  console.log(`volume ${header.uuid} made in ${backing} (block size ${header.blockSize})`);
  if (slot?.provider === "aws-kms") console.log(`key: wrapped by KMS key ${slot.keyArn} in ${slot.region}`);
  if (slot?.provider === "passphrase") console.log("key: wrapped by the passphrase; this is not KMS");
  if (slot?.provider === "keyfile") {
    if (madeKeyfile !== undefined) console.log(`key file ${madeKeyfile} made (32 random bytes, mode 0600)`);
    console.log(
      `key: wrapped by key file ${slot.path}; this is not KMS: whoever has that file opens the volume`,
    );
    console.log("keep a copy of the key file elsewhere: without it the volume cannot be opened");
  }
  for (const warning of warnings) console.error(`kmsfs: warning: ${warning}`);
  const option = slot?.provider === "passphrase" ? " --passphrase-file FILE" : "";
  console.log(`next: kmsfs mount ${backing} DIR${option}`);
}

export const command: CommandModule<object, Options> = {
  command: "init <backing>",
  describe: "make a volume in an empty directory",
  builder: build,
  handler: async (argv: ArgumentsCamelCase<Options>) => {
    const options = {
      backing: argv.backing,
      key: keySource(argv),
      blockSize: blockSize(argv["block-size"]),
      label: slotLabel(argv.label),
      log: logParameters(argv),
    };
    const { initVolume } = await import("../volume/init.js");
    report(await initVolume(options));
  },
};
