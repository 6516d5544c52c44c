/** Kills engine and daemon of a mounted volume while `torture stress` works on it, and looks at what is left. */

import { mkdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { kill, type TestVolume } from "../support/test-volume.js";
import { runTorture } from "../support/torture.js";
import { until } from "../support/until.js";

/** What dies, and when. */
export const DEATHS = [
  "engine and daemon",
  "the engine",
  "the engine, and the daemon while it clears the mount away",
  "the daemon, and the engine after it",
  "both, and both again in the recovery",
  "the engine, in the unmount",
] as const;
export type Death = (typeof DEATHS)[number];

/** As long as anything may take on a busy machine before it counts as hanging. */
const PATIENCE = 300_000;

export class KillRun {
  readonly #volume: TestVolume;
  readonly #mode: string;
  readonly #death: Death;
  /** From 0 to below 1: where in what is going on it strikes */
  readonly #when: number;

  constructor(volume: TestVolume, mode: "writeback" | "nowriteback", death: Death, when: number) {
    this.#volume = volume;
    this.#mode = mode;
    this.#death = death;
    this.#when = when;
  }

  /** Undefined, or what is wrong. `seed` says what the load does, and when it asks for the death. */
  async run(seed: number): Promise<string | undefined> {
    const [work, mirror] = [this.#volume.at(`work ${seed}`), this.#volume.scratch.file(`mirror ${seed}`)];
    await this.#mount();
    mkdirSync(work);
    mkdirSync(mirror);
    const load = ["--threads", "2", "--processes", "2", "--ops", "100000", "--remount", "--crash"];
    const args = ["stress", ...load, "--seed", `${seed}`, work, mirror];
    const { wrong } = await bounded(
      "the load",
      runTorture(args, (line) => this.#answer(line)),
    );
    if (wrong !== undefined) return `${wrong}${this.#log()}`;
    await this.#umount();
    return this.#unsound();
  }

  async #answer(line: string): Promise<string | undefined> {
    try {
      if (!["kill", "mount", "remount"].includes(line)) return undefined;
      if (line === "kill") await this.#kill();
      if (line === "mount") await this.#mountAgain();
      if (line === "remount") await this.#remount();
      return "done";
    } catch (e) {
      return `${e} ${this.#log()}`.replaceAll("\n", " ");
    }
  }

  async #kill(): Promise<void> {
    const { daemonPid, enginePid } = await this.#pids();
    const pause = () => sleep(this.#when * 500);
    switch (this.#death) {
      case "the engine":
        kill(enginePid);
        break;
      case "the engine, and the daemon while it clears the mount away":
        kill(enginePid);
        await sleep(this.#when * 30);
        kill(daemonPid);
        break;
      case "the daemon, and the engine after it":
        kill(daemonPid);
        await pause();
        kill(enginePid);
        break;
      default:
        kill(enginePid);
        kill(daemonPid);
    }
    await until("the engine is gone", () => !isAlive(enginePid));
  }

  async #pids(): Promise<{ daemonPid: number; enginePid: number }> {
    const { daemonPid, enginePid } = await this.#volume.status();
    if (daemonPid === null || enginePid === null) throw new Error("not served");
    return { daemonPid, enginePid };
  }

  async #mountAgain(): Promise<void> {
    await this.#clear();
    if (this.#death === "both, and both again in the recovery") {
      const mounting = this.#volume.start("mount", this.#volume.backing, this.#volume.dir, ...this.#options);
      const ended = new Promise<void>((done) => mounting.on("close", () => done()));
      await until("there is an engine", async () => mounting.exitCode !== null || (await this.#served()));
      await sleep(this.#when * 50);
      for (const { daemonPid, enginePid } of await this.#volume.statuses()) {
        for (const pid of [enginePid, daemonPid]) if (pid !== null) kill(pid);
      }
      await bounded("a mount whose engine was killed", ended);
      await this.#clear();
    }
    await this.#mount();
  }

  async #served(): Promise<boolean> {
    return (await this.#volume.statuses()).some(({ enginePid }) => enginePid !== null);
  }

  /** What `kmsfs umount` says of a mount whose engine is dead, or that the daemon has taken away. */
  async #clear(): Promise<void> {
    const { code, stderr } = await bounded("umount", this.#volume.umount());
    if (code !== "Ok" && code !== "NotMounted") throw new Error(`umount: ${code} ${stderr}`);
    await until("nothing is mounted", async () => (await this.#volume.statuses()).length === 0);
  }

  async #remount(): Promise<void> {
    if (this.#death === "the engine, in the unmount") {
      const { enginePid } = await this.#pids();
      const unmounting = this.#volume.umount();
      await sleep(this.#when * 400);
      kill(enginePid);
      // Whichever came first.
      await bounded("an umount whose engine was killed", unmounting);
      await this.#clear();
    } else {
      await this.#umount();
    }
    await this.#mount();
  }

  get #options(): string[] {
    return ["-o", `allow_other,dev,suid,${this.#mode}`];
  }

  async #mount(): Promise<void> {
    const { code, stderr } = await bounded("mount", this.#volume.mount(...this.#options));
    if (code !== "Ok") throw new Error(`mount: ${stderr}`);
  }

  async #umount(): Promise<void> {
    const { code, stderr } = await bounded("umount", this.#volume.umount());
    if (code !== "Ok") throw new Error(`umount: ${stderr}`);
  }

  async #unsound(): Promise<string | undefined> {
    const { backing, keyfile } = this.#volume;
    const { code, stdout, stderr } = await this.#volume.run("verify", backing, "--keyfile", keyfile);
    if (code !== "Ok") return `verify: ${stdout}${stderr}${this.#log()}`;
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

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function bounded<T>(what: string, work: Promise<T>): Promise<T> {
  const over = new AbortController();
  const late = sleep(PATIENCE, undefined, { signal: over.signal }).then(() => {
    throw new Error(`${what} hangs: nothing for ${PATIENCE / 1000} s`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    over.abort();
    late.catch(() => undefined);
  }
}
