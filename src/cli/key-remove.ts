import type { Argv, CommandModule } from "yargs";
import { backingOf, slotId, slotLine, withBacking } from "./key-slots.js";
import { sayChange } from "./new-slot-options.js";
import { openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";

type Arguments = UnlockArguments & { backing: string; slot: string };

export const remove: CommandModule<object, Arguments> = {
  command: "remove <backing> <slot>",
  describe: "remove a slot, when another one opens the volume; never the last one",
  builder: (argv: Argv) =>
    withUnlockOptions(withBacking(argv))
      .positional("slot", {
        type: "string",
        demandOption: true,
        describe: "its number, from kmsfs key list",
      })
      .example("$0 key remove /data/phi 2", "when another slot opens the volume"),
  handler: async (argv) => {
    const id = slotId(argv.slot);
    const { removeSlot } = await import("../volume/slots.js");
    const change = await removeSlot({
      ...openOptions(argv, "change"),
      backing: backingOf(argv.backing),
      id,
    });
    console.log(`removed ${slotLine(change.slot)}`);
    console.log(
      "this is no revocation by itself: snapshots and copies of the volume still hold the wrapped key, and whoever " +
        "opened it may have kept it; disable the KMS key, or delete those copies",
    );
    sayChange(change, (line) => console.log(line));
  },
};
