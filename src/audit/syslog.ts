/** Audit lines to the system's log, by logger(1): journald and syslogd listen on one socket. */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";

const MAX_LINE = "64KiB";

/** KMSFS_SYSLOG names another socket (tests), or is empty: none. */
function socket(): string | undefined {
  const path = process.env.KMSFS_SYSLOG ?? "/dev/log";
  return path !== "" && existsSync(path) ? path : undefined;
}

/**
 * Hands lines over and waits for nothing: the file is the record, this is a copy for whoever collects logs. Facility
 * authpriv, tag kmsfs-audit.
 */
export function toSyslog(lines: readonly string[]): void {
  const path = socket();
  if (path === undefined) return;
  const args = ["-t", "kmsfs-audit", "-p", "authpriv.notice", "-S", MAX_LINE, "-u", path];
  const child = spawn("logger", args, { stdio: ["pipe", "ignore", "ignore"] });
  child.on("error", () => undefined);
  child.stdin.on("error", () => undefined);
  child.stdin.end(`${lines.join("\n")}\n`);
  child.unref();
}
