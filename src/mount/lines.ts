const MAX_LINE_BYTES = 1024 * 1024;

/** Cuts a byte stream into lines. */
export class LineReader {
  #pending = "";
  readonly #decoder = new TextDecoder();

  /** The lines that this chunk completes, without their ends. Throws Error on one above 1 MiB. */
  push(chunk: Buffer): string[] {
    const lines = (this.#pending + this.#decoder.decode(chunk, { stream: true })).split("\n");
    this.#pending = lines.pop() ?? "";
    if (this.#pending.length > MAX_LINE_BYTES) throw new Error("a line is too long");
    return lines;
  }
}
