/**
 * The EBS direct APIs, with retries and as many requests at once as the service takes. Each block's SHA-256 is checked
 * on both ways.
 */

import {
  CompleteSnapshotCommand,
  EBSClient,
  GetSnapshotBlockCommand,
  ListChangedBlocksCommand,
  ListSnapshotBlocksCommand,
  PutSnapshotBlockCommand,
  StartSnapshotCommand,
  type Tag,
} from "@aws-sdk/client-ebs";
import { keepSdkQuiet } from "../aws-sdk.js";
import { AdaptivePool } from "./adaptive-pool.js";
import { BLOCK_BYTES, digestOf } from "./blocks.js";
import { BadBlock, type EbsAction, ebsFailure, isThrottle, isTransient } from "./ebs-errors.js";

/** Attempts at one request, the first included; with the waits between them, about a minute. */
const ATTEMPTS = 9;
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 15_000;
const CONNECT_MS = 5_000;
const REQUEST_MS = 30_000;
const PAGE = 10_000;

export interface StartRequest {
  /** GiB */
  readonly volumeGib: number;
  readonly parent: string | undefined;
  readonly description: string;
  readonly tags: readonly Tag[];
  /** the same token with the same request gives the same snapshot */
  readonly clientToken: string;
}

export interface SnapshotBlock {
  readonly index: number;
  readonly token: string;
}

export interface ChangedBlock {
  readonly index: number;
  /** whether the first snapshot has the block at all */
  readonly inFirst: boolean;
}

/** A page of a listing, and the size of the snapshot's volume in GiB. */
export interface BlockPage<T> {
  readonly volumeGib: number;
  readonly blocks: readonly T[];
  /** nothing follows */
  readonly last: boolean;
}

/** Every method throws UserError, but for `put` and `complete`, whose errors `isGone` can tell apart. */
export class Ebs {
  readonly pool: AdaptivePool;
  readonly #client: EBSClient;
  readonly #abort: AbortSignal;

