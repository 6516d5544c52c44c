/** In the order of an operator's first day; help, manual and completion keep it. */
export const COMMANDS = [
  "init",
  "mount",
  "umount",
  "status",
  "metrics",
  "verify",
  "fsck",
  "scrub",
  "export",
  "key",
  "audit",
  "report",
  "snapshot",
  "setup",
] as const;

export type CommandName = (typeof COMMANDS)[number];

export function isCommandName(name: string | undefined): name is CommandName {
  return COMMANDS.some((command) => command === name);
}
