import { Progress } from "./progress.js";

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

/** "1:02:03", "2:03" */
export function durationText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
