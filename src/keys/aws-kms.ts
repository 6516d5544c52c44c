/**
 * The `aws-kms` provider: GenerateDataKey at init, Encrypt for one more slot, Decrypt at unlock, ReEncrypt to rotate;
 * encryption context always.
 */

import {
  DecryptCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  KMSClient,
  ReEncryptCommand,
} from "@aws-sdk/client-kms";
import { keepSdkQuiet } from "../aws-sdk.js";
import { UserError } from "../errors.js";
import { DeadlineExceeded, type KmsCall, kmsFailure } from "./aws-kms-errors.js";
import { KEY_BYTES } from "./domain.js";
import type { DomainIdentity, KeyProvider, Wrapped } from "./provider.js";
import { type AwsKmsSlot, contextProblem, regionOfArn } from "./slots.js";

export interface AwsKmsOptions {
  /** For the whole call, all attempts and the search for credentials included. Milliseconds. */
  readonly timeoutMs: number;
  /** For a new slot: an ARN, key id, alias name or alias ARN. */
  readonly keyId?: string;
  /** For a new slot: the user's own pairs of the encryption context. */
  readonly context?: Readonly<Record<string, string>>;
}

/** One attempt may not use up the whole deadline, so that a lost connection is tried again. */
const ATTEMPT_MS = 10_000;
const CONNECT_MS = 5_000;

