import { join } from "node:path";
import type { Argv, CommandModule } from "yargs";
import { messageOf } from "../errors.js";
import { BLOCK_BYTES } from "../snapshot/blocks.js";
import { connect, snapshotId } from "./snapshot-session.js";
import { parseSize, sizeText } from "./units.js";

interface Arguments {
  snapshot: string;
  dir: string;
  cache: string;
  concurrency: number;
  "allow-other": boolean;
  foreground: boolean;
}

export const mount: CommandModule<object, Arguments> = {
  command: "mount <snapshot> <dir>",
  describe: "show a snapshot as one read-only image file; blocks are fetched when they are read",
  builder: (argv: Argv) =>
    argv
      .positional("snapshot", { type: "string", demandOption: true, describe: "its id" })
      .positional("dir", { type: "string", demandOption: true, describe: "an empty directory" })
      .option("cache", {
        type: "string",
        default: "256M",
        requiresArg: true,
        describe: "memory for blocks, such as 1G",
      })
      .option("concurrency", {
        type: "number",
        default: 32,
        requiresArg: true,
        describe: "the most requests at once",
      })
      .option("allow-other", { type: "boolean", default: false, describe: "let other users read it" })
      .option("foreground", {
        alias: "f",
        type: "boolean",
        default: false,
        describe: "stay until unmounted; SIGTERM and SIGINT unmount",
      })
      .example(
        "$0 snapshot mount snap-0123456789abcdef0 /mnt/snap",
        "then: mount -o ro,loop /mnt/snap/image /mnt/disk; umount /mnt/snap ends it",
      ) as Argv<Arguments>,
  handler: async (argv) => {
    const { isBackground, openLog, reportUp, runInBackground } = await import(
      "../readonly-fuse/background.js"
    );
    if (!argv.foreground && !isBackground()) return runInBackground();
    try {
      const snapshot = snapshotId(argv.snapshot);
      const cacheBytes = parseSize(argv.cache, "cache");
      const { emptyMountPoint, requireRoot } = await import("../mount/checks.js");
      requireRoot("snapshot mount");
      const dir = emptyMountPoint(argv.dir);
      const { SNAPSHOT_SUBTYPE } = await import("../mount/mountinfo.js");
      const { logDirectory } = await import("../host-directories.js");
      const log = openLog(join(logDirectory(), `${snapshot}.log`));
      // A signal unmounts; requests under way are answered all the same.
      const ebs = await connect(argv.concurrency, new AbortController().signal);
      const { EbsSource } = await import("../snapshot/ebs-source.js");
      const { ImageTree } = await import("../snapshot/image-tree.js");
      const { runReadOnlyMount } = await import("../readonly-fuse/run.js");
      const onError = (index: number, error: unknown) => log(`block ${index}: ${messageOf(error)}`);
      const source = await EbsSource.open(ebs, snapshot, { cacheBytes, onError });
      const options = { dir, source: snapshot, subtype: SNAPSHOT_SUBTYPE, allowOther: argv["allow-other"] };
      await runReadOnlyMount(new ImageTree(source), options, log);
      const { fetched, hits, holes } = source.stats;
      log(
        `${fetched} blocks fetched (${sizeText(fetched * BLOCK_BYTES)}), ${hits} from memory, ${holes} of zeros`,
      );
    } catch (error) {
      reportUp(error);
      throw error;
    }
    // libfuse's threads and the SDK's sockets would keep the process.
    process.exit(0);
  },
};
