/** Options of every command that needs a volume's key. */

import type { Argv, InferredOptionTypes } from "yargs";
import { UserError } from "../errors.js";
import { regionOfArn } from "../keys/slots.js";
import type { OpenOptions } from "../volume/open.js";

export const kmsTimeoutOption = {
  type: "number",
  nargs: 1,
  default: 30,
  describe: "seconds that KMS may take in all, attempts included",
} as const;

export const UNLOCK_OPTIONS = {
  keyfile: {
    type: "string",
    nargs: 1,
    describe: "open a keyfile slot with this file",
    conflicts: "passphrase-file",
  },
  "passphrase-file": {
    type: "string",
    nargs: 1,
    describe: "open a passphrase slot with the first line of this file (-: standard input)",
  },
  "kms-key": {
    type: "string",
    array: true,
    nargs: 1,
    describe: "ARN of a KMS key that may be asked, instead of those pinned on this host",
  },
  "kms-timeout": kmsTimeoutOption,
  "use-previous-header": {
    type: "boolean",
    default: false,
    describe: "volume.json is damaged: take volume.json.bak",
  },
} as const;

export type UnlockArguments = InferredOptionTypes<typeof UNLOCK_OPTIONS>;

/** Adds the options to a command. */
export function withUnlockOptions<T>(argv: Argv<T>): Argv<T & UnlockArguments> {
  return argv.options(UNLOCK_OPTIONS) as Argv<T & UnlockArguments>;
}

/** `--kms-timeout` in milliseconds. Throws UserError (Usage). */
export function kmsTimeoutMs(seconds: number): number {
  if (!(seconds > 0 && seconds <= 3600)) {
    const what = Number.isNaN(seconds) ? "--kms-timeout" : `--kms-timeout ${seconds}`;
    throw new UserError("Usage", `${what} is not a number of seconds`, "give 1 to 3600");
  }
  return Math.ceil(seconds * 1000);
}

/** What `openVolume` takes, from parsed arguments. Throws UserError (Usage). */
export function openOptions(argv: UnlockArguments, purpose: OpenOptions["purpose"]): OpenOptions {
  for (const arn of argv["kms-key"] ?? []) {
    if (regionOfArn(arn) === undefined) {
      throw new UserError(
        "Usage",
        `--kms-key ${arn} is not the ARN of a KMS key`,
        "kmsfs key list shows the ARNs",
      );
    }
  }
  return {
    purpose,
    keyfile: given(argv.keyfile, "--keyfile"),
    passphraseFile: given(argv["passphrase-file"], "--passphrase-file"),
    kmsTimeoutMs: kmsTimeoutMs(argv["kms-timeout"]),
    kmsKeys: argv["kms-key"],
    usePreviousHeader: argv["use-previous-header"],
    onWaiting: (line) => console.error(`kmsfs: waiting: ${line}`),
    onWarning: (line) => console.error(`kmsfs: warning: ${line}`),
  };
}

/** An option given twice arrives as an array, one without a value as "". */
export function given(value: unknown, option: string): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string" || value === "") {
    throw new UserError("Usage", `${option} wants one value`, `give ${option} once, with a file name`);
  }
  return value;
}
