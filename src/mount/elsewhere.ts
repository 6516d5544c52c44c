/** Other places at which a file system is still mounted: bind mounts here, copies in other mount namespaces. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { nameOf } from "./busy.js";
import { parseMountinfo } from "./mountinfo.js";
import { processId } from "./process-id.js";

export interface Elsewhere {
  /** of this namespace or another: "mnt:[4026531841]" */
  readonly namespace: string;
  /** where it is mounted there, for a line to an operator */
  readonly text: string;
}

/** One for each mount namespace that has the device ("major:minor"). /proc is read, the mount itself is not touched. */
export function mountedElsewhere(device: string): Elsewhere[] {
  const own = readlinkSync("/proc/self/ns/mnt");
  const looked = new Set<string>();
  return processes().flatMap((pid) => {
    try {
      const namespace = readlinkSync(`/proc/${pid}/ns/mnt`);
      if (looked.has(namespace)) return [];
      const mounts = parseMountinfo(readFileSync(`/proc/${pid}/mountinfo`, "utf8"));
      looked.add(namespace);
      const entry = mounts.find((entry) => entry.device === device);
      if (entry === undefined) return [];
      const at = `on ${entry.mountPoint}`;
      const of = `${at} in the mount namespace of ${nameOf(pid)} (${pid})`;
      return [{ namespace, text: namespace === own ? at : of }];
    } catch {
      // It has ended.
      return [];
    }
  });
}

/** Ours first, then by age, so that it is the namespace's first process that is named. */
function processes(): string[] {
  return ["self", ...oldestFirst(readdirSync("/proc").filter((name) => /^\d+$/.test(name)))];
}

/** By when they started: numbers begin again at the bottom once they are used up. Who has ended comes last. */
export function oldestFirst(pids: readonly string[]): string[] {
  const started = (pid: string): number => Number(processId(Number(pid))?.started ?? Number.MAX_SAFE_INTEGER);
  return pids
    .map((pid) => ({ pid, at: started(pid) }))
    .sort((a, b) => a.at - b.at || Number(a.pid) - Number(b.pid))
    .map(({ pid }) => pid);
}

const FIRST_MS = 5000;

/**
 * Until it is called off, tells of each place once that a file system which was unmounted here still is mounted at: its
 * engine goes on until the last of them is gone.
 */
export function tellWhereElse(device: string, tell: (text: string) => void, afterMs = FIRST_MS): () => void {
  const told = new Set<string>();
  const timer = setInterval(() => {
    for (const { namespace, text } of mountedElsewhere(device)) {
      if (!told.has(namespace)) tell(text);
      told.add(namespace);
    }
  }, afterMs);
  return () => clearInterval(timer);
}
