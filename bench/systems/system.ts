/** What is measured: a file system with a backing directory of its own. */

import { mkdirSync } from "node:fs";
import { command } from "../support/command.js";
import type { Scratch } from "../support/scratch.js";

/** Where one system lives. */
export interface Place {
  readonly scratch: Scratch;
  /** What the system makes of it; exists and is empty at first. */
  readonly backing: string;
  /** Where it is mounted, an empty directory. */
  readonly dir: string;
  /** For keys and settings, on the disk of the run. */
  readonly settings: string;
}

export interface System {
  readonly name: string;
  /** Those that kmsfs is compared with; the floor and the plain file system are not. */
  readonly encrypts: boolean;
  /** What must be installed, if anything. */
  readonly program?: string;
  init(place: Place): Promise<void>;
  /** Returns the processes that serve the mount, as far as it knows them. */
  mount(place: Place): Promise<number[]>;
  /** Finds the processes of a mount that has just been made; not part of mounting. */
  processes?(place: Place): Promise<number[]>;
  /** Returns when everything is written and the processes have ended. */
  unmount(place: Place, pids: readonly number[]): Promise<void>;
}

export const PASSWORD = "bench";

/** A system whose program stays in the foreground, by its command lines. */
export function foreground(system: {
  readonly name: string;
  readonly encrypts: boolean;
  readonly program?: string;
  readonly env?: (place: Place) => Record<string, string>;
  readonly init?: (place: Place) => Promise<unknown>;
  readonly argv: (place: Place) => string[];
}): System {
  const { name, encrypts, program } = system;
  return {
    name,
    encrypts,
    ...(program === undefined ? {} : { program }),
    async init(place) {
      await system.init?.(place);
    },
    async mount(place) {
      const { scratch, dir } = place;
      return [await scratch.serve(system.argv(place), dir, system.env?.(place))];
    },
    async unmount({ scratch, dir }, pids) {
      await command(["umount", dir], { limit: 300 });
      await scratch.ended(pids);
    },
  };
}

export function placeFor(scratch: Scratch, backings: string, name: string): Place {
  const backing = `${backings}/${name}`;
  mkdirSync(backing, { mode: 0o755 });
  return {
    scratch,
    backing,
    dir: scratch.directory("mnt", `${backings.split("/").at(-1)}-${name}`),
    settings: scratch.directory("settings", `${backings.split("/").at(-1)}-${name}`),
  };
}
