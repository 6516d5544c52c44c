/** The server's side of AWS Signature Version 4, as the AWS General Reference describes it. */

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export type SignatureVerdict = { ok: true; region: string } | { ok: false; type: string; message: string };

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/,]+)\/(\d{8})\/([a-z0-9-]+)\/([a-z0-9-]+)\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/;

const sha256 = (data: string | Buffer) => createHash("sha256").update(data).digest("hex");
const hmac = (key: string | Buffer, data: string) => createHmac("sha256", key).update(data).digest();

export interface SignedService {
  readonly name: string;
  /** beside `host`: headers that must be signed */
  readonly headers: readonly string[];
}

export const KMS: SignedService = { name: "kms", headers: ["x-amz-target"] };

/** Verifies a request's signature; refuses with the error type that AWS gives. */
export function verifySignature(
  request: IncomingMessage,
  body: Buffer,
  credentials: Credentials,
  expected: SignedService = KMS,
): SignatureVerdict {
  const header = request.headers.authorization;
  if (header === undefined) {
    const message = "Request is missing Authentication Token";
    return { ok: false, type: "MissingAuthenticationTokenException", message };
  }
  const parsed = AUTHORIZATION.exec(header);
  const date = request.headers["x-amz-date"];
  if (parsed === null || typeof date !== "string") {
    return { ok: false, type: "IncompleteSignatureException", message: "malformed Authorization header" };
  }
  const [, accessKeyId = "", day = "", region = "", service = "", names = "", signature = ""] = parsed;
  if (accessKeyId !== credentials.accessKeyId) {
    const message = "The security token included in the request is invalid.";
    return { ok: false, type: "UnrecognizedClientException", message };
  }
  const signed = names.split(";");
  if (
    service !== expected.name ||
    !date.startsWith(day) ||
    !["host", ...expected.headers].every((n) => signed.includes(n))
  ) {
    return { ok: false, type: "InvalidSignatureException", message: "scope or signed headers are wrong" };
  }
  const canonicalHeaders = signed.map((name) => `${name}:${String(request.headers[name]).trim()}\n`).join("");
  const [path = "/", query = ""] = String(request.url).split("?");
  const payload = request.headers["x-amz-content-sha256"];
  const hash = payload === "UNSIGNED-PAYLOAD" ? payload : sha256(body);
  const canonical = [request.method, path, canonicalQuery(query), canonicalHeaders, names, hash].join("\n");
  const scope = `${day}/${region}/${service}/aws4_request`;
  const toSign = ["AWS4-HMAC-SHA256", date, scope, sha256(canonical)].join("\n");
  const key = [service, "aws4_request"].reduce(
    hmac,
    hmac(hmac(`AWS4${credentials.secretAccessKey}`, day), region),
  );
  if (!timingSafeEqual(hmac(key, toSign), Buffer.from(signature, "hex"))) {
    const message = "The request signature we calculated does not match the signature you provided.";
    return { ok: false, type: "InvalidSignatureException", message };
  }
  return { ok: true, region };
}

/** Sorted by name, percent-encoded as RFC 3986 has it. */
function canonicalQuery(query: string): string {
  const encode = (text: string) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  return [...new URLSearchParams(query.replaceAll("+", "%2B"))]
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join("&");
}
