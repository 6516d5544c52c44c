/** A mounted volume as an administrator prepares it for an application: others see it, a directory is the application's. */

import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync } from "node:fs";
import type { Test } from "tap";
import { killAtEnd, type Who } from "../support/programs.js";
import { TestVolume } from "../support/test-volume.js";
import { until } from "../support/until.js";

export class AppVolume {
  private constructor(
    readonly volume: TestVolume,
    readonly who: Who,
    /** The application's directory on the mount. */
    readonly dir: string,
    /** One beside it, on the file system that the volume's backing directory is on. */
    readonly plain: string,
  ) {}

  static async make(t: Test, who: Who): Promise<AppVolume> {
    const volume = await TestVolume.make(t);
    killAtEnd(t, volume.scratch.path);
    chmodSync(volume.scratch.path, 0o755);
    const app = new AppVolume(volume, who, volume.at("app"), volume.scratch.file("plain"));
    await app.mount(t);
    chmodSync(volume.dir, 0o755);
    for (const dir of [app.dir, app.plain]) {
      mkdirSync(dir);
      chownSync(dir, who.uid, who.gid);
    }
    return app;
  }

  async mount(t: Test): Promise<void> {
    await this.volume.up(t, "-o", "allow_other");
  }

  /** Kills the engine under whatever runs. What had files open finds that out; the mount goes. */
  async killEngine(): Promise<void> {
    const { enginePid } = await this.volume.status();
    if (enginePid === null) throw new Error("not served");
    process.kill(enginePid, "SIGKILL");
    await until("the mount is gone", async () => (await this.volume.statuses()).length === 0);
  }

  /** Unmounts; every block must verify, and nothing may have been called tampering on the way. */
  async endClean(t: Test): Promise<void> {
    await this.volume.down(t);
    const { volume } = this;
    const verified = await volume.run("verify", volume.backing, "--keyfile", volume.keyfile);
    t.equal(verified.code, "Ok", verified.stdout + verified.stderr);
    t.notMatch(volume.logText(), /tamper|panic/i);
  }
}

/** Bytes that a file takes on its disk. */
export function allocated(path: string): number {
  return Number(spawnSync("stat", ["-c", "%b", path]).stdout.toString()) * 512;
}
