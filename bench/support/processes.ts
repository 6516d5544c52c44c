/** What the daemons of a mount use, from /proc. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** proc(5): utime and stime count in ticks, of which there are 100 a second on every Linux that Node runs on. */
const TICKS = 100;

/** Seconds of processor time so far. */
export function cpuSeconds(pids: readonly number[]): number {
  return sum(pids, (pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  });
}

/** Bytes of memory that a process holds now (VmRSS) or held at most (VmHWM). */
export function memory(pids: readonly number[], field: "VmRSS" | "VmHWM"): number {
  return sum(pids, (pid) => {
    const line = new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "latin1"));
    return Number(line?.[1] ?? 0) * 1024;
  });
}

function sum(pids: readonly number[], of: (pid: number) => number): number {
  return pids.reduce((total, pid) => {
    try {
      return total + of(pid);
    } catch {
      // It has ended.
      return total;
    }
  }, 0);
}

export function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

export function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}

/** Processes that work below a directory: servers that a row has started. */
export function processesIn(dir: string): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => {
    try {
      return readlinkSync(`/proc/${pid}/cwd`).startsWith(`${dir}/`);
    } catch {
      // Gone meanwhile.
      return false;
    }
  });
}
