/**
 * The stand-in's keys and operations in one region: what the KMS API reference says of GenerateDataKey, Encrypt, Decrypt
 * and ReEncrypt.
 */

import { createCipheriv, createDecipheriv, randomBytes, randomUUID } from "node:crypto";

export type KeyState = "Enabled" | "Disabled" | "PendingDeletion" | "PendingImport";

export interface StandinKey {
  readonly arn: string;
  readonly id: string;
  readonly alias: string;
  state: KeyState;
  readonly secret: Buffer;
}

/** An error answer: HTTP 400 unless said otherwise, `__type` and message as AWS gives them. */
export class KmsFault extends Error {
  constructor(
    readonly type: string,
    message: string,
    readonly status = 400,
  ) {
    super(message);
  }
}

export const ACCOUNT = "111122223333";

export class StandinKeys {
  readonly #keys: StandinKey[] = [];
  /** Actions that the caller's policy does not allow */
  readonly denied = new Set<string>();
  /** Every plaintext data key handed out, so that tests can look for them where they must not be. */
  readonly handedOut: Buffer[] = [];

  constructor(readonly region: string) {}

  add(alias: string, account = ACCOUNT): StandinKey {
    return this.#added(alias, account, randomUUID(), randomBytes(32));
  }

  /** A multi-region key: the primary, or with `of` a replica, which has its id and its key material. */
  addMultiRegion(alias: string, of?: StandinKey): StandinKey {
    const id = of?.id ?? `mrk-${randomUUID().replaceAll("-", "")}`;
    return this.#added(alias, ACCOUNT, id, of?.secret ?? randomBytes(32));
  }

