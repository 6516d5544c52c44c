/**
 * What this host trusts of a volume, kept off it: <etc>/<uuid>.json. Whoever can write the backing store can put
 * another volume there, with slots of their own; a MAC under a key that the same file wraps does not show it.
 */

import { mkdir, open, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { withLock } from "../flock.js";
import { etcDirectory } from "../host-directories.js";
import { isRecord } from "../keys/parse.js";
import type { HeaderBody } from "./header.js";
import { removeIfThere, syncDirectory } from "./store.js";

export interface Pin {
  readonly version: 1;
  readonly uuid: string;
  /** KMS keys that may be asked for this volume */
  readonly keyArns: readonly string[];
  /** base64; commits to the domain key */
  readonly commitment: string;
  readonly lowestGeneration: number;
  /** Where this host last had the volume, absolute; null when another volume was made there since */
  readonly backing: string | null;
}

export function pinPath(uuid: string): string {
  return join(etcDirectory(), `${uuid}.json`);
}

function badPin(path: string, why: string): UserError {
  return new UserError(
    "PinMismatch",
    `the pin ${path} cannot be used: ${why}`,
    "put it back from a backup; if you trust the volume as it is now, remove the pin and mount again",
  );
}

/** The pin of a volume, or undefined when this host has none. Throws UserError for one that cannot be trusted. */
export async function readPin(uuid: string): Promise<Pin | undefined> {
  const path = pinPath(uuid);
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw badPin(path, messageOf(error));
  }
  try {
    const stat = await handle.stat();
    if ((stat.mode & 0o022) !== 0) throw badPin(path, "others than its owner can write it");
    if (stat.uid !== 0 && stat.uid !== process.geteuid?.()) throw badPin(path, "it belongs to another user");
    return parsePin(await handle.readFile("utf8"), uuid, path);
  } finally {
    await handle.close();
  }
}

function parsePin(text: string, uuid: string, path: string): Pin {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    throw badPin(path, "it is not JSON");
  }
  if (!isRecord(raw) || raw.version !== 1 || raw.uuid !== uuid) throw badPin(path, "it is not this volume's");
  const { keyArns, commitment, lowestGeneration } = raw;
  if (!Array.isArray(keyArns) || !keyArns.every((arn): arn is string => typeof arn === "string")) {
    throw badPin(path, "keyArns is not a list of ARNs");
  }
  if (typeof commitment !== "string" || typeof lowestGeneration !== "number") {
    throw badPin(path, "commitment or lowestGeneration is missing");
  }
  const backing = typeof raw.backing === "string" ? raw.backing : null;
  return { version: 1, uuid, keyArns, commitment, lowestGeneration, backing };
}

/** Writes a pin, mode 0600, by rename; where there is one already, by `updatePin`. Throws the system's error. */
export async function writePin(pin: Pin): Promise<void> {
  const directory = etcDirectory();
  const path = pinPath(pin.uuid);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const fresh = `${path}.new`;
  await removeIfThere(fresh);
  const handle = await open(fresh, "wx", 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(pin, null, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(fresh, path);
  await syncDirectory(directory);
}

/**
 * Changes a volume's pin, alone among the kmsfs of this host; nothing is written when `change` gives back what it got.
 * Throws UserError for a pin that cannot be used, and the system's error.
 */
export async function updatePin(
  uuid: string,
  change: (pin: Pin | undefined) => Pin | undefined,
): Promise<void> {
  const before = await readPin(uuid);
  if (isSame(change(before), before)) return;
  const directory = etcDirectory();
  await mkdir(directory, { recursive: true, mode: 0o755 });
  await withLock(directory, { waitSeconds: LOCK_SECONDS }, async () => {
    const pin = await readPin(uuid);
    const wanted = change(pin);
    if (wanted !== undefined && !isSame(wanted, pin)) await writePin(wanted);
  });
}

const LOCK_SECONDS = 30;

function isSame(a: Pin | undefined, b: Pin | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

export async function removePin(uuid: string): Promise<void> {
  await removeIfThere(pinPath(uuid));
}

/**
 * The pins of other volumes that this host last had at a path: a volume without a pin that turns up there was put in
 * place of one that has. Pins that cannot be read claim nothing.
 */
export async function pinsClaiming(backing: string, exceptUuid?: string): Promise<Pin[]> {
  const names = await readdir(etcDirectory()).catch(() => []);
  const claims: Pin[] = [];
  for (const name of names.filter((name) => name.endsWith(".json") && name !== `${exceptUuid}.json`)) {
    const pin = await readPin(name.slice(0, -".json".length)).catch(() => undefined);
    if (pin?.backing === backing) claims.push(pin);
  }
  return claims;
}

/** Refuses a volume without a pin where this host knows another one. */
export async function checkClaims(backing: string, header: HeaderBody): Promise<void> {
  const [claim] = await pinsClaiming(backing, header.uuid);
  if (claim === undefined) return;
  throw new UserError(
    "PinMismatch",
    `${backing} holds volume ${header.uuid}, this host knows volume ${claim.uuid} there (${pinPath(claim.uuid)})`,
    "another volume was put in its place; if you did that yourself, remove that pin",
  );
}

/** The pin that trusts a header as it is. */
export function pinOf(header: HeaderBody, backing: string): Pin {
  const keyArns = header.slots.flatMap((slot) => (slot.provider === "aws-kms" ? [slot.keyArn] : []));
  return {
    version: 1,
    uuid: header.uuid,
    keyArns: [...new Set(keyArns)],
    commitment: header.commitment,
    lowestGeneration: header.generation,
    backing,
  };
}

/**
 * Refuses a header that is not the pinned one's, or older. The previous generation, taken on purpose, may be exactly
 * one below. Before any key is asked for.
 */
export function checkPin(pin: Pin, header: HeaderBody, previous: boolean): void {
  if (header.commitment !== pin.commitment) {
    throw new UserError(
      "PinMismatch",
      `volume.json commits to another key than the one pinned in ${pinPath(pin.uuid)}`,
      "another volume was put in its place; if you did that yourself, remove the pin and mount again",
    );
  }
  const lowest = previous ? pin.lowestGeneration - 1 : pin.lowestGeneration;
  if (header.generation < lowest) {
    throw new UserError(
      "PinMismatch",
      `volume.json is of generation ${header.generation}, this host has seen ${pin.lowestGeneration} (${pinPath(pin.uuid)})`,
      "it was put back from an old copy; if you did that yourself, remove the pin and mount again",
    );
  }
}
