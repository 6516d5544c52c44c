import { rmdirSync } from "node:fs";
import { join } from "node:path";
import type { MountStatus } from "../../src/mount/status.js";
import { packageRoot } from "../../src/package-root.js";
import { command } from "../support/command.js";
import type { Place, System } from "./system.js";

/** The command as it is installed. */
const MAIN = join(packageRoot(), "dist/cli/main.js");

/** The real command, away from this machine's own settings. */
export function kmsfsCommand({ settings }: Place, ...args: string[]): Promise<string> {
  const places = ["ETC", "RUN", "LOG"].map((name) => [`KMSFS_${name}`, `${settings}/${name.toLowerCase()}`]);
  const engine = process.env.KMSFS_ENGINE;
  const env = {
    ...Object.fromEntries(places),
    KMSFS_SYSLOG: "",
    ...(engine === undefined ? {} : { KMSFS_ENGINE: engine }),
  };
  return command([process.execPath, MAIN, ...args], { env });
}

/** The volume is made by `init` in a directory of its own. */
export function kmsfs(name = "kmsfs", options: readonly string[] = []): System {
  return {
    name,
    encrypts: true,
    async init(place) {
      rmdirSync(place.backing);
      await kmsfsCommand(place, "init", place.backing, "--keyfile", `${place.settings}/key`);
    },
    async mount(place) {
      const { backing, dir } = place;
      await kmsfsCommand(place, "mount", backing, dir, "-o", ["allow_other", ...options].join(","));
      return [];
    },
    async processes(place) {
      const said = await kmsfsCommand(place, "status", place.dir, "--json");
      const { mounts } = JSON.parse(said) as { mounts: MountStatus[] };
      const pids = mounts.flatMap(({ daemonPid, enginePid }) => [daemonPid, enginePid]);
      const known = pids.filter((pid) => pid !== null);
      place.scratch.watch(known);
      return known;
    },
    async unmount(place, pids) {
      await kmsfsCommand(place, "umount", place.dir);
      await place.scratch.ended(pids);
    },
  };
}
