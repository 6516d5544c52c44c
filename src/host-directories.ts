/** Where this host keeps what is its own about volumes; the environment moves it, for trials and tests. */

import { resolve } from "node:path";

/** Pins and settings: /etc/kmsfs, or where KMSFS_ETC says. */
export function etcDirectory(): string {
  return resolve(process.env.KMSFS_ETC || "/etc/kmsfs");
}

/** Logs and audit chains: /var/log/kmsfs, or where KMSFS_LOG says: they have to outlive the mount and the boot. */
export function logDirectory(): string {
  return resolve(process.env.KMSFS_LOG || "/var/log/kmsfs");
}
