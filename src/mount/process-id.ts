/** Processes that outlive the one that started them, told apart from later ones under the same number. */

import { readFileSync } from "node:fs";

export interface ProcessId {
  readonly pid: number;
  /** clock ticks from boot to its start, field 22 of proc_pid_stat(5) */
  readonly started: string;
}

/** The identity of a running process; undefined when it is gone or a zombie. */
export function processId(pid: number): ProcessId | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The second field is the name in parentheses, and may itself hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, started] = [fields[0], fields[19]];
  if (state === "Z" || state === "X" || started === undefined) return undefined;
  return { pid, started };
}

export function isAlive(id: ProcessId): boolean {
  return processId(id.pid)?.started === id.started;
}
