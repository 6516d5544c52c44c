import { Progress } from "./progress.js";
import { durationText } from "./units.js";

const WIDTH = 24;

/** A bar with the time that is left, on standard error where that is a terminal; nothing elsewhere. */
export class Bar {
  readonly #progress = new Progress();
  readonly #began = performance.now();
  #label = "";
  /** where and when the label changed: a new phase goes at a pace of its own */
  #from = { done: 0, at: this.#began };

  show(label: string, done: number, total: number, more = ""): void {
    if (label !== this.#label) {
      this.#label = label;
      this.#from = { done, at: performance.now() };
    }
    this.#progress.show(() => {
      const share = total === 0 ? 1 : done / total;
      const filled = Math.round(share * WIDTH);
      const bar = `[${"#".repeat(filled)}${".".repeat(WIDTH - filled)}]`;
      const percent = `${Math.floor(share * 100)}%`.padStart(4);
      return `${label} ${bar}${percent} ${this.#left(done, total)}${more === "" ? "" : ` ${more}`}`;
    });
  }

  clear(): void {
    this.#progress.clear();
  }

  #left(done: number, total: number): string {
    const seconds = (performance.now() - this.#from.at) / 1000;
    const rate = (done - this.#from.done) / seconds;
    return rate > 0 && seconds > 1 ? `${durationText((total - done) / rate)} left` : "";
  }
}
