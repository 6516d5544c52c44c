/** What holds for every service that is asked through the AWS SDK. */

/** Why AWS was not asked, or refused to know the caller. */
export interface CredentialsTrouble {
  readonly code: "NoCredentials";
  readonly what: string;
  readonly hint: string;
}

const MISSING = new Set(["CredentialsProviderError", "TokenProviderError"]);
const REFUSED = new Set([
  "UnrecognizedClientException",
  "InvalidClientTokenId",
  "InvalidSignatureException",
  "IncompleteSignatureException",
  "MissingAuthenticationTokenException",
  "MissingAuthenticationToken",
  "ExpiredTokenException",
  "NotAuthorizedException",
]);

/** By the name of an error of the SDK or of a service; undefined when it is of something else. */
export function credentialsTrouble(name: string): CredentialsTrouble | undefined {
  if (MISSING.has(name)) {
    return {
      code: "NoCredentials",
      what: "the AWS SDK found no credentials",
      hint: "give the instance a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID as for the AWS CLI",
    };
  }
  if (!REFUSED.has(name)) return undefined;
  return {
    code: "NoCredentials",
    what: "AWS refused the credentials",
    hint: "renew or correct the credentials (aws sts get-caller-identity shows whose they are)",
  };
}

const NETWORK = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ECONNABORTED",
]);

/** Whether a system's or TLS's error code says that there is no connection. */
export function isUnreachable(code: string): boolean {
  return NETWORK.has(code) || code.startsWith("ERR_TLS") || code.includes("CERT");
}

/** Whether an attempt ran into a time limit, of the system or of the SDK. */
export function isTimeout(name: string, code: string): boolean {
  return name === "TimeoutError" || code === "ETIMEDOUT" || code === "ESOCKETTIMEDOUT";
}

/**
 * On stderr kmsfs promises one line of its own. The SDK puts its plans for Node versions there, and a credential
 * provider that waits warns through console.warn, whatever logger the client has; kmsfs itself never uses that.
 */
export function keepSdkQuiet(): void {
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
  console.warn = () => undefined;
}
