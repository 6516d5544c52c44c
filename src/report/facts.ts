/** What a report says, as plain data: `kmsfs report --json` prints it, and the page is made from nothing else. */

import type { AuditEvent, EventName, Who } from "../audit/event.js";
import type { ScrubState } from "../mount/scrub.js";
import type { Condition } from "../mount/status.js";
import type { LogParameters } from "../volume/header.js";

/** `problem`: something is wrong. `warning`: somebody should look or act. `note`: to be known. */
export type Severity = "problem" | "warning" | "note";

export interface Finding {
  readonly severity: Severity;
  /** of the volume; null for the host as a whole */
  readonly volume: string | null;
  /** a name that stays, for programs */
  readonly id: string;
  readonly what: string;
  readonly advice: string;
}

export interface Report {
  /** of this format */
  readonly kmsfsReport: 1;
  /** RFC 3339 UTC, as all times */
  readonly generated: string;
  readonly kmsfs: string;
  readonly host: string;
  readonly system: string;
  readonly by: { readonly uid: number; readonly name: string | null; readonly loginUid: number | null };
  readonly limits: Limits;
  readonly auditing: Auditing;
  readonly findings: readonly Finding[];
  readonly volumes: readonly VolumeFacts[];
}

/** Days, from which on a finding says so. */
export interface Limits {
  readonly keyDays: number;
  readonly checkDays: number;
}

export interface Auditing {
  readonly policy: "require" | "try";
  readonly anchor: string | null;
  readonly syslog: boolean;
  readonly directory: string;
  /** why the settings cannot be used; null when they can */
  readonly problem: string | null;
}

export interface VolumeFacts {
  readonly uuid: string;
  readonly backing: string | null;
  readonly header: HeaderFacts | null;
  /** why there is no header */
  readonly headerProblem: string | null;
  readonly key: KeyCheck;
  readonly pin: PinFacts;
  readonly mounts: readonly MountFacts[];
  readonly trail: TrailFacts;
  /** the last scrub of this host that was begun; null when there was none */
  readonly scrub: ScrubFacts | null;
}

export interface HeaderFacts {
  readonly format: number;
  readonly blockSize: number;
  readonly features: readonly string[];
  readonly log: LogParameters;
  readonly generation: number;
  readonly created: string;
  readonly slots: readonly SlotFacts[];
}

/** Whether the volume's key was opened for this report, and volume.json verified with it. */
export type KeyCheck =
  | { readonly state: "not-asked" }
  | { readonly state: "verified"; readonly slot: number }
  | { readonly state: "failed"; readonly code: string; readonly why: string };

export interface SlotFacts {
  readonly id: number;
  readonly provider: "aws-kms" | "keyfile" | "passphrase";
  readonly label: string;
  /** when the key was wrapped in it, last */
  readonly wrapped: string;
  /** whole days since */
  readonly days: number;
  readonly keyArn: string | null;
  readonly region: string | null;
  readonly account: string | null;
  /** with the pairs that kmsfs adds; null but for KMS */
  readonly context: Readonly<Record<string, string>> | null;
  /** of a key file */
  readonly path: string | null;
  /** of a passphrase */
  readonly scrypt: { readonly n: number; readonly r: number; readonly p: number } | null;
  readonly lastRotated: EventFacts | null;
  readonly lastOpened: EventFacts | null;
}

export interface PinFacts {
  readonly path: string;
  readonly state: "matches" | "differs" | "absent" | "unusable" | "not-compared";
  /** why it differs or cannot be used */
  readonly why: string | null;
  readonly keyArns: readonly string[];
  readonly lowestGeneration: number | null;
}

export interface MountFacts {
  readonly dir: string;
  readonly condition: Condition;
  readonly since: string | null;
  readonly options: readonly string[];
  readonly readOnly: string | null;
  readonly memoryLocked: boolean | null;
  readonly tamperEvents: number | null;
  readonly warnings: readonly string[];
}

/** A line of the audit chain. */
export interface EventFacts {
  readonly seq: number;
  readonly time: string;
  readonly host: string;
  readonly event: EventName;
  readonly outcome: AuditEvent["outcome"];
  readonly code: string | null;
  readonly slot: number | null;
  readonly keyArn: string | null;
  readonly requestId: string | null;
  readonly who: Who;
  readonly signed: boolean;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** The last of many, and how many there are. */
export interface Listed {
  readonly count: number;
  /** newest first */
  readonly last: readonly EventFacts[];
}

export interface TrailFacts {
  readonly files: readonly string[];
  /** why it cannot be read; null when it can, or when there is none */
  readonly problem: string | null;
  readonly chain: ChainFacts | null;
  readonly opened: Listed;
  readonly refused: Listed;
  readonly mounts: Listed;
  readonly slotChanges: Listed;
  readonly tampering: Listed;
  readonly exports: Listed;
  /** lines that say that others could not be written */
  readonly lost: Listed;
  readonly lastOpened: EventFacts | null;
  readonly lastVerify: EventFacts | null;
  /** the last one that went to its end */
  readonly lastScrub: EventFacts | null;
}

export interface ChainFacts {
  readonly intact: boolean;
  /** whether signatures were checked, or the hashes alone */
  readonly withKey: boolean;
  readonly lines: number;
  readonly signed: number;
  readonly uncovered: number;
  readonly from: string | null;
  readonly to: string | null;
  readonly head: { readonly seq: number; readonly hash: string } | null;
  readonly anchors: readonly { readonly source: string; readonly seq: number }[];
  readonly problemCount: number;
  /** the first of them */
  readonly problems: readonly string[];
  readonly notes: readonly string[];
}

export interface ScrubFacts {
  readonly state: ScrubState;
  readonly started: string;
  readonly ended: string | null;
  readonly files: number;
  readonly blocks: number;
  readonly bytes: number;
  readonly findingCount: number;
  /** the first of them, by their sealed names: the report holds none in clear */
  readonly findings: readonly string[];
  readonly message: string | null;
  readonly lastDone: { readonly ended: string; readonly findingCount: number } | null;
}
