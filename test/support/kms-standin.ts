/**
 * A strict stand-in for AWS KMS on a loopback port: the JSON 1.1 protocol as the KMS API reference documents it, with
 * real signatures, real ciphertext and the faults that moto does not have. Each region of AWS has an endpoint of its own;
 * here one port is all of them, and the signature's scope says which one is meant.
 */

import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { KmsFault, StandinKeys } from "./kms-keys.js";
import { type Credentials, verifySignature } from "./sigv4.js";

/** How it answers: by the rules, or badly. `times`: so many requests, then by the rules. */
export type Behaviour =
  | { kind: "normal" }
  | { kind: "throttle"; times: number }
  | { kind: "internal-error"; times: number }
  /** takes the request and never answers */
  | { kind: "hang" }
  /** answers by the rules after so many milliseconds */
  | { kind: "slow"; ms: number }
  /** sends half of a good answer, then closes the connection */
  | { kind: "half" }
  /** sends half of a good answer, and no more */
  | { kind: "stall" }
  /** a good answer's status and type, and a body that is no JSON although the key is in it */
  | { kind: "garbled" }
  /** what a proxy says: HTML of its own, with a status of its own */
  | { kind: "proxy"; status: number };

/** One region: its keys, and how its endpoint answers. */
export class StandinRegion {
  readonly keys: StandinKeys;
  behaviour: Behaviour = { kind: "normal" };

  constructor(readonly name: string) {
    this.keys = new StandinKeys(name);
  }
}

export interface RecordedRequest {
  readonly region: string;
  readonly operation: string;
  readonly input: Record<string, unknown>;
}

export class KmsStandin {
  readonly requests: RecordedRequest[] = [];
  readonly #home: StandinRegion;
  readonly #regions = new Map<string, StandinRegion>();
  readonly #server: Server;
  readonly #credentials: Credentials = { accessKeyId: "AKIDSTANDIN", secretAccessKey: "standin/secret" };

  private constructor(readonly region: string) {
    this.#home = this.addRegion(region);
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  static async start(region = "eu-central-1"): Promise<KmsStandin> {
    const standin = new KmsStandin(region);
    await new Promise<void>((listening) => standin.#server.listen(0, "127.0.0.1", listening));
    return standin;
  }

  addRegion(name: string): StandinRegion {
    const region = new StandinRegion(name);
    this.#regions.set(name, region);
    return region;
  }

  /** The keys of the first region. */
  get keys(): StandinKeys {
    return this.#home.keys;
  }

  /** How the first region answers. */
  get behaviour(): Behaviour {
    return this.#home.behaviour;
  }

  set behaviour(behaviour: Behaviour) {
    this.#home.behaviour = behaviour;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The environment by which the AWS SDK finds this server and its credentials. */
  environment(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL_KMS: this.url,
      AWS_REGION: this.region,
      AWS_ACCESS_KEY_ID: this.#credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: this.#credentials.secretAccessKey,
      AWS_EC2_METADATA_DISABLED: "true",
    };
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    if (!this.#server.listening) return;
    await new Promise<void>((closed) => this.#server.close(() => closed()));
  }

  /** Refuses connections until the function that this resolves to is called; the port and the keys stay its own. */
  async goDown(): Promise<() => Promise<void>> {
    const { port } = this.#server.address() as AddressInfo;
    await this.stop();
    return () => new Promise((listening) => this.#server.listen(port, "127.0.0.1", listening));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    let status = 200;
    let answer: object;
    let behaviour: Behaviour = this.behaviour;
    try {
      const region = this.#regionOf(request, body);
      behaviour = region.behaviour;
      answer = this.#answer(region, request, body);
    } catch (error) {
      if (!(error instanceof KmsFault)) throw error;
      status = error.status;
      answer = { __type: error.type, message: error.message };
    }
    await send(response, behaviour, status, JSON.stringify(answer));
  }

  /** The region that the request is for, when everything before the operation is right. */
  #regionOf(request: IncomingMessage, body: Buffer): StandinRegion {
    const [service] = String(request.headers["x-amz-target"]).split(".");
    if (request.method !== "POST" || request.url !== "/" || service !== "TrentService") {
      throw new KmsFault("UnknownOperationException", "", 404);
    }
    if (request.headers["content-type"] !== "application/x-amz-json-1.1") {
      throw new KmsFault("SerializationException", "content type");
    }
    const verdict = verifySignature(request, body, this.#credentials);
    if (!verdict.ok) throw new KmsFault(verdict.type, verdict.message);
    const region = this.#regions.get(verdict.region);
    if (region === undefined) {
      throw new KmsFault("InvalidSignatureException", `Credential should be scoped to '${this.region}'`);
    }
    return region;
  }

  #answer(region: StandinRegion, request: IncomingMessage, body: Buffer): object {
    const [, operation = ""] = String(request.headers["x-amz-target"]).split(".");
    const input = JSON.parse(body.toString("utf8")) as Record<string, unknown>;
    this.requests.push({ region: region.name, operation, input });
    const now = region.behaviour;
    if ((now.kind === "throttle" || now.kind === "internal-error") && now.times > 0) {
      now.times -= 1;
      if (now.kind === "throttle") throw new KmsFault("ThrottlingException", "Rate exceeded");
      throw new KmsFault("KMSInternalException", "", 500);
    }
    return region.keys.run(operation, input);
  }
}

async function send(
  response: ServerResponse,
  behaviour: Behaviour,
  status: number,
  text: string,
): Promise<void> {
  if (behaviour.kind === "hang") return;
  if (behaviour.kind === "proxy") {
    response.writeHead(behaviour.status, { "content-type": "text/html" });
    response.end("<html><body>Blocked by your proxy</body></html>");
    return;
  }
  if (behaviour.kind === "slow") await new Promise((later) => setTimeout(later, behaviour.ms));
  const whole = behaviour.kind === "garbled" ? `<html>${text}` : text;
  response.writeHead(status, {
    "content-type": "application/x-amz-json-1.1",
    "content-length": Buffer.byteLength(whole),
    "x-amzn-requestid": randomUUID(),
  });
  if (behaviour.kind !== "half" && behaviour.kind !== "stall") {
    response.end(whole);
    return;
  }
  response.write(whole.slice(0, whole.length / 2), () => {
    if (behaviour.kind === "half") response.destroy();
  });
}
