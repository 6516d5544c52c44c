/** Reading and writing volume.json and its previous generation. */

import { constants, link, lstat, open, rename, unlink } from "node:fs/promises";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { LockHeld, withLock } from "../flock.js";
import { HeaderDamage } from "../keys/parse.js";
import { MAX_HEADER_BYTES, parseHeader, type VolumeHeader } from "./header.js";
import { type VolumePaths, volumePaths } from "./paths.js";

/** The paths of an existing volume. Throws UserError: NotAVolume when the directory holds none; ReplacedControl. */
export async function findVolume(backing: string): Promise<VolumePaths> {
  const paths = volumePaths(backing);
  let stat: Awaited<ReturnType<typeof lstat>>;
  try {
    stat = await lstat(paths.control);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT" || errno === "ENOTDIR") {
      throw new UserError(
        "NotAVolume",
        `${backing} is not a kmsfs volume (no ${paths.control})`,
        "check the path, or make a volume with kmsfs init",
      );
    }
    throw new UserError(
      errno === "EACCES" ? "Privilege" : "Backing",
      `${backing} cannot be read: ${messageOf(error)}`,
      "check the path, and run as root",
    );
  }
  if (!stat.isDirectory()) {
    const is = stat.isSymbolicLink() ? "a symbolic link" : stat.isFile() ? "a file" : "a special file";
    throw new ReplacedControl(paths.control, is);
  }
  return paths;
}

/** Something else stands where the control directory of a volume belongs: no volume is made so. */
export class ReplacedControl extends UserError {
  readonly is: string;

  constructor(control: string, is: string) {
    super(
      "Damaged",
      `${control} is ${is} and not the directory of a volume`,
      "find out who put it there; restore the directory from a snapshot",
    );
    this.is = is;
  }
}

/**
 * The parsed, unauthenticated header in a file. Throws HeaderDamage; UserError for a newer format and for a file that
 * cannot be opened; undefined when there is none.
 */
export async function readHeader(path: string): Promise<VolumeHeader | undefined> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    // The volume is written by an adversary: no link is followed, no fifo waited for.
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    if (errnoOf(error) === "ELOOP") throw new HeaderDamage("it is a symbolic link");
    const code = errnoOf(error) === "EACCES" ? "Privilege" : "Backing";
    throw new UserError(code, `${path} cannot be opened: ${messageOf(error)}`, "run as root");
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new HeaderDamage("it is not a regular file");
    if (stat.size > MAX_HEADER_BYTES) throw new HeaderDamage(`it is larger than ${MAX_HEADER_BYTES} bytes`);
    return parseHeader(await handle.readFile());
  } finally {
    await handle.close();
  }
}

async function writeFlushed(path: string, bytes: Buffer): Promise<void> {
  // Never into what is there already, nor through a link: the volume is written by an adversary.
  const handle = await open(path, "wx", 0o600);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  await handle.sync().finally(() => handle.close());
}

/** Removes a file; that there is none is no error. */
export async function removeIfThere(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (errnoOf(error) !== "ENOENT") throw error;
  });
}

/** What becomes of volume.json.bak when volume.json is replaced. */
export type Previous =
  /** it becomes the generation that is replaced */
  | "replaced"
  /** it stays: what is replaced is damaged */
  | "kept"
  /** it becomes a copy of the new generation: nothing of the old one is to stay */
  | "new";

/**
 * Replaces volume.json so that whoever reads it, and a crash at any point, finds the old one or the new one, and beside
 * it a volume.json.bak that opens too. Under the header's lock.
 */
export async function replaceHeader(paths: VolumePaths, bytes: Buffer, previous: Previous): Promise<void> {
  const freshPrevious = `${paths.previousHeader}.new`;
  await removeIfThere(paths.newHeader);
  await removeIfThere(freshPrevious);
  await writeFlushed(paths.newHeader, bytes);
  if (previous === "new") await replaceWhole(freshPrevious, bytes, paths.previousHeader);
  if (previous === "replaced") {
    await link(paths.header, freshPrevious);
    await rename(freshPrevious, paths.previousHeader);
    // rename(2) of two names of one file does nothing: after a crash .bak may be a name of volume.json already.
    await removeIfThere(freshPrevious);
  }
  await rename(paths.newHeader, paths.header);
  await syncDirectory(paths.control);
}

/** Writes volume.json.bak anew, as a copy of volume.json, which is `bytes`. Under the header's lock. */
export async function replacePreviousHeader(paths: VolumePaths, bytes: Buffer): Promise<void> {
  const fresh = `${paths.previousHeader}.new`;
  await removeIfThere(fresh);
  await replaceWhole(fresh, bytes, paths.previousHeader);
  await syncDirectory(paths.control);
}

async function replaceWhole(fresh: string, bytes: Buffer, path: string): Promise<void> {
  await writeFlushed(fresh, bytes);
  await rename(fresh, path);
}

/** How long one who changes the header waits for another one to be done. */
const LOCK_SECONDS = 30;

/**
 * Runs `work` while nobody else changes the header: flock(2) on the control directory. The engine's lock is another one
 * and is held during a mount; who only reads the header needs none, since it is replaced by rename.
 */
export async function underHeaderLock<T>(paths: VolumePaths, work: () => Promise<T>): Promise<T> {
  try {
    return await withLock(paths.control, { waitSeconds: LOCK_SECONDS }, work);
  } catch (error) {
    if (!(error instanceof LockHeld)) throw error;
    throw new UserError(
      "InUse",
      `another kmsfs has been changing ${paths.header} for ${LOCK_SECONDS} s`,
      `see what holds it: fuser -v ${paths.control}`,
    );
  }
}

/** The first generation, twice: as volume.json and, so that a damaged one is not the end, as volume.json.bak. */
export async function writeFirstHeader(paths: VolumePaths, bytes: Buffer): Promise<void> {
  await writeFlushed(paths.previousHeader, bytes);
  await writeFlushed(paths.header, bytes);
  await syncDirectory(paths.control);
}
