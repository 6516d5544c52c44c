/**
 * The rules of the EBS direct APIs as their API reference (2019-11-02) gives them: snapshots of 512 KiB blocks, tokens,
 * checksums, lineage. Stricter than AWS where the reference leaves room.
 */

import { createHash, randomBytes } from "node:crypto";

export const BLOCK = 524_288;
const GIB_BLOCKS = 2048;

/** An error as the API answers it: the exception's name, its `Reason`, the HTTP status. */
export class EbsFault extends Error {
  constructor(
    readonly type: string,
    readonly reason: string | undefined,
    message: string,
    readonly status = 400,
  ) {
    super(message);
  }
}

export const invalid = (reason: string, message: string) =>
  new EbsFault("ValidationException", reason, message);

const notFound = (id: string) =>
  new EbsFault(
    "ResourceNotFoundException",
    "SNAPSHOT_NOT_FOUND",
    `The snapshot '${id}' does not exist.`,
    404,
  );

/** SHA-256 as the API writes it. */
export const checksumOf = (data: Buffer) => createHash("sha256").update(data).digest("base64");

interface Stored {
  readonly data: Buffer;
  readonly checksum: string;
}

export interface Snapshot {
  readonly id: string;
  /** GiB */
  readonly volumeSize: number;
  readonly parent: Snapshot | undefined;
  readonly description: string;
  readonly tags: readonly { Key: string; Value: string }[];
  readonly clientToken: string;
  readonly request: string;
  readonly startTime: Date;
  status: "pending" | "completed" | "error";
  /** what was put into this one; the parent's shine through */
  readonly written: Map<number, Stored>;
}

export interface StartInput {
  readonly VolumeSize?: unknown;
  readonly ParentSnapshotId?: unknown;
  readonly Tags?: unknown;
  readonly Description?: unknown;
  readonly ClientToken?: unknown;
  readonly Encrypted?: unknown;
  readonly KmsKeyArn?: unknown;
  readonly Timeout?: unknown;
}

export interface Listed {
  readonly BlockIndex: number;
  readonly BlockToken: string;
}

export interface Changed {
  readonly BlockIndex: number;
  readonly FirstBlockToken?: string;
  readonly SecondBlockToken: string;
}

export interface Page<T> {
  readonly items: T[];
  readonly next: string | undefined;
  readonly volumeSize: number;
}

export interface PageInput {
  readonly pageToken: string | undefined;
  readonly maxResults: number | undefined;
  readonly startingBlockIndex: number | undefined;
}

export class Snapshots {
  readonly all = new Map<string, Snapshot>();
  /** blocks that the service has lost: listed, and a GetSnapshotBlock of them fails */
  readonly lost = new Set<string>();
  readonly #blockTokens = new Map<string, string>();
  readonly #pageTokens = new Map<string, { query: string; from: number }>();
  /** the most a page holds, whatever was asked for: "can return less blocks than MaxResults" */
  pageLimit = 10_000;

  start(input: StartInput): Snapshot {
    const { VolumeSize: volumeSize, ParentSnapshotId: parentId, ClientToken: token } = input;
    if (
      typeof volumeSize !== "number" ||
      !Number.isInteger(volumeSize) ||
      volumeSize < 1 ||
      volumeSize > 65_536
    ) {
      throw invalid("INVALID_VOLUME_SIZE", "VolumeSize must be from 1 to 65536 GiB");
    }
    if (typeof token !== "string" || token === "" || token.length > 255) {
      throw invalid("INVALID_PARAMETER_VALUE", "ClientToken");
    }
    const timeout = input.Timeout;
    if (timeout !== undefined && !(typeof timeout === "number" && timeout >= 10 && timeout <= 4320)) {
      throw invalid("INVALID_PARAMETER_VALUE", "Timeout must be from 10 to 4320 minutes");
    }
    if (parentId !== undefined && input.Encrypted !== undefined) {
      throw invalid("INVALID_PARAMETER_VALUE", "ParentSnapshotId and Encrypted exclude each other");
    }
    const request = JSON.stringify(input);
    const earlier = [...this.all.values()].find((each) => each.clientToken === token);
    if (earlier !== undefined) {
      if (earlier.request === request) return earlier;
      throw new EbsFault(
        "ConflictException",
        undefined,
        "The client token was used with other parameters",
        503,
      );
    }
    const parent = parentId === undefined ? undefined : this.#completed(String(parentId));
    if (parent !== undefined && parent.volumeSize > volumeSize) {
      throw invalid("INVALID_VOLUME_SIZE", "the volume is smaller than that of the parent snapshot");
    }
    const snapshot: Snapshot = {
      id: `snap-${randomBytes(8).toString("hex")}0`,
      volumeSize,
      parent,
      description: typeof input.Description === "string" ? input.Description : "",
      tags: tagsOf(input.Tags),
      clientToken: token,
      request,
      startTime: new Date(),
      status: "pending",
      written: new Map(),
    };
    this.all.set(snapshot.id, snapshot);
    return snapshot;
  }

