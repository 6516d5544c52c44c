/** What went wrong with KMS, as something that the operator can act on. Names of errors: the KMS API reference. */

import { credentialsTrouble, isTimeout, isUnreachable } from "../aws-sdk.js";
import type { ExitCodeName } from "../cli/exit-codes.js";
import { messageOf, UserError } from "../errors.js";
import { isRecord } from "./parse.js";

/** What was asked, of which key, and where: in every message. */
export interface KmsCall {
  readonly action: "kms:GenerateDataKey" | "kms:Encrypt" | "kms:Decrypt" | "kms:ReEncrypt*";
  readonly key: string;
  /** slot and region */
  where: string;
  readonly timeoutMs: number;
}

/** A failed call to KMS. */
export class KmsFailure extends UserError {
  /** KMS's id of the request, when it answered as KMS: CloudTrail has it too. */
  requestId: string | undefined;
}

/** Failures that may pass by themselves: no network yet at boot, a region that is down, a quota. */
const PASSING: ReadonlySet<ExitCodeName> = new Set(["KmsUnreachable", "KmsTimeout", "KmsThrottled"]);

/** Whether to try again makes sense. */
export function mayPass(error: UserError): boolean {
  return PASSING.has(error.code);
}

/** The total deadline (`--kms-timeout`) ran out. */
export class DeadlineExceeded extends Error {}

interface Reading {
  readonly code: ExitCodeName;
  readonly what: string;
  readonly hint: string;
}

const HEADER_HINT =
  "if volume.json was changed, put it back from a backup or use --use-previous-header; KMS itself cannot help";

/** By the error's name, as the SDK passes on `__type` of the answer or gives to its own errors. */
function byName(name: string, call: KmsCall): Reading | undefined {
  const { action, key } = call;
  switch (name) {
    case "AccessDeniedException":
    case "AccessDenied":
      return {
        code: "KmsDenied",
        what: "access denied",
        hint: `allow ${action} on ${key} in the IAM policy of the caller and in the key policy (docs/iam.md)`,
      };
    case "NotFoundException":
      return {
        code: "KmsKeyNotFound",
        what: "there is no such key",
        hint: "check the key's name, account and region, and AWS_ENDPOINT_URL_KMS if it is set",
      };
    case "InvalidArnException":
    case "ValidationException":
      return {
        code: "Usage",
        what: "KMS does not take that as a key",
        hint: "give a key id, an ARN or alias/NAME",
      };
    case "DisabledException":
      return {
        code: "KmsKeyDisabled",
        what: "the key is disabled",
        hint: `enable it: aws kms enable-key --key-id ${key}`,
      };
    case "KMSInvalidStateException":
      return {
        code: "KmsKeyUnusable",
        what: "the key is in no state to be used",
        hint: `pending deletion: aws kms cancel-key-deletion --key-id ${key}, then enable-key`,
      };
    case "InvalidKeyUsageException":
      return {
        code: "KmsKeyUnusable",
        what: "the key is not for encrypting and decrypting",
        hint: "name a symmetric key of usage ENCRYPT_DECRYPT",
      };
    case "IncorrectKeyException":
      return {
        code: "KmsIncorrectKey",
        what: "the wrapped key was made by another KMS key than the slot names",
        hint: HEADER_HINT,
      };
    case "InvalidCiphertextException":
      return {
        code: "KmsCiphertext",
        what: "the wrapped key does not open: its encryption context is another, or it is damaged",
        hint: HEADER_HINT,
      };
    case "ThrottlingException":
    case "Throttling":
    case "ThrottledException":
    case "RequestThrottledException":
    case "TooManyRequestsException":
    case "LimitExceededException":
    case "RequestLimitExceeded":
      return {
        code: "KmsThrottled",
        what: "KMS throttled every attempt",
        hint: "try again in a minute, or raise the account's KMS request quota",
      };
    default:
      return undefined;
  }
}

