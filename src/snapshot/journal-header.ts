import { isImageBytes, isTextOrNull, isVolumeGib } from "./manifest.js";

/** What a journal's first line says: all that StartSnapshot is told must be the same again. */
export interface JournalHeader {
  readonly kind: "kmsfs snapshot push";
  readonly version: 1;
  readonly source: string;
  readonly bytes: number;
  readonly volumeGib: number;
  readonly parent: string | null;
  readonly description: string;
  readonly tags: readonly { Key: string; Value: string }[];
  readonly clientToken: string;
  readonly region: string;
  readonly started: string;
}

export function isJournalHeader(value: unknown): value is JournalHeader {
  const header = value as JournalHeader;
  return (
    typeof value === "object" &&
    value !== null &&
    header.kind === "kmsfs snapshot push" &&
    header.version === 1 &&
    typeof header.source === "string" &&
    isVolumeGib(header.volumeGib) &&
    isImageBytes(header.bytes, header.volumeGib) &&
    isTextOrNull(header.parent) &&
    Array.isArray(header.tags) &&
    typeof header.region === "string" &&
    typeof header.clientToken === "string" &&
    typeof header.description === "string" &&
    typeof header.started === "string"
  );
}
