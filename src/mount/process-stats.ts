/** What a process takes of the machine, as proc(5) tells it. */

import { readdirSync, readFileSync } from "node:fs";

export interface ProcessStats {
  readonly residentBytes: number;
  /** of memory that cannot be swapped out */
  readonly lockedBytes: number;
  readonly threads: number;
  readonly descriptors: number;
  /** user and system time */
  readonly cpuSeconds: number;
}

/** USER_HZ: what clock_t of /proc is counted in on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** null for a process that is gone, or that is not ours to look at. */
export function processStats(pid: number): ProcessStats | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const field = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
    // The second field is the command in parentheses, and may hold anything.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return {
      residentBytes: field("VmRSS") * 1024,
      lockedBytes: field("VmLck") * 1024,
      threads: field("Threads"),
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
      // utime and stime, the 14th and 15th field.
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    };
  } catch {
    return null;
  }
}
