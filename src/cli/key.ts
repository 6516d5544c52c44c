import type { ArgumentsCamelCase, Argv, CommandModule } from "yargs";
import type { VolumeHeader } from "../volume/header.js";
import { add } from "./key-add.js";
import { remove } from "./key-remove.js";
import { rotate } from "./key-rotate.js";
import { backingOf, describeSlot, publicSlot, slotLine, withBacking } from "./key-slots.js";
import { openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";

interface ListOptions {
  backing: string;
  json: boolean;
  "use-previous-header": boolean;
}

const UNVERIFIED = "read without the key: the MAC of volume.json is unverified";

function print(header: VolumeHeader): void {
  console.log(`volume ${header.uuid}, generation ${header.generation}, made ${header.created}`);
  for (const slot of header.slots) console.log(`${slotLine(slot)}, made ${slot.created}`);
  console.log(UNVERIFIED);
}

const list: CommandModule<object, ListOptions> = {
  command: "list <backing>",
  describe: "the key slots of a volume; needs no key",
  builder: (argv: Argv) =>
    withBacking(argv)
      .option("json", { type: "boolean", default: false, describe: "one JSON object" })
      .option("use-previous-header", {
        type: "boolean",
        default: false,
        describe: "list volume.json.bak",
      })
      .example("$0 key list /data/phi", "which keys open it"),
  handler: async (argv: ArgumentsCamelCase<ListOptions>) => {
    const { readUnverifiedHeader } = await import("../volume/open.js");
    const header = await readUnverifiedHeader(backingOf(argv.backing), argv["use-previous-header"]);
    if (!argv.json) return print(header);
    const { uuid, generation, created } = header;
    const slots = header.slots.map(publicSlot);
    console.log(JSON.stringify({ uuid, generation, created, macVerified: false, slots }, null, 2));
  },
};

const check: CommandModule<object, UnlockArguments & { backing: string }> = {
  command: "check <backing>",
  describe: "open the volume's key and verify volume.json with it; mounts and changes nothing",
  builder: (argv: Argv) =>
    withUnlockOptions(withBacking(argv)).example("$0 key check /data/phi", "would it open on this host?"),
  handler: async (argv) => {
    const { openVolume } = await import("../volume/open.js");
    const { header, dk, slot, audit } = await openVolume(backingOf(argv.backing), openOptions(argv, "read"));
    dk.fill(0);
    await audit.close();
    console.log(`slot ${slot.id} (${slot.provider}, ${describeSlot(slot)}) opens volume ${header.uuid}`);
    console.log(`volume.json, generation ${header.generation}: MAC and commitment verified`);
  },
};

export const command: CommandModule = {
  command: "key",
  describe: "key slots of a volume, mounted or not",
  builder: (argv) =>
    argv
      .command(list)
      .command(check)
      .command(add)
      .command(remove)
      .command(rotate)
      .demandCommand(1, "no key command given"),
  handler: () => undefined,
};
