import { type BigIntStats, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.js";
import { fromBase64Url, idText, uuidBytes } from "./bytes.js";
import { DamageError, systemCode } from "./errors.js";
import { commitsByFile, type Folded, fold } from "./fold.js";
import { Geometry } from "./geometry.js";
import { sameBytes, VolumeKeys } from "./keys.js";
import { type Commit, type CommitLog, logIsBegun, readLog } from "./log.js";
import { MAX_SEALED_TARGET, openTarget } from "./names.js";
import type { InodeRecord } from "./record.js";
import { type BlockSource, LocalSource, readSmallFile } from "./source.js";
import { type FileIdentity, SealedFile } from "./tree.js";

/** What the reader takes from an authenticated volume.json. */
export interface VolumeParameters {
  readonly uuid: string;
  readonly blockSize: number;
  /** base64. */
  readonly commitment: string;
  readonly log: { readonly segmentSize: number };
}

/** The contents of one regular file as of the last commit in force. `close` it. */
export interface OpenFile {
  readonly file: SealedFile;
  readonly folded: Folded;
  close(): void;
}

/** A files volume, open for reading with its key. Not mounted anywhere meanwhile, or the log moves underneath. */
export class Volume {
  readonly keys: VolumeKeys;
  readonly geometry: Geometry;
  readonly id: Buffer;
  readonly rootStats: BigIntStats;
  readonly log: CommitLog | undefined;
  /** Why there is no `log`: files then stand as they are at home. */
  readonly logDamage: DamageError | undefined;
  /** Made, and no mount came far enough to use it: there is no log and no entry, and none is missing. */
  readonly unused: boolean;
  readonly #commits: Map<string, Commit[]>;
  readonly #control: string;

  /** `domainKey` stays the caller's to wipe. Throws a UserError for a key that is not the volume's. */
  constructor(
    readonly backing: string,
    parameters: VolumeParameters,
    domainKey: Uint8Array,
  ) {
    this.keys = new VolumeKeys(domainKey, parameters.uuid);
    if (!sameBytes(this.keys.commitment, Buffer.from(parameters.commitment, "base64"))) {
      this.close();
      throw new UserError("WrongKey", `the key is not that of the volume in ${backing}`);
    }
    this.geometry = new Geometry(parameters.blockSize);
    this.id = uuidBytes(parameters.uuid);
    this.#control = join(backing, ".kmsfs");
    this.rootStats = statSync(backing, { bigint: true });
    const directory = join(this.#control, "log");
    this.unused = isEmpty(backing, [".kmsfs", "lost+found"]) && !logIsBegun(directory);
    const log = this.unused ? undefined : this.#readLog(directory, parameters.log.segmentSize);
    this.logDamage = log instanceof DamageError ? log : undefined;
    this.log = log instanceof DamageError ? undefined : log;
    this.#commits = this.log ? commitsByFile(this.log) : new Map();
  }

  #readLog(directory: string, segmentSize: number): CommitLog | DamageError {
    try {
      return readLog(this.keys, this.id, directory, segmentSize, this.geometry);
    } catch (error) {
      if (error instanceof DamageError) return error;
      throw error;
    }
  }

  /** Wipes the keys. */
  close(): void {
    this.keys.wipe();
  }

  /**
   * The regular file at `path` with the record `record`, read through what `reading` makes of its home. Throws
   * DamageErrors and the system's errors.
   */
  async openFile(
    path: Buffer,
    record: InodeRecord,
    reading: (home: LocalSource) => BlockSource = (home) => home,
  ): Promise<OpenFile> {
    const identity: FileIdentity = {
      keys: this.keys,
      geometry: this.geometry,
      domainId: this.id,
      fileId: record.id,
    };
    const home = new LocalSource(path);
    try {
      const commits = this.#commits.get(idText(record.id)) ?? [];
      const folded = await fold(identity, reading(home), commits, this.log?.durable ?? 0n);
      const file = await SealedFile.open(identity, folded.source, record.growing && folded.taken === 0);
      return { file, folded, close: () => home.close() };
    } catch (error) {
      home.close();
      throw error;
    }
  }

  /** The target of a symlink whose backing symlink points to `stored`. */
  target(record: InodeRecord, stored: string): Buffer {
    const sealed = stored === "~" ? this.#targetSidecar(record) : fromBase64Url(stored);
    if (sealed === undefined) throw new DamageError("symlink", "the symlink target is no sealed one");
    return openTarget(this.keys, record.id, sealed);
  }

  #targetSidecar(record: InodeRecord): Buffer | undefined {
    try {
      return readSmallFile(join(this.#control, "links", idText(record.id)), MAX_SEALED_TARGET);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
      throw new DamageError("symlink", "the sidecar that holds the symlink target is missing");
    }
  }
}

function isEmpty(directory: string, besides: readonly string[]): boolean {
  try {
    return readdirSync(directory).every((name) => besides.includes(name));
  } catch (error) {
    return systemCode(error) === "ENOENT";
  }
}
