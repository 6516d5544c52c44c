import type { Argv, CommandModule } from "yargs";
import { isForegroundChild, mountInForeground } from "../mount/foreground.js";
import { openOptions, type UnlockArguments, withUnlockOptions } from "./unlock-options.js";

interface Arguments extends UnlockArguments {
  backing: string;
  dir: string;
  options: string[] | undefined;
  foreground: boolean;
}

const OPTIONS_HELP = `-o takes, commas between them:
  ro, rw             read-only or not
  allow_other        users other than root may use the mount; permissions are always checked
  nowriteback        no write-back in the kernel's page cache
  cache=SIZE         the engine's cache of plaintext, 1M to 1024G; 64M by default
  mlock=require|try  refuse, or warn, when memory cannot be locked; try by default
  suid, dev, noexec, noatime, relatime, sync, ... as mount(8) knows them; nosuid and nodev by default
  x-*, _netdev, nofail, auto, noauto, user, defaults are for fstab and ignored here`;

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
      .example("$0 mount /data/phi /srv/phi", "mount it for root")
      .example("$0 mount /data/phi /srv/phi -o allow_other,ro", "for every user, read-only")
      .epilogue(OPTIONS_HELP) as Argv<Arguments>,
  handler: async (argv) => {
    if (argv.foreground && !isForegroundChild()) {
      process.exitCode = await mountInForeground(argv.dir);
      return;
    }
    const { startMount } = await import("../mount/start.js");
    const warnings = await startMount({
      backing: argv.backing,
      dir: argv.dir,
      options: argv.options ?? [],
      open: openOptions(argv, "mount"),
      logToStderr: argv.foreground,
    });
    for (const warning of warnings) console.error(`kmsfs: ${warning}`);
  },
};