  put(id: string, index: number, data: Buffer, claimed: { length: number; checksum: string }): string {
    const snapshot = this.#named(id);
    if (snapshot.status !== "pending") {
      throw invalid("INVALID_SNAPSHOT_ID", `The snapshot '${id}' is not pending: it takes no more blocks`);
    }
    if (claimed.length !== BLOCK || data.length !== BLOCK) {
      throw invalid("INVALID_PARAMETER_VALUE", "DataLength must be 524288, and the data as long");
    }
    if (!Number.isInteger(index) || index < 0 || index >= snapshot.volumeSize * GIB_BLOCKS) {
      throw invalid("INVALID_BLOCK", `block ${index} is not in a volume of ${snapshot.volumeSize} GiB`);
    }
    const checksum = checksumOf(data);
    if (claimed.checksum !== checksum) throw invalid("INVALID_BLOCK", "The checksum is not that of the data");
    snapshot.written.set(index, { data, checksum });
    return checksum;
  }

  /** The aggregate is SHA-256 over the blocks' digests (as bytes) in ascending order: "LINEAR". */
  complete(id: string, count: number, checksum: string | undefined): "completed" {
    const snapshot = this.#named(id);
    if (snapshot.status === "completed") return "completed";
    if (snapshot.status !== "pending") throw invalid("INVALID_SNAPSHOT_ID", `'${id}' is in error`);
    if (count !== snapshot.written.size) {
      throw invalid("INVALID_PARAMETER_VALUE", `${snapshot.written.size} blocks were written, not ${count}`);
    }
    if (checksum !== undefined && checksum !== aggregate(snapshot)) {
      throw invalid("INVALID_PARAMETER_VALUE", "The aggregated checksum is not that of the blocks");
    }
    snapshot.status = "completed";
    return "completed";
  }