  #added(alias: string, account: string, id: string, secret: Buffer): StandinKey {
    const arn = `arn:aws:kms:${this.region}:${account}:key/${id}`;
    const key: StandinKey = { arn, id, alias: `alias/${alias}`, state: "Enabled", secret };
    this.#keys.push(key);
    return key;
  }

  run(operation: string, input: Record<string, unknown>): Record<string, string> {
    if (operation === "GenerateDataKey") return this.#generateDataKey(input);
    if (operation === "Encrypt") return this.#encrypt(input);
    if (operation === "Decrypt") return this.#decrypt(input);
    if (operation === "ReEncrypt") return this.#reEncrypt(input);
    throw new KmsFault("UnknownOperationException", "");
  }

  #generateDataKey(input: Record<string, unknown>): Record<string, string> {
    allow(input, ["KeyId", "KeySpec", "EncryptionContext"]);
    if (input.KeySpec !== "AES_256")
      throw new KmsFault("ValidationException", "KeySpec or NumberOfBytes, one of them");
    const key = this.#usable(input.KeyId, "kms:GenerateDataKey");
    const plaintext = randomBytes(32);
    this.handedOut.push(plaintext);
    return {
      KeyId: key.arn,
      Plaintext: plaintext.toString("base64"),
      CiphertextBlob: seal(key, plaintext, input.EncryptionContext),
    };
  }

  #encrypt(input: Record<string, unknown>): Record<string, string> {
    allow(input, ["KeyId", "Plaintext", "EncryptionContext"]);
    const key = this.#usable(input.KeyId, "kms:Encrypt");
    const plaintext = Buffer.from(String(input.Plaintext), "base64");
    if (plaintext.length < 1 || plaintext.length > 4096) {
      throw new KmsFault("ValidationException", "plaintext of 1 to 4096 bytes");
    }
    return {
      KeyId: key.arn,
      CiphertextBlob: seal(key, plaintext, input.EncryptionContext),
      EncryptionAlgorithm: "SYMMETRIC_DEFAULT",
    };
  }

  #decrypt(input: Record<string, unknown>): Record<string, string> {
    allow(input, ["KeyId", "CiphertextBlob", "EncryptionContext"]);
    const key = this.#usable(input.KeyId, "kms:Decrypt");
    return {
      KeyId: key.arn,
      Plaintext: this.#open(key, input.CiphertextBlob, input.EncryptionContext).toString("base64"),
      EncryptionAlgorithm: "SYMMETRIC_DEFAULT",
    };
  }

  /** Both keys are looked at before anything is opened, each under its own permission. */
  #reEncrypt(input: Record<string, unknown>): Record<string, string> {
    allow(input, [
      "CiphertextBlob",
      "SourceKeyId",
      "SourceEncryptionContext",
      "DestinationKeyId",
      "DestinationEncryptionContext",
    ]);
    const source = this.#usable(input.SourceKeyId, "kms:ReEncryptFrom");
    const destination = this.#usable(input.DestinationKeyId, "kms:ReEncryptTo");
    const plaintext = this.#open(source, input.CiphertextBlob, input.SourceEncryptionContext);
    return {
      SourceKeyId: source.arn,
      KeyId: destination.arn,
      CiphertextBlob: seal(destination, plaintext, input.DestinationEncryptionContext),
      SourceEncryptionAlgorithm: "SYMMETRIC_DEFAULT",
      DestinationEncryptionAlgorithm: "SYMMETRIC_DEFAULT",
    };
  }

  #open(key: StandinKey, ciphertext: unknown, context: unknown): Buffer {
    const blob = Buffer.from(String(ciphertext), "base64");
    const wrappedBy = this.#keys.find(
      (candidate) => candidate.id.padEnd(36) === blob.subarray(0, 36).toString(),
    );
    if (wrappedBy === undefined || blob.length < 36 + 12 + 1 + 16) throw invalidCiphertext();
    if (wrappedBy !== key) {
      const message = "The key ID in the request does not identify a CMK that can perform this operation.";
      throw new KmsFault("IncorrectKeyException", message);
    }
    const decipher = createDecipheriv("aes-256-gcm", key.secret, blob.subarray(36, 48));
    decipher.setAAD(contextBytes(context)).setAuthTag(blob.subarray(-16));
    try {
      return Buffer.concat([decipher.update(blob.subarray(48, -16)), decipher.final()]);
    } catch {
      throw invalidCiphertext();
    }
  }

  /** The key by id, ARN or alias, if it exists, the caller may use it and its state allows it: in AWS's order. */
  #usable(keyId: unknown, action: string): StandinKey {
    if (typeof keyId !== "string" || keyId === "")
      throw new KmsFault("ValidationException", "KeyId is missing");
    const key = this.#keys.find((key) => [key.arn, key.id, key.alias, aliasArn(key)].includes(keyId));
    if (key === undefined) throw new KmsFault("NotFoundException", `Key '${keyId}' does not exist`);
    if (this.denied.has(action)) {
      const who = `arn:aws:sts::${ACCOUNT}:assumed-role/app/i-1`;
      const why = `because no identity-based policy allows the ${action} action`;
      const message = `User: ${who} is not authorized to perform: ${action} on resource: ${key.arn} ${why}`;
      throw new KmsFault("AccessDeniedException", message);
    }
    if (key.state === "Disabled") throw new KmsFault("DisabledException", `${key.arn} is disabled.`);
    if (key.state === "PendingDeletion") {
      throw new KmsFault("KMSInvalidStateException", `${key.arn} is pending deletion.`);
    }
    if (key.state === "PendingImport") {
      throw new KmsFault("KMSInvalidStateException", `${key.arn} is pending import.`);
    }
    return key;
  }
}

function aliasArn({ arn, id, alias }: StandinKey): string {
  return arn.replace(`key/${id}`, alias);
}

/** base64 of key id (36 bytes), nonce, ciphertext and tag */
function seal(key: StandinKey, plaintext: Buffer, context: unknown): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", key.secret, nonce).setAAD(contextBytes(context));
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  return Buffer.concat([Buffer.from(key.id.padEnd(36)), nonce, sealed]).toString("base64");
}

function allow(input: Record<string, unknown>, members: readonly string[]): void {
  const unknown = Object.keys(input).find((name) => !members.includes(name));
  if (unknown !== undefined) throw new KmsFault("SerializationException", `unexpected member ${unknown}`);
}

/** AWS gives it no message. */
function invalidCiphertext(): KmsFault {
  return new KmsFault("InvalidCiphertextException", "");
}

/** The context as additional data: sorted by name, so that its order does not count. */
function contextBytes(context: unknown): Buffer {
  if (typeof context !== "object" || context === null) {
    throw new KmsFault("ValidationException", "this stand-in wants an encryption context with every call");
  }
  const pairs = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  if (pairs.some(([, value]) => typeof value !== "string")) throw new KmsFault("SerializationException", "");
  return Buffer.from(JSON.stringify(pairs));
}
