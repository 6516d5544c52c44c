/** Who uses a mount: what fuser -m says, without psmisc. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { isWithin } from "./places.js";

/** At most `limit` users as "name (pid)". Links in /proc are read, the mount itself is not touched. */
export function usersOf(dir: string, limit = 5): string[] {
  const users: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    if (users.length === limit) break;
    if (uses(pid, dir)) users.push(`${nameOf(pid)} (${pid})`);
  }
  return users;
}

function uses(pid: string, dir: string): boolean {
  const links = ["cwd", "root", "exe", ...listed(`/proc/${pid}/fd`).map((fd) => `fd/${fd}`)];
  return links.some((link) => isWithin(target(`/proc/${pid}/${link}`), dir));
}

function listed(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function target(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return "";
  }
}

/** What a process calls itself. */
export function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "?";
  }
}
