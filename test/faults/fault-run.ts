/** Runs `torture faults` on a volume, and does for it what only a command can: unmount, verify, mount. */

import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import type { TestVolume } from "../support/test-volume.js";
import { runTorture } from "../support/torture.js";

/** A volume with the smallest log, so that it goes round, and a cache too small for what is read. */
export const SMALL_LOG = ["--log-segments", "4", "--log-segment-size", "4"];

export class FaultRun {
  readonly #volume: TestVolume;
  readonly #mode: string;

  constructor(volume: TestVolume, mode: "writeback" | "nowriteback") {
    this.#volume = volume;
    this.#mode = mode;
  }

  /** What was wrong, or what was done. */
  async run(args: readonly string[]): Promise<{ wrong: string | undefined; summary: string }> {
    const mirror = this.#volume.scratch.file("mirror");
    mkdirSync(mirror);
    await this.#mount();
    const work = this.#volume.at("work");
    mkdirSync(work);
    const ran = await runTorture(["faults", work, mirror, ...args], (line) => this.#answer(line));
    if (ran.wrong !== undefined) return { ...ran, wrong: `${ran.wrong}${this.#log()}` };
    await this.#umount();
    return { ...ran, wrong: await this.#unsound() };
  }

  async #answer(line: string): Promise<string | undefined> {
    try {
      if (line === "engine") return await this.#engine();
      if (!["remount", "failed", "umount"].includes(line)) return undefined;
      if (line === "failed" && (await this.#volume.status()).readOnly === null) {
        return "nothing is written any more, and kmsfs status does not say why";
      }
      if (line === "remount") await this.#umount();
      // It may have found out only now that it could not write everything home, and says so: that is for the next mount.
      else await this.#volume.umount();
      const unsound = await this.#unsound();
      if (unsound !== undefined) return unsound.replaceAll("\n", " ");
      await this.#mount();
      return await this.#engine();
    } catch (e) {
      return `${e} ${this.#log()}`.replaceAll("\n", " ");
    }
  }

  async #engine(): Promise<string> {
    return `done ${(await this.#volume.status()).enginePid}`;
  }

  async #mount(): Promise<void> {
    const { code, stderr } = await this.#volume.mount("-o", `allow_other,dev,suid,cache=1M,${this.#mode}`);
    if (code !== "Ok") throw new Error(`mount: ${stderr}`);
  }

  async #umount(): Promise<void> {
    const { code, stderr } = await this.#volume.umount();
    if (code !== "Ok") throw new Error(`umount: ${stderr}`);
  }

  /** What of the unmounted volume is not as it must be: every block opens, and nothing was called tampering. */
  async #unsound(): Promise<string | undefined> {
    if ((await this.#volume.statuses()).length > 0) return "it is still mounted";
    const { code, stdout, stderr } = await this.#volume.run(
      "verify",
      this.#volume.backing,
      "--keyfile",
      this.#volume.keyfile,
    );
    if (code !== "Ok") {
      const keep = process.env.KMSFS_FAULTS_KEEP;
      // For whoever looks into it: the test's own goes with the test.
      if (keep !== undefined) spawnSync("cp", ["-a", this.#volume.backing, this.#volume.keyfile, keep]);
      return `verify: ${stdout}${stderr}${this.#log()}`;
    }
    return /tamper|panic/i.test(this.#volume.logText()) ? `the log says: ${this.#log()}` : undefined;
  }

  #log(): string {
    const lines = this.#volume.logText().split("\n");
    return lines
      .filter((line) => !/^\{|PR_SET_IO_FLUSHER| (un)?mounted /.test(line))
      .slice(-12)
      .join("\n");
  }
}
