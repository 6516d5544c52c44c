/** A directory of the run's own; what is mounted or running in it goes with it, however the run ends. */

import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { PATH, until } from "./command.js";
import { isAlive, kill, processesIn } from "./processes.js";

export class Scratch {
  readonly path: string;
  readonly #daemons = new Set<number>();
  readonly #ending = () => this.remove();
  readonly #signal = (signal: NodeJS.Signals) => {
    this.remove();
    process.kill(process.pid, signal);
  };

  constructor(parent: string) {
    this.path = mkdtempSync(join(parent, "kmsfs-bench-"));
    // Servers that run as somebody else reach their directories through it.
    chmodSync(this.path, 0o755);
    process.once("exit", this.#ending);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, this.#signal);
  }

  at(...names: string[]): string {
    return join(this.path, ...names);
  }

  directory(...names: string[]): string {
    const path = this.at(...names);
    mkdirSync(path, { recursive: true, mode: 0o755 });
    return path;
  }

  /** Starts a program that serves a mount on `dir`, and waits until that is there. */
  async serve(argv: readonly string[], dir: string, env: Record<string, string> = {}): Promise<number> {
    const [program = "", ...args] = argv;
    const log = this.at(`${basename(dir)}.log`);
    const out = openSync(log, "a");
    const child = spawn(program, args, {
      cwd: "/",
      env: { PATH, HOME: this.path, LC_ALL: "C", ...env },
      stdio: ["ignore", out, out],
      // Ctrl-C is for the run, which then unmounts.
      detached: true,
    });
    child.unref();
    const failed = new Promise<never>((_, reject) => child.once("error", reject));
    failed.catch(() => undefined);
    const { pid } = child;
    if (pid === undefined) return failed;
    this.#daemons.add(pid);
    await Promise.race([
      failed,
      until(`${program} mounts (${log})`, 300, () => {
        if (!isAlive(pid))
          throw new Error(`${program} ended: ${readFileSync(log, "utf8").trim().slice(-300)}`);
        return isMounted(dir);
      }),
    ]);
    return pid;
  }

  /** Waits for the end of programs whose mount is gone. */
  async ended(pids: readonly number[]): Promise<void> {
    await until("the daemon ends", 300, () => !pids.some(isAlive));
    for (const pid of pids) this.#daemons.delete(pid);
  }

  /** To be killed when the run is over before the mount is. */
  watch(pids: readonly number[]): void {
    for (const pid of pids) this.#daemons.add(pid);
  }

  remove(): void {
    // Innermost first; a daemon that hangs must not hang the run, so it is killed before what it serves goes.
    for (const pid of [...processesIn(this.path), ...this.#daemons]) kill(pid);
    for (const { dir } of mounts()
      .filter(({ dir }) => dir.startsWith(`${this.path}/`))
      .reverse()) {
      spawnSync("umount", ["-i", "-l", "-d", dir], { env: { PATH } });
    }
    for (const device of loopDevices(this.path)) spawnSync("losetup", ["-d", device], { env: { PATH } });
    rmSync(this.path, { recursive: true, force: true });
    process.removeListener("exit", this.#ending);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      process.removeListener(signal, this.#signal);
  }
}

function mounts(): { dir: string }[] {
  const lines = readFileSync("/proc/self/mounts", "utf8").trim().split("\n");
  return lines.map((line) => ({ dir: line.split(" ")[1] ?? "" }));
}

export function isMounted(dir: string): boolean {
  return mounts().some((mount) => mount.dir === dir);
}

function loopDevices(below: string): string[] {
  const { stdout } = spawnSync("losetup", ["-n", "-O", "NAME,BACK-FILE"], { env: { PATH } });
  const lines = stdout?.toString().split("\n") ?? [];
  return lines.filter((line) => line.includes(` ${below}/`)).map((line) => line.split(" ")[0] ?? "");
}
