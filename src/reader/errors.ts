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

/** The machine lacks something that reading takes (a tool, a right): nothing is said about the volume. */
export class ReaderSetupError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ReaderSetupError";
  }
}

/** The `code` of a Node system error, or undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
