/** What is wrong with a volume, by place. Each is something that the format (docs/format.md) does not allow. */
export type DamageCode =
  | "record"
  | "binding"
  | "attributes"
  | "type"
  | "name"
  | "sidecar"
  | "symlink"
  | "xattr"
  | "header"
  | "node"
  | "block"
  | "length"
  | "duplicate-id"
  | "log"
  /** Something that no volume has in this place. */
  | "foreign"
  /** The system would not let it be read. */
  | "unreadable";

/**
 * Bytes of the volume that are not what format 1 says they are. Hostile input ends in this error and no other;
 * anything else that is thrown is a defect of the reader or an I/O error of the system.
 */
export class DamageError extends Error {
  constructor(
    readonly code: DamageCode,
    message: string,
    /** Number of the data block concerned, where there is one. */
    readonly block?: bigint,
  ) {
    super(message);
    this.name = "DamageError";
  }
}

/**
 * The errno name ("ENOENT") of an error that a system call gave, and of no other: errors of our own have a `code` too,
 * and are never to be taken for one file's trouble.
 */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("errno" in error) || !("code" in error)) return undefined;
  return typeof error.errno === "number" && typeof error.code === "string" ? error.code : undefined;
}

/** Runs `read`; a DamageError is added to `damage`. */
export function collect<T>(damage: DamageError[], read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DamageError)) throw error;
    damage.push(error);
    return undefined;
  }
}
