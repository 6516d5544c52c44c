import { ExitCode, type ExitCodeName } from "./cli/exit-codes.js";

/**
 * An error that the operator can act on. `what` says what happened and to what, `hint` what to do next; together
 * they make one line. Neither may hold key material.
 */
export class UserError extends Error {
  override readonly name = "UserError";
  readonly code: ExitCodeName;
  readonly hint: string | undefined;

  constructor(code: ExitCodeName, what: string, hint?: string, options?: ErrorOptions) {
    super(oneLine(what), options);
    this.code = code;
    this.hint = hint === undefined ? undefined : oneLine(hint);
  }

  /** The process's exit status for this error. */
  get exitCode(): number {
    return ExitCode[this.code];
  }

  /** "what; hint" without the leading "kmsfs: ". */
  get line(): string {
    return this.hint === undefined ? this.message : `${this.message}; ${this.hint}`;
  }
}

/** The errno name ("ENOENT") of a Node system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return undefined;
}

/** Any thrown value as one line of text. */
export function messageOf(error: unknown): string {
  return oneLine(error instanceof Error ? error.message : String(error));
}

/** Control characters would let a file name or a server's answer forge a second line. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  return text.replace(/[\u0000-\u001f\u007f]+/g, " ").trim();
}