  /** Region, credentials and endpoint come from the SDK's own chain. */
  constructor(options: { readonly concurrency: number; readonly abort: AbortSignal }) {
    this.pool = new AdaptivePool(options.concurrency);
    this.#abort = options.abort;
    keepSdkQuiet();
    this.#client = new EBSClient({
      // Retried here, where throttling also narrows the pool.
      maxAttempts: 1,
      requestHandler: {
        connectionTimeout: CONNECT_MS,
        requestTimeout: REQUEST_MS,
        throwOnRequestTimeout: true,
        httpsAgent: { maxSockets: options.concurrency, keepAlive: true },
        httpAgent: { maxSockets: options.concurrency, keepAlive: true },
      },
    });
  }

  close(): void {
    this.#client.destroy();
  }

  /** Throws UserError (NoRegion). */
  async region(): Promise<string> {
    try {
      return await this.#client.config.region();
    } catch (error) {
      throw ebsFailure(error, "StartSnapshot", "any snapshot");
    }
  }

  async start(request: StartRequest): Promise<string> {
    const command = new StartSnapshotCommand({
      VolumeSize: request.volumeGib,
      ...(request.parent === undefined ? {} : { ParentSnapshotId: request.parent }),
      ...(request.tags.length === 0 ? {} : { Tags: [...request.tags] }),
      Description: request.description,
      ClientToken: request.clientToken,
      // The longest that there is, three days, for a push that is resumed after a weekend.
      Timeout: 4320,
    });
    const subject = request.parent === undefined ? "a new snapshot" : `a child of ${request.parent}`;
    const answer = await this.#reported("StartSnapshot", subject, () =>
      this.#client.send(command, { abortSignal: this.#abort }),
    );
    if (answer.SnapshotId === undefined || (answer.BlockSize ?? BLOCK_BYTES) !== BLOCK_BYTES) {
      throw ebsFailure(
        new Error(`an answer without an id, or blocks of ${answer.BlockSize} bytes`),
        "StartSnapshot",
        subject,
      );
    }
    return answer.SnapshotId;
  }

  /** Throws the SDK's error when the attempts are used up. */
  async put(snapshot: string, index: number, block: Buffer, digest: Buffer): Promise<void> {
    const checksum = digest.toString("base64");
    const answer = await this.#retried(() =>
      this.#client.send(
        new PutSnapshotBlockCommand({
          SnapshotId: snapshot,
          BlockIndex: index,
          BlockData: block,
          DataLength: BLOCK_BYTES,
          Checksum: checksum,
          ChecksumAlgorithm: "SHA256",
        }),
        { abortSignal: this.#abort },
      ),
    );
    if (answer.Checksum !== undefined && answer.Checksum !== checksum) {
      throw new BadBlock(`block ${index}: the service took other data than was sent`);
    }
  }

  /** Throws the SDK's error. */
  async complete(snapshot: string, blocks: number, aggregate: Buffer): Promise<void> {
    const command = new CompleteSnapshotCommand({
      SnapshotId: snapshot,
      ChangedBlocksCount: blocks,
      Checksum: aggregate.toString("base64"),
      ChecksumAlgorithm: "SHA256",
      ChecksumAggregationMethod: "LINEAR",
    });
    await this.#retried(() => this.#client.send(command, { abortSignal: this.#abort }));
  }

  /** The blocks that the snapshot holds, its parents' included, in ascending order; from block `from` on. */
  async *list(snapshot: string, from = 0): AsyncGenerator<BlockPage<SnapshotBlock>> {
    let token: string | undefined;
    do {
      const command = new ListSnapshotBlocksCommand({
        SnapshotId: snapshot,
        MaxResults: PAGE,
        ...(token === undefined ? { StartingBlockIndex: from } : { NextToken: token }),
      });
      const page = await this.#reported("ListSnapshotBlocks", snapshot, () =>
        this.#client.send(command, { abortSignal: this.#abort }),
      );
      requireBlockSize(page.BlockSize, "ListSnapshotBlocks", snapshot);
      const blocks = (page.Blocks ?? []).flatMap(({ BlockIndex, BlockToken }) =>
        BlockIndex === undefined || BlockToken === undefined
          ? []
          : [{ index: BlockIndex, token: BlockToken }],
      );
      yield { volumeGib: page.VolumeSize ?? 0, blocks, last: page.NextToken === undefined };
      token = page.NextToken;
    } while (token !== undefined);
  }

  /** The blocks in which `second` differs from `first`, in ascending order. */
  async *changed(first: string, second: string): AsyncGenerator<BlockPage<ChangedBlock>> {
    let token: string | undefined;
    do {
      const command = new ListChangedBlocksCommand({
        FirstSnapshotId: first,
        SecondSnapshotId: second,
        MaxResults: PAGE,
        ...(token === undefined ? {} : { NextToken: token }),
      });
      const page = await this.#reported("ListChangedBlocks", `${first} and ${second}`, () =>
        this.#client.send(command, { abortSignal: this.#abort }),
      );
      requireBlockSize(page.BlockSize, "ListChangedBlocks", second);
      const blocks = (page.ChangedBlocks ?? []).flatMap(({ BlockIndex, FirstBlockToken }) =>
        BlockIndex === undefined ? [] : [{ index: BlockIndex, inFirst: FirstBlockToken !== undefined }],
      );
      yield { volumeGib: page.VolumeSize ?? 0, blocks, last: page.NextToken === undefined };
      token = page.NextToken;
    } while (token !== undefined);
  }

  /** A block's data, proved by its checksum. Throws the SDK's error: `isExpiredToken` asks for a new token. */
  async get(snapshot: string, { index, token }: SnapshotBlock): Promise<Buffer> {
    return this.#retried(async () => {
      const command = new GetSnapshotBlockCommand({
        SnapshotId: snapshot,
        BlockIndex: index,
        BlockToken: token,
      });
      const answer = await this.#client.send(command, { abortSignal: this.#abort });
      const bytes = await answer.BlockData?.transformToByteArray();
      const data = Buffer.from(bytes ?? []);
      if (data.length !== BLOCK_BYTES) throw new BadBlock(`block ${index} came with ${data.length} bytes`);
      if (answer.Checksum !== digestOf(data).toString("base64")) {
        throw new BadBlock(`block ${index} is not what its checksum says`);
      }
      return data;
    });
  }

  async #reported<T>(action: EbsAction, subject: string, send: () => Promise<T>): Promise<T> {
    try {
      return await this.#retried(send);
    } catch (error) {
      throw ebsFailure(error, action, subject);
    }
  }

  /** Sends in the pool; waits between attempts outside it, with full jitter (AWS Architecture Blog, "Exponential Backoff"). */
  async #retried<T>(send: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const { epoch } = this.pool;
      try {
        const answer = await this.pool.run(send);
        this.pool.succeeded();
        return answer;
      } catch (error) {
        if (isThrottle(error)) this.pool.throttled(epoch);
        this.#abort.throwIfAborted();
        if (attempt === ATTEMPTS || !isTransient(error)) throw error;
      }
      const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
      await pause(Math.random() * longest, this.#abort);
    }
  }
}

function requireBlockSize(bytes: number | undefined, action: EbsAction, subject: string): void {
  if ((bytes ?? BLOCK_BYTES) === BLOCK_BYTES) return;
  throw ebsFailure(new Error(`blocks of ${bytes} bytes, not ${BLOCK_BYTES}`), action, subject);
}

function pause(ms: number, abort: AbortSignal): Promise<void> {
  return new Promise((done, failed) => {
    const stop = () => {
      clearTimeout(timer);
      failed(abort.reason);
    };
    const timer = setTimeout(() => {
      abort.removeEventListener("abort", stop);
      done();
    }, ms);
    abort.addEventListener("abort", stop, { once: true });
  });
}
