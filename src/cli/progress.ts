/** Shortest time between two lines shown, in milliseconds. */
const INTERVAL = 200;

/** A line on standard error that is drawn over while work goes on; nothing where that is no terminal. */
export class Progress {
  readonly #shown = process.stderr.isTTY === true;
  #last = 0;

  show(line: () => string): void {
    const now = Date.now();
    if (!this.#shown || now - this.#last < INTERVAL) return;
    this.#last = now;
    process.stderr.write(`\r\x1b[K${line().slice(0, (process.stderr.columns ?? 80) - 1)}`);
  }

  /** Removes the line, before anything else is printed. */
  clear(): void {
    if (this.#shown && this.#last > 0) process.stderr.write("\r\x1b[K");
  }
}
