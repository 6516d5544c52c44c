import type { Argv, CommandModule } from "yargs";
import { mountInForeground } from "../mount/foreground.js";
import { isForegroundChild, tellForeground } from "../mount/foreground-channel.js";
import { splitUnlockOptions } from "./unlock-mount-options.js";
import { openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";

interface Arguments extends UnlockArguments {
  backing: string;
  dir: string;
  options: string[] | undefined;
  foreground: boolean;
  reader: boolean;
}

const OPTIONS_HELP = `-o takes, commas between them:
  ro, rw             read-only or not
  allow_other        users other than root may use the mount; permissions are always checked
  nowriteback        no write-back in the kernel's page cache
  cache=SIZE         the engine's cache of plaintext, 1M to 1024G; 64M by default
  mlock=require|try  refuse, or warn, when memory cannot be locked; try by default
  suid, dev, noexec, noatime, relatime, sync, ... as mount(8) knows them; nosuid and nodev by default
  keyfile=F, passphrase-file=F, kms-key=ARN, kms-timeout=N, ...: the options above without their dashes
  x-*, _netdev, nofail, auto, noauto, defaults, comment=... are for fstab's other readers
With --reader: ro, allow_other, cache=SIZE and the options for keys; rw is refused, what is for the kernel or others is passed over.
A value with commas stands in double quotes: keyfile="/etc/a,b".`;

export const command: CommandModule<object, Arguments> = {
  command: "mount <backing> <dir>",
  describe: "mount a volume; returns when the mount is up",
  builder: (argv: Argv): Argv<Arguments> =>
    withUnlockOptions(argv)
      .positional("backing", {
        type: "string",
        demandOption: true,
        describe: "the volume's backing directory",
      })
      .positional("dir", { type: "string", demandOption: true, describe: "an empty directory" })
      .option("options", {
        alias: "o",
        type: "string",
        array: true,
        nargs: 1,
        describe: "mount options",
      })
      .option("foreground", {
        alias: "f",
        type: "boolean",
        default: false,
        describe: "stay until unmounted; SIGTERM and SIGINT unmount",
      })
      .option("reader", {
        type: "boolean",
        default: false,
        describe: "read-only, without the engine: through the reference reader",
      })
      .example("$0 mount /data/phi /srv/phi", "mount it for root")
      .example("$0 mount /data/phi /srv/phi -o allow_other,ro", "for every user, read-only")
      .example("$0 mount --reader /mnt/old/phi /srv/old", "look into a restored volume without touching it")
      .epilogue(OPTIONS_HELP) as Argv<Arguments>,
  handler: async (argv) => {
    if (argv.reader) {
      const { mountReader } = await import("./mount-reader.js");
      return mountReader(argv);
    }
    if (argv.foreground && !isForegroundChild()) {
      process.exitCode = await mountInForeground(argv.backing, argv.dir);
      return;
    }
    const { mount, unlock } = splitUnlockOptions(argv.options ?? [], argv);
    const { startMount } = await import("../mount/start.js");
    const warnings = await startMount({
      backing: argv.backing,
      dir: argv.dir,
      options: mount,
      open: openOptions(unlock, "mount"),
      logToStderr: argv.foreground,
      onProgress: tellForeground,
    });
    for (const warning of warnings) console.error(`kmsfs: ${warning}`);
  },
};
