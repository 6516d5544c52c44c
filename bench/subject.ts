/** A system that is mounted, over one backing. */

import { existsSync, mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { command, timed } from "./support/command.js";
import { cpuSeconds, memory } from "./support/processes.js";
import { isMounted, type Scratch } from "./support/scratch.js";
import { type Place, placeFor, type System } from "./systems/system.js";

export class Subject {
  readonly #place: Place;
  #pids: readonly number[] = [];
  #mounted = false;
  /** Of daemons that a remount ended. */
  #peak = 0;

  private constructor(
    readonly system: System,
    place: Place,
  ) {
    this.#place = place;
  }

  static async make(system: System, scratch: Scratch, backings: string): Promise<Subject> {
    const subject = new Subject(system, placeFor(scratch, backings, system.name));
    await system.init(subject.#place);
    await subject.mount();
    return subject;
  }

  get name(): string {
    return this.system.name;
  }

  get dir(): string {
    return this.#place.dir;
  }

  get place(): Place {
    return this.#place;
  }

  get pids(): readonly number[] {
    return this.#pids;
  }

  async mount(): Promise<void> {
    await this.#timeMounting();
  }

  /** Mounts; how long the mount command took, in seconds. */
  async #timeMounting(): Promise<number> {
    const seconds = await timed(async () => {
      this.#pids = await this.system.mount(this.#place);
    });
    this.#mounted = true;
    if (this.system.processes !== undefined) this.#pids = await this.system.processes(this.#place);
    // A new volume is root's alone, and servers run as somebody else.
    await command(["chmod", "755", this.dir]);
    return seconds;
  }

  async unmount(): Promise<void> {
    if (!this.#mounted) return;
    this.#peak = this.peakMemory();
    this.#mounted = false;
    await this.system.unmount(this.#place, this.#pids);
    this.#pids = [];
  }

  /** Mounts it where a row before has left it unmounted. */
  async ensureMounted(): Promise<void> {
    if (!isMounted(this.dir)) await this.mount();
  }

  /** Otherwise what is measured is the directory below. Throws. */
  checkMounted(): void {
    if (!isMounted(this.dir)) throw new Error("it is not mounted any more");
  }

  /** Its processes were killed and its mount is gone. */
  crashed(): void {
    this.#mounted = false;
    this.#pids = [];
  }

  async remount(): Promise<void> {
    await this.unmount();
    await this.mount();
  }

  /** Seconds that a mount takes. */
  async timeMount(): Promise<number> {
    await this.unmount();
    return this.#timeMounting();
  }

  async dropCaches(): Promise<void> {
    // Pages of the backing directory that are dirty would stay.
    for (const dir of [this.dir, this.#place.backing]) await command(["sync", "-f", dir], { limit: 600 });
    await writeFile("/proc/sys/vm/drop_caches", "3");
  }

  makeDirectory(name: string): void {
    if (!existsSync(`${this.dir}/${name}`)) mkdirSync(`${this.dir}/${name}`, { mode: 0o755 });
  }

  cpuSeconds(): number {
    return cpuSeconds(this.#pids);
  }

  /** Bytes that its processes held at most, of all mounts so far. */
  peakMemory(): number {
    return Math.max(this.#peak, memory(this.#pids, "VmHWM"));
  }
}
