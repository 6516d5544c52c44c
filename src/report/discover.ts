/** Which volumes a host knows: by pins, by mounts, by audit chains. */

import { readdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { etcDirectory, logDirectory } from "../host-directories.js";
import { allStatus, type MountStatus } from "../mount/status.js";
import type { VolumeHeader } from "../volume/header.js";
import { readUnverifiedHeader } from "../volume/open.js";
import { pinsClaiming, readPin } from "../volume/pin.js";

/** A volume as it is named: by its uuid, or by its backing directory. */
export type Named = { readonly uuid: string } | { readonly backing: string };

export interface Found {
  readonly uuid: string;
  readonly mounts: readonly MountStatus[];
  /** where it may be, the likeliest first */
  readonly places: readonly string[];
}

const UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const PIN = new RegExp(`^(${UUID})\\.json$`);
const CHAIN = new RegExp(`^(${UUID})\\.audit(?:-head|[.-]\\d+(?:\\.gz)?)?$`);

/** Those that are named, or all that this host knows, by uuid. Throws UserError for a name that is no volume. */
export async function findVolumes(named: readonly Named[]): Promise<Found[]> {
  const mounts = await allStatus();
  const wanted =
    named.length === 0 ? await knownUuids(mounts) : await Promise.all(named.map((name) => uuidOf(name)));
  const found: Found[] = [];
  for (const uuid of [...new Set(wanted.map(({ uuid }) => uuid))].sort()) {
    const given = wanted.flatMap((name) => (name.uuid === uuid ? (name.place ?? []) : []));
    const pin = await readPin(uuid).catch(() => undefined);
    const recorded = mounts.filter((mount) => mount.uuid === uuid).map(({ backing }) => backing);
    const places = [...new Set([...given, ...recorded, ...(pin?.backing == null ? [] : [pin.backing])])];
    // A mount whose daemon kept its records elsewhere is known by its backing directory alone.
    const of = mounts.filter(
      (mount) => mount.uuid === uuid || (mount.uuid === null && places.includes(mount.backing)),
    );
    found.push({ uuid, mounts: of, places });
  }
  return found;
}

interface Wanted {
  readonly uuid: string;
  readonly place?: string;
}

async function knownUuids(mounts: readonly MountStatus[]): Promise<Wanted[]> {
  const mounted = mounts.flatMap(({ uuid }) => uuid ?? []);
  const unrecorded = await Promise.all(
    mounts.map(async ({ uuid, backing }) =>
      uuid === null ? [await uuidOf({ backing }).catch(() => undefined)] : [],
    ),
  );
  const pinned = await uuidsIn(etcDirectory(), PIN);
  const audited = await uuidsIn(logDirectory(), CHAIN);
  return [
    ...[...mounted, ...pinned, ...audited].map((uuid) => ({ uuid })),
    ...unrecorded.flat().filter((wanted) => wanted !== undefined),
  ];
}

async function uuidsIn(directory: string, pattern: RegExp): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names.flatMap((name) => pattern.exec(name)?.[1] ?? []);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw new UserError("Privilege", `${directory}: ${messageOf(error)}`, "run it as root");
  }
}

/** A volume whose header is damaged is known by the pin that has it at that place. */
async function uuidOf(name: Named): Promise<Wanted> {
  if ("uuid" in name) return name;
  const place = await realpath(name.backing).catch(() => name.backing);
  try {
    return { uuid: (await readUnverifiedHeader(place, false)).uuid, place };
  } catch (error) {
    const [pin] = await pinsClaiming(place, "");
    if (pin === undefined) throw error;
    return { uuid: pin.uuid, place };
  }
}

/** The header of a volume at the first of these places that has one with its uuid, or why there is none. */
export async function headerAt(
  uuid: string,
  places: readonly string[],
): Promise<{ backing: string; header: VolumeHeader } | { backing: string | null; why: string }> {
  let first: { backing: string; why: string } | undefined;
  for (const backing of places) {
    let why: string;
    try {
      const header = await readUnverifiedHeader(backing, false);
      if (header.uuid === uuid) return { backing, header };
      why = `${join(backing, ".kmsfs/volume.json")} is of another volume, ${header.uuid}`;
    } catch (error) {
      why = error instanceof UserError ? error.line : messageOf(error);
    }
    first ??= { backing, why };
  }
  return first ?? { backing: null, why: "nothing on this host says where it is" };
}
