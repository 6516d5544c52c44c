/** What a host knows of a snapshot that it has pushed or read: every block's digest. */

import { readdirSync } from "node:fs";
import { errnoOf, UserError } from "../errors.js";
import { BLOCK_BYTES, type Digests, GIB, MAX_VOLUME_GIB } from "./blocks.js";
import { readManifestFile, writeManifestFile } from "./digest-file.js";
import { manifestPath, snapshotState } from "./places.js";

export interface ManifestHeader {
  readonly kind: "kmsfs snapshot manifest";
  readonly version: 1;
  readonly snapshot: string;
  readonly region: string;
  /** the image's bytes, where they are known: a snapshot knows whole GiB only */
  readonly bytes: number | null;
  readonly volumeGib: number;
  readonly source: string | null;
  readonly parent: string | null;
  /** RFC 3339 UTC */
  readonly created: string;
  /** blocks that this push wrote; the others are the parent's */
  readonly written: number;
}

export interface Manifest {
  readonly header: ManifestHeader;
  /** of every block of the snapshot, its parents' included, that does not hold zeros alone */
  readonly digests: Digests;
}

function isHeader(value: unknown): value is ManifestHeader {
  const header = value as ManifestHeader;
  return (
    typeof value === "object" &&
    value !== null &&
    header.kind === "kmsfs snapshot manifest" &&
    header.version === 1 &&
    typeof header.snapshot === "string" &&
    typeof header.region === "string" &&
    isVolumeGib(header.volumeGib) &&
    (header.bytes === null || isImageBytes(header.bytes, header.volumeGib)) &&
    isTextOrNull(header.source) &&
    isTextOrNull(header.parent) &&
    typeof header.created === "string" &&
    Number.isSafeInteger(header.written)
  );
}

export function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === "string";
}

/** Bytes of an image that a volume of so many GiB holds. */
export function isImageBytes(value: unknown, gib: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= gib * GIB;
}

export function isVolumeGib(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= MAX_VOLUME_GIB;
}

/** Blocks of a volume of so many GiB. */
export function blocksOfGib(gib: number): number {
  return (gib * GIB) / BLOCK_BYTES;
}

/** The manifest of a snapshot; undefined when this host has none. Throws UserError (SnapshotManifest). */
export async function readManifest(snapshot: string): Promise<Manifest | undefined> {
  return readManifestAt(manifestPath(snapshot), snapshot);
}

async function readManifestAt(path: string, snapshot: string): Promise<Manifest | undefined> {
  const file = await readManifestFile(path, (header) => {
    if (!isHeader(header)) throw new Error("its first line is not that of a manifest");
    if (header.snapshot !== snapshot) throw new Error(`it is that of ${header.snapshot}`);
    return blocksOfGib(header.volumeGib);
  });
  return file === undefined ? undefined : { header: file.header as ManifestHeader, digests: file.digests };
}

export async function writeManifest({ header, digests }: Manifest): Promise<void> {
  await writeManifestFile(manifestPath(header.snapshot), header, digests);
}

/** The manifests and unfinished journals of this host, as file names without their endings. */
export function listState(): { snapshots: string[]; journals: string[] } {
  let names: string[];
  try {
    names = readdirSync(snapshotState());
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return { snapshots: [], journals: [] };
    throw new UserError("Privilege", `${snapshotState()} cannot be read`, "run as root, or set KMSFS_STATE");
  }
  const ending = (suffix: string) =>
    names.filter((name) => name.endsWith(suffix)).map((name) => name.slice(0, -suffix.length));
  return { snapshots: ending(".manifest").sort(), journals: ending(".push").sort() };
}
