/** Options that say what a new slot's key is, beside those that open the volume. */

import type { Argv, InferredOptionTypes } from "yargs";
import { UserError } from "../errors.js";
import { newRecoveryKey } from "../keys/recovery-key.js";
import type { KeySource } from "../volume/key-source.js";
import type { SlotChange } from "../volume/slots.js";
import { parseContext } from "./init.js";
import { given, kmsTimeoutMs } from "./unlock-options.js";

const NEW_SLOT_OPTIONS = {
  "new-kms-key": {
    type: "string",
    nargs: 1,
    describe: "KMS key for the slot: ARN, key id or alias/NAME, in any region and account",
  },
  context: {
    type: "string",
    array: true,
    nargs: 1,
    describe: "pair NAME=VALUE for the encryption context of a KMS slot; may be repeated",
  },
  "new-keyfile": {
    type: "string",
    nargs: 1,
    describe: "file of 32 raw bytes, mode 0600; made when it does not exist",
  },
  "new-passphrase-file": {
    type: "string",
    nargs: 1,
    describe: "its first line is the slot's passphrase (-: standard input)",
  },
  recovery: {
    type: "boolean",
    default: false,
    describe: "a passphrase that is generated and printed once, to be kept in a safe",
  },
  label: { type: "string", nargs: 1, describe: "a name for the slot" },
} as const;

export type NewSlotArguments = InferredOptionTypes<typeof NEW_SLOT_OPTIONS> & { "kms-timeout": number };

export function withNewSlotOptions<T>(argv: Argv<T>): Argv<T & NewSlotArguments> {
  return argv.options(NEW_SLOT_OPTIONS) as unknown as Argv<T & NewSlotArguments>;
}

export interface NewSlot {
  readonly source: KeySource;
  /** In ASCII, to be printed once and wiped; it is not the copy that the source has */
  readonly recoveryKey: Buffer | undefined;
}

/** The new slot's key; undefined when no option names one. Throws UserError (Usage). */
export function newSlot(argv: NewSlotArguments): NewSlot | undefined {
  const keyId = given(argv["new-kms-key"], "--new-kms-key");
  const keyfile = given(argv["new-keyfile"], "--new-keyfile");
  const passphraseFile = given(argv["new-passphrase-file"], "--new-passphrase-file");
  const named = [keyId, keyfile, passphraseFile, argv.recovery || undefined];
  const count = named.filter((value) => value !== undefined).length;
  if (count > 1) {
    throw new UserError("Usage", "two keys are named for one slot", "name one, and add the other after it");
  }
  if (argv.context !== undefined && count === 1 && keyId === undefined) {
    throw new UserError("Usage", "--context goes with a KMS key alone", "leave it out");
  }
  if (keyId !== undefined) {
    const context = parseContext(argv.context ?? []);
    const timeoutMs = kmsTimeoutMs(argv["kms-timeout"]);
    return { source: { provider: "aws-kms", keyId, context, timeoutMs }, recoveryKey: undefined };
  }
  if (keyfile !== undefined)
    return { source: { provider: "keyfile", path: keyfile }, recoveryKey: undefined };
  if (passphraseFile !== undefined) {
    return { source: { provider: "passphrase", path: passphraseFile }, recoveryKey: undefined };
  }
  if (!argv.recovery) return undefined;
  const recoveryKey = newRecoveryKey();
  return { source: { provider: "passphrase", passphrase: Buffer.from(recoveryKey) }, recoveryKey };
}

/** One line to standard output, or to standard error where a recovery key has that one for itself. */
export function sayer({ recoveryKey }: Pick<NewSlot, "recoveryKey">): (line: string) => void {
  return recoveryKey === undefined ? (line) => console.log(line) : (line) => console.error(line);
}

/** The recovery key, the only thing on standard output; wiped. Throws UserError when it could not be written. */
export async function printRecoveryKey(key: Buffer | undefined, change: SlotChange): Promise<void> {
  if (key === undefined) return;
  console.error("the recovery key, shown this once; keep it in a safe, apart from the volume:");
  const line = Buffer.concat([key, Buffer.from("\n")]);
  key.fill(0);
  const failed = await new Promise<Error | null | undefined>((done) => {
    process.stdout.once("error", done);
    process.stdout.write(line, done);
  });
  line.fill(0);
  if (failed == null) return;
  throw new UserError(
    "Unexpected",
    `the recovery key of slot ${change.slot.id} could not be printed: nobody has it`,
    `kmsfs key remove that slot, and add another one`,
  );
}

/** What every change of slots says at its end. */
export function sayChange(change: SlotChange, say: (line: string) => void): void {
  if (change.madeKeyfile !== undefined) {
    say(`key file ${change.madeKeyfile} made (32 random bytes, mode 0600); keep a copy of it elsewhere`);
  }
  for (const warning of change.warnings) console.error(`kmsfs: warning: ${warning}`);
}
