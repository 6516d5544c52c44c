import type { ArgumentsCamelCase, Argv, CommandModule } from "yargs";
import type { Slot } from "../keys/slots.js";
import type { VolumeHeader } from "../volume/header.js";
import { openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";

interface ListOptions {
  backing: string;
  json: boolean;
  "use-previous-header": boolean;
}

const UNVERIFIED = "read without the key: the MAC of volume.json is unverified";

function describe(slot: Slot): string {
  switch (slot.provider) {
    case "aws-kms": {
      const pairs = Object.entries(slot.context).map(([name, value]) => `${name}=${value}`);
      const context = pairs.length === 0 ? "" : `, context ${pairs.join(" ")}`;
      return `${slot.keyArn}, region ${slot.region}${context}`;
    }
    case "keyfile":
      return `file ${slot.path}; not KMS`;
    case "passphrase":
      return `scrypt n=${slot.n} r=${slot.r} p=${slot.p}; not KMS`;
  }
}

/** What a slot says of itself. The wrapped key stays out: nobody who lists slots needs it. */
function publicSlot(slot: Slot): object {
  const base = { id: slot.id, provider: slot.provider, label: slot.label, created: slot.created };
  switch (slot.provider) {
    case "aws-kms":
      return { ...base, keyArn: slot.keyArn, region: slot.region, context: slot.context };
    case "keyfile":
      return { ...base, path: slot.path };
    case "passphrase":
      return { ...base, n: slot.n, r: slot.r, p: slot.p };
  }
}

function print(header: VolumeHeader): void {
  console.log(`volume ${header.uuid}, generation ${header.generation}, made ${header.created}`);
  for (const slot of header.slots) {
    const name = slot.label === "" ? "" : ` "${slot.label}"`;
    console.log(`slot ${slot.id}${name}: ${slot.provider}, ${describe(slot)}, made ${slot.created}`);
  }
  console.log(UNVERIFIED);
}

const list: CommandModule<object, ListOptions> = {
  command: "list <backing>",
  describe: "the key slots of a volume; needs no key",
  builder: (argv: Argv) =>
    argv
      .positional("backing", { type: "string", demandOption: true, describe: "the backing directory" })
      .option("json", { type: "boolean", default: false, describe: "one JSON object" })
      .option("use-previous-header", {
        type: "boolean",
        default: false,
        describe: "list volume.json.bak",
      })
      .example("$0 key list /data/phi", "which keys open it"),
  handler: async (argv: ArgumentsCamelCase<ListOptions>) => {
    const { readUnverifiedHeader } = await import("../volume/open.js");
    const header = await readUnverifiedHeader(argv.backing, argv["use-previous-header"]);
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
    withUnlockOptions(argv)
      .positional("backing", { type: "string", demandOption: true, describe: "the backing directory" })
      .example("$0 key check /data/phi", "would it open on this host?"),
  handler: async (argv) => {
    const { openVolume } = await import("../volume/open.js");
    const { header, dk, slot } = await openVolume(argv.backing, openOptions(argv, "read"));
    dk.fill(0);
    console.log(`slot ${slot.id} (${slot.provider}, ${describe(slot)}) opens volume ${header.uuid}`);
    console.log(`volume.json, generation ${header.generation}: MAC and commitment verified`);
  },
};

export const command: CommandModule = {
  command: "key",
  describe: "key slots of a volume",
  builder: (argv) => argv.command(list).command(check).demandCommand(1, "no key command given"),
  handler: () => undefined,
};
