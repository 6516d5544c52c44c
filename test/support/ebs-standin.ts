/**
 * A strict stand-in for the EBS direct APIs on a loopback port: their REST JSON protocol, signatures verified, and the
 * faults that a real service has.
 */

import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { BLOCK, EbsFault, invalid, type PageInput, Snapshots } from "./ebs-snapshots.js";
import { type Credentials, verifySignature } from "./sigv4.js";

export interface EbsRequest {
  readonly operation: string;
  readonly snapshot: string;
  readonly index: number | undefined;
}

/** What goes wrong with a request: an error to answer with, or one of the transport's faults. */
export type Trouble =
  | EbsFault
  /** the connection ends before the answer, the request not carried out */
  | "dropped"
  /** carried out, and the answer lost */
  | "answer-lost"
  /** one bit of a block's data flips on its way to the reader */
  | "bit-flip";

export const throttled = () =>
  new EbsFault("RequestThrottledException", "RESOURCE_LEVEL_THROTTLE", "Rate exceeded");
export const overloaded = () => new EbsFault("InternalServerException", undefined, "internal error", 500);
export const denied = () =>
  new EbsFault("AccessDeniedException", "UNAUTHORIZED_ACCOUNT", "You are not authorized", 403);

export class EbsStandin {
  readonly snapshots = new Snapshots();
  readonly requests: EbsRequest[] = [];
  /** asked for each request: undefined lets it pass */
  trouble: (request: EbsRequest) => Trouble | undefined = () => undefined;
  /** more requests at once than this are refused as RequestThrottled */
  concurrencyLimit = Number.POSITIVE_INFINITY;
  /** milliseconds that each block takes on its way */
  blockDelay = 0;
  inFlight = 0;
  mostInFlight = 0;
  readonly #server: Server;
  readonly #credentials: Credentials = { accessKeyId: "AKIDSTANDIN", secretAccessKey: "standin/secret" };

  private constructor(readonly region: string) {
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  static async start(region = "eu-central-1"): Promise<EbsStandin> {
    const standin = new EbsStandin(region);
    await new Promise<void>((listening) => standin.#server.listen(0, "127.0.0.1", listening));
    return standin;
  }

  /** The environment by which the AWS SDK finds this server and its credentials. */
  environment(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL_EBS: `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`,
      AWS_REGION: this.region,
      AWS_ACCESS_KEY_ID: this.#credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: this.#credentials.secretAccessKey,
      AWS_EC2_METADATA_DISABLED: "true",
    };
  }

  /** How many requests of an operation there were. */
  count(operation: string): number {
    return this.requests.filter((request) => request.operation === operation).length;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((closed) => this.#server.close(() => closed()));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      await this.#answer(request, Buffer.concat(chunks), response);
    } catch (error) {
      if (!(error instanceof EbsFault)) throw error;
      const body = JSON.stringify({ Message: error.message, Reason: error.reason });
      response.writeHead(error.status, {
        "content-type": "application/json",
        "x-amzn-errortype": error.type,
        "x-amzn-requestid": randomUUID(),
      });
      response.end(body);
    } finally {
      this.inFlight -= 1;
    }
  }

  async #answer(request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://ebs");
    const route = routeOf(request.method ?? "", url.pathname);
    const verdict = verifySignature(request, body, this.#credentials, signedFor(route.operation));
    if (!verdict.ok) throw new EbsFault(verdict.type, undefined, verdict.message, 403);
    if (verdict.region !== this.region) {
      throw new EbsFault("InvalidSignatureException", undefined, `scoped to '${this.region}'`, 403);
    }
    this.requests.push(route);
    if (this.inFlight > this.concurrencyLimit) throw throttled();
    const trouble = this.trouble(route);
    if (trouble instanceof EbsFault) throw trouble;
    if (trouble === "dropped") {
      response.destroy();
      return;
    }
    const answer = this.#run(route, url.searchParams, request, body);
    if (trouble === "answer-lost") {
      response.destroy();
      return;
    }
    if (route.index !== undefined && this.blockDelay > 0) {
      await new Promise((later) => setTimeout(later, this.blockDelay));
    }
    const flipped = trouble === "bit-flip" && answer.data !== undefined ? flip(answer.data) : answer.data;
    const payload = flipped ?? Buffer.from(JSON.stringify(answer.json ?? {}));
    response.writeHead(answer.status, {
      "content-type": flipped === undefined ? "application/json" : "application/octet-stream",
      "content-length": payload.length,
      "x-amzn-requestid": randomUUID(),
      ...answer.headers,
    });
    response.end(payload);
  }

  #run(route: EbsRequest, query: URLSearchParams, request: IncomingMessage, body: Buffer): Answer {
    const { operation, snapshot: id, index = -1 } = route;
    const header = (name: string) => {
      const value = request.headers[name];
      return typeof value === "string" ? value : undefined;
    };
    switch (operation) {
      case "StartSnapshot": {
        const started = this.snapshots.start(JSON.parse(body.toString("utf8")) as object);
        const json = {
          SnapshotId: started.id,
          OwnerId: "111122223333",
          Status: started.status,
          StartTime: started.startTime.getTime() / 1000,
          VolumeSize: started.volumeSize,
          BlockSize: BLOCK,
          Tags: started.tags,
          Description: started.description,
          ...(started.parent === undefined ? {} : { ParentSnapshotId: started.parent.id }),
        };
        return { status: 201, json };
      }
      case "PutSnapshotBlock": {
        if (header("x-amz-checksum-algorithm") !== "SHA256")
          throw invalid("INVALID_PARAMETER_VALUE", "algorithm");
        const progress = header("x-amz-progress");
        if (progress !== undefined && !/^(\d\d?|100)$/.test(progress)) {
          throw invalid("INVALID_PARAMETER_VALUE", "Progress");
        }
        const checksum = this.snapshots.put(id, index, body, {
          length: Number(header("x-amz-data-length")),
          checksum: header("x-amz-checksum") ?? "",
        });
        return { status: 201, headers: { "x-amz-Checksum": checksum, "x-amz-Checksum-Algorithm": "SHA256" } };
      }
      case "CompleteSnapshot": {
        const checksum = header("x-amz-checksum");
        if (checksum !== undefined && header("x-amz-checksum-aggregation-method") !== "LINEAR") {
          throw invalid("INVALID_PARAMETER_VALUE", "ChecksumAggregationMethod");
        }
        const count = Number(header("x-amz-changedblockscount"));
        return { status: 202, json: { Status: this.snapshots.complete(id, count, checksum) } };
      }
      case "GetSnapshotBlock": {
        const { data, checksum } = this.snapshots.get(id, index, query.get("blockToken") ?? "");
        return {
          status: 200,
          data,
          headers: {
            "x-amz-Data-Length": String(data.length),
            "x-amz-Checksum": checksum,
            "x-amz-Checksum-Algorithm": "SHA256",
          },
        };
      }
      case "ListSnapshotBlocks": {
        const { items, next, volumeSize } = this.snapshots.list(id, pageOf(query));
        return { status: 200, json: { Blocks: items, ...pageAnswer(next, volumeSize) } };
      }
      default: {
        const first = query.get("firstSnapshotId") ?? undefined;
        const { items, next, volumeSize } = this.snapshots.changed(first, id, pageOf(query));
        return { status: 200, json: { ChangedBlocks: items, ...pageAnswer(next, volumeSize) } };
      }
    }
  }
}