function byTransport(error: object, call: KmsCall): Reading | undefined {
  const name = "name" in error && typeof error.name === "string" ? error.name : "";
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  if (error instanceof DeadlineExceeded || isTimeout(name, code)) {
    return {
      code: "KmsTimeout",
      what: `no answer from ${endpoint()} within ${Math.round(call.timeoutMs / 100) / 10 || 0.1} s`,
      hint: "check network, proxy and VPC endpoint, or give it longer with --kms-timeout",
    };
  }
  if (isUnreachable(code)) {
    return {
      code: "KmsUnreachable",
      what: `${endpoint()} cannot be reached (${code})`,
      hint: "check network, region and AWS_ENDPOINT_URL_KMS",
    };
  }
  if (error instanceof Error && /region is missing/i.test(error.message)) {
    return {
      code: "NoRegion",
      what: "no AWS region is configured",
      hint: "set AWS_REGION, or name the key by its ARN",
    };
  }
  return undefined;
}

/** An endpoint set by hand, without any user and password in it; else just "KMS". */
function endpoint(): string {
  const set = process.env.AWS_ENDPOINT_URL_KMS ?? process.env.AWS_ENDPOINT_URL;
  if (set === undefined || !URL.canParse(set)) return "KMS";
  return `KMS at ${new URL(set).host}`;
}

function httpStatus(error: object): { status: number | undefined; requestId: string | undefined } {
  const metadata = "$metadata" in error && isRecord(error.$metadata) ? error.$metadata : {};
  return {
    status: typeof metadata.httpStatusCode === "number" ? metadata.httpStatusCode : undefined,
    requestId: typeof metadata.requestId === "string" ? metadata.requestId : undefined,
  };
}

/** The failure for whatever a KMS call threw: what failed, with which key, where, and what to do. */
export function kmsFailure(error: unknown, call: KmsCall): KmsFailure {
  const thrown = typeof error === "object" && error !== null ? error : new Error(String(error));
  const name = "name" in thrown && typeof thrown.name === "string" ? thrown.name : "Error";
  const { status, requestId } = httpStatus(thrown);
  const reading =
    credentialsTrouble(name) ??
    byName(name, call) ??
    byTransport(thrown, call) ??
    byAnswer(thrown, name, status);
  const subject = `${call.action} with ${call.key} (${call.where})`;
  const said = requestId === undefined || name === "Error" ? "" : ` [${name}, request ${requestId}]`;
  const failure = new KmsFailure(reading.code, `${subject}: ${reading.what}${said}`, reading.hint);
  failure.requestId = requestId;
  return failure;
}

/** Names that the SDK gives to an error answer without a type of KMS's, and to one that is no JSON. */
const UNTYPED = new Set(["Unknown", "UnknownError", "SyntaxError", "Error"]);

/** What is neither an error of KMS nor of the way there: an answer of something else, or a failure of KMS's own. */
function byAnswer(thrown: object, name: string, status: number | undefined): Reading {
  const code = "KmsUnreachable";
  if (status !== undefined && UNTYPED.has(name)) {
    // Such an answer may hold anything, even the key: its text stays out of the message.
    return {
      code,
      what: `${endpoint()} did not answer as KMS (HTTP ${status}, and not KMS's JSON)`,
      hint: "a proxy or another service answers there: check HTTPS_PROXY, AWS_ENDPOINT_URL_KMS and the VPC endpoint",
    };
  }
  if (status !== undefined && (status >= 500 || status === 200)) {
    return {
      code,
      what: `${endpoint()} failed with HTTP ${status}`,
      hint: "try again; check AWS_ENDPOINT_URL_KMS",
    };
  }
  const detail =
    status === undefined && name === "SyntaxError"
      ? "the answer cannot be read"
      : `${name}: ${messageOf(thrown)}`;
  return { code, what: detail, hint: "check network, region and endpoint" };
}
