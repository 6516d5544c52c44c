/** The `aws-kms` provider: GenerateDataKey at init, Decrypt at unlock, encryption context always. */

import { DecryptCommand, GenerateDataKeyCommand, KMSClient } from "@aws-sdk/client-kms";
import { UserError } from "../errors.js";
import { DeadlineExceeded, type KmsCall, kmsFailure } from "./aws-kms-errors.js";
import { KEY_BYTES } from "./domain.js";
import type { DomainIdentity, KeyProvider } from "./provider.js";
import { type AwsKmsSlot, contextProblem, regionOfArn } from "./slots.js";

export interface AwsKmsOptions {
  /** For the whole call, all attempts and the search for credentials included. Milliseconds. */
  readonly timeoutMs: number;
  /** At init: an ARN, key id, alias name or alias ARN. */
  readonly keyId?: string;
  /** At init: the user's own pairs of the encryption context. */
  readonly context?: Readonly<Record<string, string>>;
}

/** One attempt may not use up the whole deadline, so that a lost connection is tried again. */
const ATTEMPT_MS = 10_000;
const CONNECT_MS = 5_000;

/** The whole encryption context. The `kmsfs:` pairs come last and are never taken from a slot. */
function encryptionContext(identity: DomainIdentity, pairs: Readonly<Record<string, string>>) {
  return { ...pairs, "kmsfs:volume": identity.uuid, "kmsfs:domain": identity.domain };
}

/**
 * On stderr kmsfs promises one line of its own. The SDK puts its plans for Node versions there, and a credential
 * provider that waits warns through console.warn, whatever logger the client has; kmsfs itself never uses that.
 */
function keepSdkQuiet(): void {
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
  console.warn = () => undefined;
}

/** Endpoint, credentials, retry mode and attempts come from the SDK's own chain; so does an absent region. */
function clientFor(region: string | undefined, timeoutMs: number): KMSClient {
  keepSdkQuiet();
  return new KMSClient({
    ...(region === undefined ? {} : { region }),
    requestHandler: {
      connectionTimeout: Math.min(CONNECT_MS, timeoutMs),
      requestTimeout: Math.min(ATTEMPT_MS, timeoutMs),
      throwOnRequestTimeout: true,
    },
  });
}

/**
 * Runs one call under a total deadline. The signal alone would not do: the SDK heeds it neither while it looks for
 * credentials nor between attempts.
 */
async function underDeadline<T>(client: KMSClient, call: KmsCall, send: (signal: AbortSignal) => Promise<T>) {
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new DeadlineExceeded());
      abort.abort();
    }, call.timeoutMs);
  });
  try {
    return await Promise.race([send(abort.signal), deadline]);
  } catch (error) {
    // The SDK's error is not handed on as a cause: with an answer that it could not read it carries the answer's text.
    throw kmsFailure(error, call);
  } finally {
    clearTimeout(timer);
    client.destroy();
  }
}

/** The key that KMS answered with, in memory of its own; the SDK's copy is wiped. */
function takeKey(plaintext: Uint8Array | undefined): Buffer | undefined {
  if (plaintext === undefined) return undefined;
  const key = plaintext.length === KEY_BYTES ? Buffer.alloc(KEY_BYTES) : undefined;
  key?.set(plaintext);
  plaintext.fill(0);
  return key;
}

function strangeAnswer(call: KmsCall, what: string): UserError {
  return new UserError(
    "KmsUnreachable",
    `${call.action} with ${call.key} (${call.where}): the answer is not KMS's: ${what}`,
    "check what the endpoint is",
  );
}

export const awsKmsProvider: KeyProvider<AwsKmsSlot, AwsKmsOptions> = {
  async create(identity, options) {
    const { keyId, timeoutMs, context = {} } = options;
    if (keyId === undefined || keyId === "")
      throw new UserError("Usage", "no KMS key named", "give --kms-key KEY");
    const problem = contextProblem(context);
    if (problem !== undefined) {
      throw new UserError("Usage", `bad encryption context: ${problem}`, "give --context NAME=VALUE");
    }
    const client = clientFor(keyId.startsWith("arn:") ? keyId.split(":")[3] : undefined, timeoutMs);
    const call: KmsCall = { action: "kms:GenerateDataKey", key: keyId, where: "no region", timeoutMs };
    const { answer, region } = await underDeadline(client, call, async (abortSignal) => {
      const region = await client.config.region();
      call.where = `region ${region}`;
      const command = new GenerateDataKeyCommand({
        KeyId: keyId,
        KeySpec: "AES_256",
        EncryptionContext: encryptionContext(identity, context),
      });
      return { answer: await client.send(command, { abortSignal }), region };
    });
    const domainKey = takeKey(answer.Plaintext);
    const keyArn = answer.KeyId ?? "";
    const blob = answer.CiphertextBlob;
    if (domainKey === undefined) throw strangeAnswer(call, `no key of ${KEY_BYTES} bytes`);
    if (regionOfArn(keyArn) === undefined || blob === undefined || blob.length === 0) {
      domainKey.fill(0);
      throw strangeAnswer(call, "no key ARN or no wrapped key");
    }
    return {
      slot: {
        provider: "aws-kms",
        keyArn,
        region: regionOfArn(keyArn) ?? region,
        context: { ...context },
        blob: Buffer.from(blob).toString("base64"),
      },
      domainKey,
    };
  },

  async unwrap(slot, identity, { timeoutMs }) {
    const client = clientFor(slot.region, timeoutMs);
    const call: KmsCall = {
      action: "kms:Decrypt",
      key: slot.keyArn,
      where: `slot ${slot.id}, region ${slot.region}`,
      timeoutMs,
    };
    const answer = await underDeadline(client, call, (abortSignal) => {
      const command = new DecryptCommand({
        KeyId: slot.keyArn,
        CiphertextBlob: Buffer.from(slot.blob, "base64"),
        EncryptionContext: encryptionContext(identity, slot.context),
      });
      return client.send(command, { abortSignal });
    });
    const domainKey = takeKey(answer.Plaintext);
    if (domainKey === undefined) throw strangeAnswer(call, `no key of ${KEY_BYTES} bytes`);
    if (answer.KeyId !== slot.keyArn) {
      domainKey.fill(0);
      throw strangeAnswer(call, "it was opened by another key than the one asked for");
    }
    return domainKey;
  },
};