/** The whole encryption context. The `kmsfs:` pairs come last and are never taken from a slot. */
function encryptionContext(identity: DomainIdentity, pairs: Readonly<Record<string, string>>) {
  return { ...pairs, "kmsfs:volume": identity.uuid, "kmsfs:domain": identity.domain };
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

interface Answer<T> {
  readonly answer: T;
  readonly requestId: string | undefined;
}

/**
 * Runs one call under a total deadline, and names the region in its errors. The signal alone would not do: the SDK heeds
 * it neither while it looks for credentials nor between attempts.
 */
async function ask<T extends { $metadata: { requestId?: string | undefined } }>(
  region: string | undefined,
  call: KmsCall,
  send: (client: KMSClient, abortSignal: AbortSignal) => Promise<T>,
): Promise<Answer<T>> {
  const client = clientFor(region, call.timeoutMs);
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new DeadlineExceeded());
      abort.abort();
    }, call.timeoutMs);
  });
  const located = async (): Promise<T> => {
    if (region === undefined) call.where = `region ${await client.config.region()}`;
    return send(client, abort.signal);
  };
  try {
    const answer = await Promise.race([located(), deadline]);
    return { answer, requestId: answer.$metadata.requestId };
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

/** The key to make a slot with, and the pairs. Throws UserError (Usage). */
function wanted({ keyId, context = {} }: AwsKmsOptions): { keyId: string; context: Record<string, string> } {
  if (keyId === undefined || keyId === "")
    throw new UserError("Usage", "no KMS key named", "give --kms-key KEY");
  const problem = contextProblem(context);
  if (problem !== undefined) {
    throw new UserError("Usage", `bad encryption context: ${problem}`, "give --context NAME=VALUE");
  }
  return { keyId, context: { ...context } };
}

/** The region that a key's name says, or undefined: then it is the SDK's own. */
function regionIn(keyId: string): string | undefined {
  return keyId.startsWith("arn:") ? keyId.split(":")[3] : undefined;
}

function newCall(action: KmsCall["action"], keyId: string, timeoutMs: number): KmsCall {
  const region = regionIn(keyId);
  return { action, key: keyId, where: region === undefined ? "no region" : `region ${region}`, timeoutMs };
}

/** A slot from what KMS answered. Throws UserError when that names no key or holds no wrapped one. */
function slotOf(
  answer: { KeyId?: string | undefined; CiphertextBlob?: Uint8Array | undefined },
  context: Record<string, string>,
  call: KmsCall,
): Wrapped<AwsKmsSlot>["slot"] {
  const keyArn = answer.KeyId ?? "";
  const region = regionOfArn(keyArn);
  const blob = answer.CiphertextBlob;
  if (region === undefined || blob === undefined || blob.length === 0) {
    throw strangeAnswer(call, "no key ARN or no wrapped key");
  }
  return { provider: "aws-kms", keyArn, region, context, blob: Buffer.from(blob).toString("base64") };
}

/**
 * The same domain key under another KMS key, or anew under the same, by KMS alone (ReEncrypt). Both keys have to be in one
 * region. `context`: the new slot's pairs, the old ones when undefined.
 */
export async function rewrap(
  slot: AwsKmsSlot,
  identity: DomainIdentity,
  options: AwsKmsOptions,
): Promise<Wrapped<AwsKmsSlot>> {
  const { keyId, context } = wanted({
    ...options,
    keyId: options.keyId ?? slot.keyArn,
    context: options.context ?? slot.context,
  });
  const region = regionIn(keyId);
  if (region !== undefined && region !== slot.region) {
    throw new UserError(
      "Usage",
      `slot ${slot.id} is in ${slot.region} and ${keyId} in ${region}: KMS re-encrypts within a region alone`,
      "add a slot with kmsfs key add --new-kms-key, then remove this one",
    );
  }
  const call: KmsCall = {
    action: "kms:ReEncrypt*",
    key: keyId === slot.keyArn ? keyId : `${slot.keyArn} to ${keyId}`,
    where: `slot ${slot.id}, region ${slot.region}`,
    timeoutMs: options.timeoutMs,
  };
  const { answer, requestId } = await ask(slot.region, call, (client, abortSignal) => {
    const command = new ReEncryptCommand({
      CiphertextBlob: Buffer.from(slot.blob, "base64"),
      SourceKeyId: slot.keyArn,
      SourceEncryptionContext: encryptionContext(identity, slot.context),
      DestinationKeyId: keyId,
      DestinationEncryptionContext: encryptionContext(identity, context),
    });
    return client.send(command, { abortSignal });
  });
  return { slot: slotOf(answer, context, call), requestId };
}

export const awsKmsProvider: KeyProvider<AwsKmsSlot, AwsKmsOptions> = {
  async create(identity, options) {
    const { keyId, context } = wanted(options);
    const call = newCall("kms:GenerateDataKey", keyId, options.timeoutMs);
    const { answer, requestId } = await ask(regionIn(keyId), call, (client, abortSignal) => {
      const command = new GenerateDataKeyCommand({
        KeyId: keyId,
        KeySpec: "AES_256",
        EncryptionContext: encryptionContext(identity, context),
      });
      return client.send(command, { abortSignal });
    });
    const domainKey = takeKey(answer.Plaintext);
    if (domainKey === undefined) throw strangeAnswer(call, `no key of ${KEY_BYTES} bytes`);
    try {
      return { slot: slotOf(answer, context, call), domainKey, requestId };
    } catch (error) {
      domainKey.fill(0);
      throw error;
    }
  },

  async wrap(domainKey, identity, options) {
    const { keyId, context } = wanted(options);
    const call = newCall("kms:Encrypt", keyId, options.timeoutMs);
    const { answer, requestId } = await ask(regionIn(keyId), call, (client, abortSignal) => {
      const command = new EncryptCommand({
        KeyId: keyId,
        Plaintext: domainKey,
        EncryptionContext: encryptionContext(identity, context),
      });
      return client.send(command, { abortSignal });
    });
    return { slot: slotOf(answer, context, call), requestId };
  },

  async unwrap(slot, identity, { timeoutMs }) {
    const call: KmsCall = {
      action: "kms:Decrypt",
      key: slot.keyArn,
      where: `slot ${slot.id}, region ${slot.region}`,
      timeoutMs,
    };
    const { answer, requestId } = await ask(slot.region, call, (client, abortSignal) => {
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
    return { domainKey, requestId };
  },
};
