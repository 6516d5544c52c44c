import type { Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import { resolveMountPoint } from "../mount/places.js";
import { allStatus, type MountStatus } from "../mount/status.js";

interface Arguments {
  dir: string | undefined;
  json: boolean;
}

export const command: CommandModule<object, Arguments> = {
  command: "status [dir]",
  describe: "what is mounted, and how it does",
  builder: (argv: Argv): Argv<Arguments> =>
    argv
      .positional("dir", { type: "string", describe: "only the mount there" })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on standard output" })
      .example("$0 status", "every mount of this host")
      .example("$0 status /srv/phi --json", "one mount, for a program") as Argv<Arguments>,
  handler: async (argv) => {
    const mounts = await chosen(argv.dir);
    if (argv.json) console.log(JSON.stringify({ mounts }, null, 2));
    else if (mounts.length === 0) console.log("nothing is mounted");
    else console.log(mounts.map(describe).join("\n\n"));
  },
};

async function chosen(dir: string | undefined): Promise<MountStatus[]> {
  const all = await allStatus();
  if (dir === undefined) return all;
  const found = all.filter((mount) => mount.dir === resolved(dir));
  if (found.length > 0) return found;
  throw new UserError("NotMounted", `no kmsfs mount on ${dir}`, "kmsfs status lists the mounts");
}

function resolved(dir: string): string {
  try {
    return resolveMountPoint(dir);
  } catch {
    return dir;
  }
}

const CONDITIONS: Readonly<Record<MountStatus["condition"], string>> = {
  mounted: "mounted",
  unwatched: "mounted, its daemon is gone, the engine serves on",
  detached: "detached, still written or held open",
  dead: "dead: kmsfs umount clears it",
  unrecorded: "mounted, nothing in the run directory tells of it",
};

function describe(mount: MountStatus): string {
  const rows: [string, string | number | null][] = [
    ["state", CONDITIONS[mount.condition]],
    ["volume", mount.uuid],
    ["since", mount.since],
    ["options", mount.options.join(",") || null],
    ["daemon", mount.daemonPid],
    ["engine", mount.enginePid],
    ["log", mount.log],
    ["tampering", mount.tamperEvents || null],
    ["not stopped", mount.stopRefused],
    ...mount.warnings.map((warning): [string, string] => ["warning", warning]),
    ...Object.entries(mount.counters ?? {}),
  ];
  const lines = rows.flatMap(([name, value]) => (value === null ? [] : [`  ${name.padEnd(20)} ${value}`]));
  return [`${mount.backing} on ${mount.dir}`, ...lines].join("\n");
}