  list(id: string, page: PageInput): Page<Listed> {
    const snapshot = this.#completed(id);
    const indexes = [...contents(snapshot).keys()].sort((a, b) => a - b);
    const found = this.#page(`list ${id}`, indexes, page, snapshot.volumeSize);
    return {
      ...found,
      items: found.items.map((index) => ({ BlockIndex: index, BlockToken: this.#token(id, index) })),
    };
  }

  changed(firstId: string | undefined, secondId: string, page: PageInput): Page<Changed> {
    const second = this.#completed(secondId);
    const first = firstId === undefined ? undefined : this.#completed(firstId);
    if (first !== undefined && !lineage(second).some((each) => lineage(first).includes(each))) {
      throw invalid("UNRELATED_SNAPSHOTS", "The snapshots are of different lineages");
    }
    const before = first === undefined ? new Map<number, Stored>() : contents(first);
    const after = contents(second);
    const differing = [...after.keys()].filter((i) => before.get(i)?.checksum !== after.get(i)?.checksum);
    const found = this.#page(
      `changed ${firstId} ${secondId}`,
      differing.sort((a, b) => a - b),
      page,
      second.volumeSize,
    );
    const items = found.items.map((index) => ({
      BlockIndex: index,
      ...(first !== undefined && before.has(index) ? { FirstBlockToken: this.#token(first.id, index) } : {}),
      SecondBlockToken: this.#token(secondId, index),
    }));
    return { ...found, items };
  }

  get(id: string, index: number, token: string): { data: Buffer; checksum: string } {
    const snapshot = this.#completed(id);
    if (this.#blockTokens.get(token) !== `${id}/${index}`) {
      throw invalid("INVALID_BLOCK_TOKEN", "The block token is not valid or has expired");
    }
    const stored = lineage(snapshot)
      .map((each) => each.written.get(index))
      .find((each) => each !== undefined);
    if (stored === undefined || this.lost.has(`${id}/${index}`)) {
      throw new EbsFault("ResourceNotFoundException", undefined, `block ${index} does not exist`, 404);
    }
    return stored;
  }

  /** Seven days pass for every block token, an hour for every page token. */
  expireTokens(): void {
    this.#blockTokens.clear();
    this.#pageTokens.clear();
  }

  /** A snapshot's whole image of the block range, zeros where nothing is. */
  image(id: string, blocks: number): Buffer {
    const all = contents(this.#named(id));
    return Buffer.concat(Array.from({ length: blocks }, (_, i) => all.get(i)?.data ?? Buffer.alloc(BLOCK)));
  }

  #named(id: string): Snapshot {
    if (!/^snap-[0-9a-f]{1,59}$/.test(id)) throw invalid("INVALID_SNAPSHOT_ID", `'${id}' is no snapshot id`);
    const snapshot = this.all.get(id);
    if (snapshot === undefined) throw notFound(id);
    return snapshot;
  }

  #completed(id: string): Snapshot {
    const snapshot = this.#named(id);
    if (snapshot.status !== "completed") {
      throw invalid("INVALID_SNAPSHOT_ID", `The snapshot '${id}' is not in the 'completed' state`);
    }
    return snapshot;
  }

  #token(id: string, index: number): string {
    const token = `${randomBytes(24).toString("base64")}`;
    this.#blockTokens.set(token, `${id}/${index}`);
    return token;
  }

  #page(query: string, indexes: number[], input: PageInput, volumeSize: number): Page<number> {
    const { maxResults = 10_000, pageToken, startingBlockIndex = 0 } = input;
    if (maxResults < 100 || maxResults > 10_000) {
      throw invalid("INVALID_PARAMETER_VALUE", "MaxResults must be from 100 to 10000");
    }
    const open = pageToken === undefined ? undefined : this.#pageTokens.get(pageToken);
    if (pageToken !== undefined && open?.query !== query) {
      throw invalid("INVALID_PAGE_TOKEN", "The page token is not valid or has expired");
    }
    const from = open?.from ?? startingBlockIndex;
    const rest = indexes.filter((index) => index >= from);
    const items = rest.slice(0, Math.min(maxResults, this.pageLimit));
    const following = rest[items.length];
    if (following === undefined) return { items, next: undefined, volumeSize };
    const next = randomBytes(24).toString("base64");
    this.#pageTokens.set(next, { query, from: following });
    return { items, next, volumeSize };
  }
}

function contents(snapshot: Snapshot): Map<number, Stored> {
  const below = snapshot.parent === undefined ? new Map<number, Stored>() : contents(snapshot.parent);
  for (const [index, stored] of snapshot.written) below.set(index, stored);
  return below;
}

function lineage(snapshot: Snapshot): Snapshot[] {
  return snapshot.parent === undefined ? [snapshot] : [snapshot, ...lineage(snapshot.parent)];
}

function aggregate(snapshot: Snapshot): string {
  const digests = [...snapshot.written].sort(([a], [b]) => a - b).map(([, { checksum }]) => checksum);
  return checksumOf(Buffer.concat(digests.map((digest) => Buffer.from(digest, "base64"))));
}

function tagsOf(tags: unknown): { Key: string; Value: string }[] {
  if (tags === undefined) return [];
  if (!Array.isArray(tags) || tags.length > 50) throw invalid("INVALID_TAG", "at most 50 tags");
  return tags.map((tag: { Key?: unknown; Value?: unknown }) => {
    const { Key, Value } = tag;
    if (typeof Key !== "string" || Key === "" || Key.length > 127 || Key.startsWith("aws:")) {
      throw invalid("INVALID_TAG", `tag key ${String(Key)}`);
    }
    if (typeof Value !== "string" || Value.length > 255) throw invalid("INVALID_TAG", `value of ${Key}`);
    return { Key, Value };
  });
}
