/** A systemd of a test's own, as process 1 of namespaces of its own; see private-systemd.sh. */

import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { packageRoot } from "../../src/package-root.js";
import { type Ended, finish } from "./programs.js";
import { Scratch } from "./run-kmsfs.js";
import { kill } from "./test-volume.js";
import { until } from "./until.js";

/** Why there can be none here, or false. */
export function cannotRunSystemd(): string | false {
  if (process.getuid?.() !== 0) return "needs root";
  if (!existsSync("/usr/lib/systemd/systemd")) return "systemd is not installed";
  const hasGroups = readFileSync("/proc/self/mounts", "utf8").includes(" cgroup2 rw");
  return !hasGroups && "needs a cgroup2 hierarchy that can be written";
}

export class PrivateSystemd {
  readonly #scratch = new Scratch();
  #pid = 0;

  private constructor() {}

  static async start(t: Test): Promise<PrivateSystemd> {
    const systemd = new PrivateSystemd();
    const script = join(packageRoot(), "test/support/private-systemd.sh");
    const args = [script, systemd.#scratch.path, packageRoot(), process.execPath];
    const child = spawn("env", ["-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", ...args], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const gone = new Promise((done) => child.on("close", done));
    t.teardown(async () => {
      if (systemd.#pid !== 0) kill(systemd.#pid);
      else child.kill();
      await gone;
      systemd.#scratch.remove();
    });
    await until("the root is there", () => existsSync(systemd.#scratch.file("ready")));
    // Process 1 of the namespace, by the number that it has here.
    const children = (pid: number): number =>
      Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
    systemd.#pid = children(children(child.pid ?? 0));
    await until(
      "systemd runs",
      async () => (await systemd.systemctl("is-system-running")).stdout === "running\n",
    );
    return systemd;
  }

  /** Where a path of its root is. */
  path(path: string): string {
    return `/proc/${this.#pid}/root${path}`;
  }

  write(path: string, text: string): void {
    writeFileSync(this.path(path), text, { mode: 0o600 });
  }

  /** A program in its namespaces and its root, with that environment alone. */
  run(environment: Readonly<Record<string, string>>, program: string, ...args: string[]): Promise<Ended> {
    const settings = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    const namespaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd"];
    const command = ["env", "-i", "PATH=/usr/sbin:/usr/bin", ...settings, program, ...args];
    return finish(["nsenter", "--target", String(this.#pid), ...namespaces, "--", ...command], { cwd: "/" });
  }

  systemctl(...args: string[]): Promise<Ended> {
    return this.run({}, "systemctl", ...args);
  }

  /** A property of a unit, as systemctl show has it. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.systemctl("show", "--value", "-p", name, unit)).stdout.trim();
  }
}