interface Answer {
  readonly status: number;
  readonly json?: object;
  readonly data?: Buffer;
  readonly headers?: Record<string, string>;
}

const ROUTES: readonly (readonly [string, RegExp, string])[] = [
  ["POST", /^\/snapshots$/, "StartSnapshot"],
  ["POST", /^\/snapshots\/completion\/([^/]+)$/, "CompleteSnapshot"],
  ["PUT", /^\/snapshots\/([^/]+)\/blocks\/(\d+)$/, "PutSnapshotBlock"],
  ["GET", /^\/snapshots\/([^/]+)\/blocks\/(\d+)$/, "GetSnapshotBlock"],
  ["GET", /^\/snapshots\/([^/]+)\/blocks$/, "ListSnapshotBlocks"],
  ["GET", /^\/snapshots\/([^/]+)\/changedblocks$/, "ListChangedBlocks"],
];

function routeOf(method: string, path: string): EbsRequest {
  for (const [verb, pattern, operation] of ROUTES) {
    const match = verb === method ? pattern.exec(path) : null;
    if (match === null) continue;
    const [, snapshot = "", index] = match;
    return {
      operation,
      snapshot: decodeURIComponent(snapshot),
      index: index === undefined ? undefined : Number(index),
    };
  }
  throw new EbsFault("UnknownOperationException", undefined, `${method} ${path}`, 404);
}

/** A block's data is not signed, its checksum is. */
function signedFor(operation: string) {
  return { name: "ebs", headers: operation === "PutSnapshotBlock" ? ["x-amz-checksum"] : [] };
}

function pageOf(query: URLSearchParams): PageInput {
  const number = (name: string) => {
    const text = query.get(name);
    return text === null ? undefined : Number(text);
  };
  return {
    pageToken: query.get("pageToken") ?? undefined,
    maxResults: number("maxResults"),
    startingBlockIndex: number("startingBlockIndex"),
  };
}

function pageAnswer(next: string | undefined, volumeSize: number): object {
  const expiry = Date.now() / 1000 + 7 * 86_400;
  return {
    VolumeSize: volumeSize,
    BlockSize: BLOCK,
    ExpiryTime: expiry,
    ...(next === undefined ? {} : { NextToken: next }),
  };
}

function flip(data: Buffer): Buffer {
  const copy = Buffer.from(data);
  copy.writeUInt8(copy.readUInt8(1000) ^ 1, 1000);
  return copy;
}
