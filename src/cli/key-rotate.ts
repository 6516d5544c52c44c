import type { Argv, CommandModule } from "yargs";
import { parseContext, slotLabel } from "./init.js";
import { backingOf, slotId, slotLine, withBacking } from "./key-slots.js";
import {
  type NewSlotArguments,
  newSlot,
  printRecoveryKey,
  sayChange,
  sayer,
  withNewSlotOptions,
} from "./new-slot-options.js";
import { openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";

type Arguments = UnlockArguments & NewSlotArguments & { backing: string; slot: string };

export const rotate: CommandModule<object, Arguments> = {
  command: "rotate <backing> <slot>",
  describe: "wrap the key of a slot anew: KMS re-encrypts it, a file or passphrase is exchanged",
  builder: (argv: Argv) =>
    withNewSlotOptions(withUnlockOptions(withBacking(argv)))
      .positional("slot", {
        type: "string",
        demandOption: true,
        describe: "its number, from kmsfs key list",
      })
      .example("$0 key rotate /data/phi 1", "under the same KMS key, after KMS rotated its material")
      .example("$0 key rotate /data/phi 1 --new-kms-key alias/phi-2027", "under another KMS key")
      .epilogue("The volume's own key stays: what was sealed is not sealed again."),
  handler: async (argv) => {
    const id = slotId(argv.slot);
    const wanted = newSlot(argv);
    const { rotateSlot } = await import("../volume/slots.js");
    const change = await rotateSlot({
      ...openOptions(argv, "change"),
      backing: backingOf(argv.backing),
      id,
      source: wanted?.source,
      context: argv.context === undefined ? undefined : parseContext(argv.context),
      label: argv.label === undefined ? undefined : slotLabel(argv.label),
    });
    const say = sayer({ recoveryKey: wanted?.recoveryKey });
    say(`rotated ${slotLine(change.slot)}`);
    await printRecoveryKey(wanted?.recoveryKey, change);
    sayChange(change, say);
  },
};
