/**
 * A source whose file systems are mounted: they are frozen (ioctl_fsfreeze, by fsfreeze(8)) while its image is fixed, after
 * the kmsfs mounts above them have given all that they hold.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { UserError } from "../errors.js";
import { requestFlush } from "../mount/control-client.js";
import { type MountEntry, readMounts } from "../mount/mountinfo.js";
import { isWithin } from "../mount/places.js";
import { readStates } from "../mount/state.js";
import type { Image } from "./image.js";

export class LiveSource {
  /** how long writers waited, in milliseconds */
  frozenMs: number | null = null;

  private constructor(
    readonly image: Image,
    /** one entry a file system, in the order in which they are frozen */
    readonly mounts: readonly MountEntry[],
  ) {}

  /** Undefined when nothing that is mounted lies on the image. */
  static of(image: Image): LiveSource | undefined {
    const devices = devicesOn(image);
    const seen = new Set<string>();
    const mounts = readMounts().filter(({ device }) => {
      const first = devices.has(device) && !seen.has(device);
      if (first) seen.add(device);
      return first;
    });
    return mounts.length === 0 ? undefined : new LiveSource(image, mounts);
  }

  /** What is written while it is frozen would wait for the thaw, and the thaw for it. Throws UserError (Usage). */
  refuseOwnState(path: string): void {
    const dir = realpathSync(dirname(path));
    const holder = readMounts().findLast((mount) => isWithin(dir, mount.mountPoint));
    if (holder === undefined || !this.mounts.some(({ device }) => device === holder.device)) return;
    throw new UserError(
      "Usage",
      `${dir} lies on ${this.image.path}, which has to be frozen`,
      "set KMSFS_STATE to a directory elsewhere, or give --no-freeze",
    );
  }

  /** Runs `work` with everything on the image written out and held. Thaws whatever happens, also when this process dies. */
  async whileFrozen(work: () => Promise<void>): Promise<void> {
    for (const dir of this.#volumes()) await writeOut(dir);
    const frozen: Freeze[] = [];
    const began = performance.now();
    try {
      for (const { mountPoint } of this.mounts) frozen.push(await Freeze.of(mountPoint));
      await work();
      for (const each of frozen) each.mustHold();
    } finally {
      await Promise.all(frozen.map((each) => each.thaw()));
      this.frozenMs = Math.round(performance.now() - began);
    }
  }

  /** The mount points of the kmsfs volumes whose backing directories lie on the image. */
  #volumes(): string[] {
    const mounts = readMounts();
    const states = readStates().filter(({ backing }) => {
      const holder = mounts
        .filter((mount) => isWithin(backing, mount.mountPoint))
        .reduce<MountEntry | undefined>(
          (best, mount) =>
            best === undefined || mount.mountPoint.length >= best.mountPoint.length ? mount : best,
          undefined,
        );
      return holder !== undefined && this.mounts.some(({ device }) => device === holder.device);
    });
    return states.map(({ dir }) => dir);
  }
}

/**
 * One frozen file system. A process of its own thaws it when its standard input ends: so also when we are killed.
 */
class Freeze {
  private constructor(
    readonly mountPoint: string,
    readonly child: ChildProcess,
    readonly ended: Promise<number | null>,
  ) {}

  static async of(mountPoint: string): Promise<Freeze> {
    const script = 'fsfreeze -f "$1" && echo frozen && cat >/dev/null; fsfreeze -u "$1"';
    const child = spawn("sh", ["-c", script, "sh", mountPoint], {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    child.stdin.on("error", () => undefined);
    const ended = new Promise<number | null>((done) => child.once("close", done));
    await new Promise<void>((done, failed) => {
      const refused = () =>
        failed(
          new UserError(
            "Backing",
            `${mountPoint} cannot be frozen: ${said.trim() || "fsfreeze(8) of util-linux is needed"}`,
            "run as root, unmount it, or give --no-freeze",
          ),
        );
      child.once("error", refused);
      child.once("close", refused);
      child.stdout.once("data", () => done());
    });
    return new Freeze(mountPoint, child, ended);
  }

  /** Somebody else may have thawed it meanwhile: then the image is of no one moment. Throws UserError. */
  mustHold(): void {
    if (this.child.exitCode === null && this.child.signalCode === null) return;
    throw new UserError(
      "Backing",
      `${this.mountPoint} was thawed too early`,
      "run it again: the image is not of one moment",
    );
  }

  async thaw(): Promise<void> {
    this.child.stdin?.end();
    await this.ended;
  }
}

/** "major:minor" of the device, of its partitions, and of loop devices over it. */
function devicesOn(image: Image): Set<string> {
  const found = new Set<string>();
  if (image.device !== undefined) {
    found.add(image.device);
    for (const name of listed(`/sys/dev/block/${image.device}`)) {
      const number = text(`/sys/dev/block/${image.device}/${name}/dev`);
      if (number !== undefined) found.add(number);
    }
    // What is stacked on it: device-mapper volumes of which it is a part.
    for (const name of listed(`/sys/dev/block/${image.device}/holders`)) {
      const number = text(`/sys/class/block/${name}/dev`);
      if (number !== undefined) found.add(number);
    }
  }
  for (const name of listed("/sys/class/block")) {
    const backing = text(`/sys/class/block/${name}/loop/backing_file`);
    const number = text(`/sys/class/block/${name}/dev`);
    if (backing === image.path && number !== undefined) found.add(number);
  }
  return found;
}

function listed(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function text(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** The kernel's dirty pages of the mount go to the engine (syncfs(2)), the engine's own to the backing file system. */
async function writeOut(dir: string): Promise<void> {
  const child = spawn("sync", ["-f", dir], { stdio: "ignore" });
  const status = await new Promise<number | null>((done) =>
    child.once("close", done).once("error", () => done(null)),
  );
  const reply = status === 0 ? await requestFlush(dir) : undefined;
  if (reply?.flush === "done") return;
  throw new UserError(
    "Backing",
    `${dir} cannot be written out: ${reply?.detail ?? "it does not answer"}`,
    "see kmsfs status",
  );
}
