/** kmsfs, its peers as Debian has them, each with its own defaults, and what there is without encryption. */

import { writeFileSync } from "node:fs";
import { command } from "../support/command.js";
import { floorProgram } from "../support/programs.js";
import { kmsfs } from "./kmsfs.js";
import { foreground, PASSWORD, type System } from "./system.js";

const gocryptfs = foreground({
  name: "gocryptfs",
  encrypts: true,
  program: "gocryptfs",
  async init({ backing, settings }) {
    writeFileSync(`${settings}/password`, `${PASSWORD}\n`, { mode: 0o600 });
    await command(["gocryptfs", "-init", "-q", "-passfile", `${settings}/password`, backing]);
  },
  argv: ({ backing, dir, settings }) => [
    "gocryptfs",
    ..."-fg -q -allow_other -nosyslog -passfile".split(" "),
    `${settings}/password`,
    backing,
    dir,
  ],
});

const securefs = foreground({
  name: "securefs",
  encrypts: true,
  program: "securefs",
  init: ({ backing }) => command(["securefs", "create", "--pass", PASSWORD, "-r", "1", backing]),
  argv: ({ backing, dir }) => [
    "securefs",
    ...["mount", "--pass", PASSWORD, "-o", "allow_other", backing, dir],
  ],
});

const cryfs = foreground({
  name: "cryfs",
  encrypts: true,
  program: "cryfs",
  init: async ({ settings }) => writeFileSync(`${settings}/password`, `${PASSWORD}\n`, { mode: 0o600 }),
  // Reads its password from standard input, asks for nothing else, and does not look for updates.
  env: ({ settings }) => ({
    CRYFS_FRONTEND: "noninteractive",
    CRYFS_NO_UPDATE_CHECK: "true",
    CRYFS_LOCAL_STATE_DIR: `${settings}/cryfs`,
  }),
  argv: ({ backing, dir, settings }) => [
    ...["sh", "-c", 'exec cryfs -f "$1" "$2" -o allow_other <"$3"', "cryfs"],
    ...[backing, dir, `${settings}/password`],
  ],
});

const encfs = foreground({
  name: "encfs",
  encrypts: true,
  program: "encfs",
  argv: ({ backing, dir }) => [
    "encfs",
    "--public",
    "--standard",
    "-f",
    `--extpass=echo ${PASSWORD}`,
    backing,
    dir,
  ],
});

const bindfs = foreground({
  name: "bindfs",
  encrypts: false,
  program: "bindfs",
  argv: ({ backing, dir }) => ["bindfs", "-f", backing, dir],
});

export const floor = foreground({
  name: "floor",
  encrypts: false,
  argv: ({ backing, dir }) => [floorProgram(), backing, dir],
});

/** The backing directory itself, bound to the place. */
export const plain: System = {
  name: "plain",
  encrypts: false,
  init: async () => undefined,
  async mount({ backing, dir }) {
    await command(["mount", "--bind", backing, dir]);
    return [];
  },
  async unmount({ dir }) {
    await command(["umount", dir]);
  },
};

/** In the order of the table. */
export const SYSTEMS: readonly System[] = [kmsfs(), gocryptfs, securefs, cryfs, encfs, bindfs, floor, plain];
