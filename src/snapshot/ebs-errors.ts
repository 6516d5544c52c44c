/** What went wrong with the EBS direct APIs, as something that the operator can act on. Names: the API reference. */

import { credentialsTrouble, isTimeout, isUnreachable } from "../aws-sdk.js";
import type { ExitCodeName } from "../cli/exit-codes.js";
import { messageOf, UserError } from "../errors.js";

export type EbsAction =
  | "StartSnapshot"
  | "PutSnapshotBlock"
  | "CompleteSnapshot"
  | "ListSnapshotBlocks"
  | "ListChangedBlocks"
  | "GetSnapshotBlock";

const THROTTLES = new Set([
  "RequestThrottledException",
  "RequestThrottled",
  "ThrottlingException",
  "Throttling",
  "TooManyRequestsException",
  "ConcurrentLimitExceededException",
  "RequestLimitExceeded",
  "SlowDown",
]);

interface Facts {
  readonly name: string;
  readonly code: string;
  readonly reason: string;
  readonly message: string;
  readonly status: number | undefined;
  readonly requestId: string | undefined;
}

function factsOf(error: unknown): Facts {
  const thrown = (typeof error === "object" && error !== null ? error : {}) as {
    name?: unknown;
    code?: unknown;
    Reason?: unknown;
    Message?: unknown;
    $metadata?: { httpStatusCode?: unknown; requestId?: unknown };
  };
  const text = (value: unknown) => (typeof value === "string" ? value : "");
  const status = thrown.$metadata?.httpStatusCode;
  return {
    name: text(thrown.name),
    code: text(thrown.code),
    reason: text(thrown.Reason),
    message: text(thrown.Message) || messageOf(error),
    status: typeof status === "number" ? status : undefined,
    requestId: text(thrown.$metadata?.requestId) || undefined,
  };
}

export function isThrottle(error: unknown): boolean {
  return THROTTLES.has(factsOf(error).name);
}

/** Whether the same request may succeed when it is sent again: "always retry 5xx, ThrottlingException and ...". */
export function isTransient(error: unknown): boolean {
  if (error instanceof BadBlock) return true;
  const { name, code, status } = factsOf(error);
  if (name === "CredentialsProviderError") return false;
  return (
    isThrottle(error) ||
    isUnreachable(code) ||
    isTimeout(name, code) ||
    (status !== undefined && status >= 500)
  );
}

/** A block token that is none any more: they live for seven days, and the list gives new ones. */
export function isExpiredToken(error: unknown): boolean {
  return factsOf(error).reason === "INVALID_BLOCK_TOKEN";
}

/** The snapshot is not there, or it is not in the state that the call needs. */
export function isGone(error: unknown): boolean {
  const { name, reason } = factsOf(error);
  return (
    name === "ResourceNotFoundException" ||
    reason === "INVALID_SNAPSHOT_ID" ||
    reason === "WRITE_REQUEST_TIMEOUT"
  );
}

/** What came is not what its checksum says. */
export class BadBlock extends Error {}

/** The UserError for whatever a call threw: what failed, on which snapshot, and what to do. */
export function ebsFailure(error: unknown, action: EbsAction, subject: string): UserError {
  if (error instanceof UserError) return error;
  const facts = factsOf(error);
  const { code, what, hint } = reading(error, facts, action);
  const request = facts.requestId === undefined ? "" : ` [${facts.name}, request ${facts.requestId}]`;
  return new UserError(code, `ebs:${action} of ${subject}: ${what}${request}`, hint);
}

function reading(
  error: unknown,
  facts: Facts,
  action: EbsAction,
): { code: ExitCodeName; what: string; hint: string } {
  const { name, reason, message, code, status } = facts;
  if (error instanceof BadBlock) {
    return { code: "Damaged", what: message, hint: "try again; if it stays so, the snapshot is damaged" };
  }
  if (isThrottle(error)) {
    const hint =
      "try again later, with --concurrency lower, or raise the account's quotas for EBS direct APIs";
    return { code: "EbsUnreachable", what: "throttled at every attempt", hint };
  }
  const credentials = credentialsTrouble(name);
  if (credentials !== undefined) return credentials;
  switch (name) {
    case "AccessDeniedException":
      return {
        code: "EbsDenied",
        what: `access denied: ${message}`,
        hint: `allow ebs:${action} on the snapshot (docs/iam.md), and its KMS key if it is encrypted`,
      };
    case "ResourceNotFoundException":
      return { code: "NoSuchSnapshot", what: message, hint: "check the id, the region and the account" };
    case "ServiceQuotaExceededException":
      return {
        code: "EbsDenied",
        what: message,
        hint: "raise the quota for pending snapshots, or complete others",
      };
  }
  if (reason === "INVALID_SNAPSHOT_ID") {
    const hint = "check the id; a snapshot that is still pending can be read when it is completed";
    return { code: "NoSuchSnapshot", what: message, hint };
  }
  if (name === "ValidationException" || name === "ConflictException") {
    return { code: "Usage", what: message, hint: "see the message of AWS" };
  }
  if (/region is missing/i.test(message)) {
    return { code: "NoRegion", what: "no AWS region is configured", hint: "set AWS_REGION" };
  }
  if (isUnreachable(code) || isTimeout(name, code) || (status ?? 0) >= 500) {
    const what =
      status === undefined
        ? `the EBS endpoint cannot be reached (${code || name})`
        : `failed with HTTP ${status}`;
    return {
      code: "EbsUnreachable",
      what,
      hint: "check network, region and AWS_ENDPOINT_URL_EBS, and run it again",
    };
  }
  return { code: "EbsUnreachable", what: `${name}: ${message}`, hint: "check network, region and endpoint" };
}
