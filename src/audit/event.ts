/** What the audit chain tells of (docs/audit.md). */

export const EVENTS = [
  /** The first line of a volume's chain on this host */
  "begin",
  /** The first line of a file that goes on where a rotated one ended */
  "continue",
  /** The line before was cut short by a crash; it stays as it is */
  "torn",
  /** The file ends elsewhere than the head that was noted beside it: lines were cut off */
  "gap",
  /** Events that could not be written, and were too many to be kept */
  "lost",
  "init",
  "unlock",
  "mount",
  "remount",
  "recovery",
  "unmount",
  "engine-death",
  "tamper",
  "slot-add",
  "slot-remove",
  "slot-rotate",
  "verify",
  "scrub",
  "export",
  "fsck",
] as const;

export type EventName = (typeof EVENTS)[number];

/** Events that may stand there without a MAC: they can come before anybody has the key. */
export const UNKEYED: ReadonlySet<EventName> = new Set([
  "begin",
  "continue",
  "torn",
  "gap",
  "unlock",
  "tamper",
]);

export interface AuditEvent {
  readonly event: EventName;
  readonly outcome: "ok" | "failed" | "detected";
  /** Name of the exit code, for what failed */
  readonly code?: string | undefined;
  readonly slot?: number | undefined;
  readonly keyArn?: string | undefined;
  /** KMS's id of the request: CloudTrail has it too */
  readonly requestId?: string | undefined;
  readonly detail?:
    | Readonly<Record<string, string | number | boolean | null | readonly string[]>>
    | undefined;
}

/** Who did it, as the kernel knows it and sudo says it. */
export interface Who {
  readonly uid: number;
  /** From sudo's environment: what somebody with root may have set */
  readonly sudoUid?: number;
  /** Of the login that this process comes from, /proc/self/loginuid; absent without one */
  readonly loginUid?: number;
  readonly pid: number;
  readonly command: string;
}

/** One line of the chain, as JSON. */
export interface AuditLine extends AuditEvent {
  readonly seq: number;
  /** RFC 3339 UTC */
  readonly time: string;
  readonly host: string;
  readonly volume: string;
  readonly domain: string;
  readonly who: Who;
  /** SHA-256 of the line before, its bytes without the line end, in hex */
  readonly prev: string;
  /** 16 random bytes of the writer's session, hex; absent on lines without MAC */
  readonly session?: string;
  /** Number of the line within its session, from 0 */
  readonly n?: number;
  /** base64 of HMAC-SHA-256 */
  readonly mac?: string;
}
