import type { Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import { slotLabel } from "./init.js";
import { backingOf, slotLine, withBacking } from "./key-slots.js";
import {
  type NewSlotArguments,
  newSlot,
  printRecoveryKey,
  sayChange,
  sayer,
  withNewSlotOptions,
} from "./new-slot-options.js";
import { openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";

type Arguments = UnlockArguments & NewSlotArguments & { backing: string };

export const add: CommandModule<object, Arguments> = {
  command: "add <backing>",
  describe: "wrap the volume's key once more, in a new slot",
  builder: (argv: Argv) =>
    withNewSlotOptions(withUnlockOptions(withBacking(argv)))
      .example("$0 key add /data/phi --new-kms-key arn:aws:kms:us-west-2:...:key/...", "a second region")
      .example("$0 key add /data/phi --recovery > recovery-key", "a way back without AWS"),
  handler: async (argv) => {
    const label = slotLabel(argv.label ?? (argv.recovery ? "recovery" : ""));
    const wanted = newSlot(argv);
    if (wanted === undefined) {
      throw new UserError(
        "Usage",
        "no key named for the new slot",
        "give --new-kms-key, --new-keyfile, --new-passphrase-file or --recovery",
      );
    }
    const { addSlot } = await import("../volume/slots.js");
    const change = await addSlot({
      ...openOptions(argv, "change"),
      backing: backingOf(argv.backing),
      source: wanted.source,
      label,
    });
    const say = sayer(wanted);
    say(`added ${slotLine(change.slot)}`);
    await printRecoveryKey(wanted.recoveryKey, change);
    sayChange(change, say);
  },
};
