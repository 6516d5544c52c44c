// Damaged bytes of every kind that the reader takes from a volume; most are sealed or signed again after the damage, so
// that what is behind the MAC is reached. Nothing is thrown but the reader's own errors.
import fc from "fast-check";
import t from "tap";
import { Geometry } from "../../src/reader/geometry.js";
import { openHeader, parseEntries } from "../../src/reader/header.js";
import { mac, VolumeKeys } from "../../src/reader/keys.js";
import { claimedLength, openFrame, openSegmentHeader, parseCommit } from "../../src/reader/log-record.js";
import { openName, openTarget, openXattr, storedKind } from "../../src/reader/names.js";
import { isBound, openRecord } from "../../src/reader/record.js";
import { openGcm } from "../../src/reader/seal.js";
import * as encode from "../reader/encode.js";
import { damaged, damages, fuzz, numbers, sized, unlessDamaged, withSmallBuffers } from "./damage.js";

const keys = new VolumeKeys(Buffer.alloc(32, 2), "0f1e2d3c-4b5a-4968-8776-655443322110");
const uuid = Buffer.from("0f1e2d3c4b5a49688776655443322110", "hex");
const id = Buffer.alloc(16, 3);
const geometry = new Geometry(4096);
/** Larger than any of the inputs. */
const MOST = 100_000;

function headerOf(size: bigint): Buffer {
  const direct = Buffer.alloc(112 * 32);
  direct.fill(9, 64, 96);
  const [epoch, nonce] = [7, Buffer.alloc(12, 1)];
  const subtrees = Buffer.alloc(5 * 32);
  return encode.encodeHeader(keys, {
    blockSize: 4096,
    fileId: id,
    domainId: uuid,
    commit: 5n,
    epoch,
    nonce,
    size,
    direct,
    subtrees,
  });
}

t.test("file headers", async () => {
  const [good, other] = [headerOf(1_000_000n), headerOf(3n)];
  const fields = [
    [8, 2],
    [10, 1],
    [16, 8],
    [32, 8],
    [48, 8],
    [56, 8],
    [88, 4],
    [92, 8],
  ] as const;
  fc.assert(
    fc.property(
      damages(fields),
      damages([
        [0, 8],
        [8, 4],
        [3592, 4],
        [3752, 8],
      ]),
      (clear, sealed) => {
        const page = damaged(good, clear, other);
        const open = (bytes: Buffer) =>
          withSmallBuffers(MOST, () => unlessDamaged(() => openHeader(keys, 4096, uuid, id, bytes)));
        if (open(page) !== undefined && !page.subarray(0, 4096).equals(good)) {
          if (!page.subarray(0, 4096).equals(other)) throw new Error("a changed header opens");
        }
        const forged = sized(page, 4096);
        const material = keys.file(id, forged.readUInt32LE(88));
        const [nonce, tag] = [good.subarray(92, 104), good.subarray(104, 120)];
        const plain = openGcm(keys.file(id, 7).key, nonce, tag, good.subarray(0, 92), good.subarray(120));
        if (plain === undefined) throw new Error("the good header does not open");
        material.commitment.copy(forged, 56);
        const again = encode.sealGcm(
          material.key,
          forged.subarray(92, 104),
          forged.subarray(0, 92),
          sized(damaged(plain, sealed, Buffer.alloc(3976, 255)), 3976),
        );
        again.tag.copy(forged, 104);
        again.sealed.copy(forged, 120);
        const header = open(forged);
        if (header !== undefined && (header.direct.length !== 112 || header.subtrees.length !== 5))
          throw new Error("entries");
      },
    ),
    fuzz(500),
  );
});

t.test("nodes and geometry", async () => {
  fc.assert(
    fc.property(damages(), numbers, fc.constantFrom(4096, 16384, 65536), (damage, number, blockSize) => {
      const node = damaged(Buffer.alloc(4096), damage, Buffer.alloc(4096, 1));
      parseEntries(node.subarray(0, node.length - (node.length % 32)));
      const geometry = new Geometry(blockSize);
      const size = geometry.sizeOf(number);
      if (size !== undefined && geometry.physicalLength(size) !== number) throw new Error(`length ${number}`);
      if (number > geometry.maxSize) return;
      if (geometry.sizeOf(geometry.physicalLength(number)) !== number) throw new Error(`size ${number}`);
    }),
    fuzz(1000),
  );
});

t.test("segment headers", async () => {
  const header = (sequence: bigint) =>
    encode.encodeSegmentHeader(keys, {
      uuid,
      sequence,
      firstCommit: 9n,
      checkpointed: 8n,
      generation: 1n,
      salt: Buffer.alloc(32, 4),
      previousMac: Buffer.alloc(16, 5),
      handle: Buffer.alloc(20, 6),
      handleType: 1,
      fileSystemId: Buffer.alloc(16, 7),
    });
  const [good, other] = [header(3n), header(4n)];
  const fields = [
    [0, 8],
    [8, 8],
    [24, 8],
    [32, 8],
    [40, 8],
    [48, 8],
    [104, 2],
  ] as const;
  fc.assert(
    fc.property(damages(fields), (damage) => {
      const bytes = damaged(good, damage, other);
      openSegmentHeader(keys, uuid, bytes);
      const forged = sized(bytes, 512);
      mac(keys.logMacKey(), 16, forged.subarray(0, 496)).copy(forged, 496);
      const read = openSegmentHeader(keys, uuid, forged);
      if (read !== undefined && read.firstCommit === 0n) throw new Error("commit 0");
    }),
    fuzz(500),
  );
});

t.test("log records", async () => {
  const key = keys.segmentKey(Buffer.alloc(32, 4));
  const record = (number: bigint) =>
    encode.encodeCommit(key, {
      number,
      durable: number - 1n,
      previousMac: Buffer.alloc(16, 9),
      fileId: id,
      handle: Buffer.alloc(13, 7),
      handleType: 1,
      physicalLength: 12_288n,
      mtime: { seconds: -1n, nanoseconds: 999_999_999 },
      punched: [{ offset: 8192n, length: 4096n }],
      straight: [{ index: 1n, length: 4096, entry: Buffer.alloc(32, 8) }],
      images: [
        { offset: 0n, bytes: Buffer.alloc(4096, 1) },
        { offset: 8192n, bytes: Buffer.alloc(1001, 2) },
      ],
    });
  const [good, other] = [record(7n), record(8n)];
  const fields = [
    ...[
      [16, 4],
      [20, 4],
      [24, 8],
      [72, 2],
      [74, 2],
      [80, 8],
      [96, 4],
      [100, 4],
      [104, 4],
      [108, 4],
    ],
    ...[
      [128, 8],
      [136, 8],
      [144, 8],
      [152, 4],
      [156, 4],
      [192, 8],
      [200, 4],
      [208, 8],
      [216, 4],
    ],
  ].map(([at, width]) => [at ?? 0, width ?? 0] as const);
  fc.assert(
    fc.property(damages(fields), (damage) => {
      const bytes = damaged(good, damage, other);
      const read = () => {
        const frame = openFrame(key, bytes, 0);
        return frame && unlessDamaged(() => parseCommit(frame, geometry));
      };
      withSmallBuffers(MOST, read);
      const length = claimedLength(bytes, 0);
      if (length === 0) return;
      const nonce = Buffer.concat([bytes.subarray(24, 32), Buffer.alloc(4)]);
      encode.sealGcm(key, nonce, bytes.subarray(16, length), Buffer.alloc(0)).tag.copy(bytes, 0);
      const commit = withSmallBuffers(MOST, read);
      for (const block of commit?.straight ?? []) {
        if (block.length > 4096) throw new Error(`a block of ${block.length} bytes`);
        geometry.home(block.index);
      }
      for (const image of commit?.images ?? [])
        if (image.at + image.length > length) throw new Error("beyond the record");
    }),
    fuzz(1000),
  );
});

t.test("inode records", async () => {
  const attributes = { mode: 0o4755, uid: 1000, gid: 100 };
  const bindings = Array.from({ length: 100 }, (_, i) => ({ parentId: id, stored: `n${i}` }));
  const good = encode.encodeRecord(keys, {
    type: "directory",
    id,
    attributes,
    bindings,
    oldAttributes: attributes,
  });
  const device = { major: 8, minor: 1 };
  const other = encode.encodeRecord(keys, {
    type: "blockdev",
    id,
    attributes,
    bindings: bindings.slice(0, 1),
    device,
  });
  const fields = [
    [0, 1],
    [1, 1],
    [2, 8],
    [18, 2],
    [20, 4],
    [24, 4],
    [28, 8],
  ] as const;
  fc.assert(
    fc.property(damages(fields), fc.boolean(), (damage, swap) => {
      const bytes = swap ? damaged(other, damage, good) : damaged(good, damage, other);
      unlessDamaged(() => openRecord(keys, bytes));
      const body = bytes.subarray(0, Math.max(0, bytes.length - 16));
      const forged = Buffer.concat([body, mac(keys.records, 16, "record", body)]);
      const record = withSmallBuffers(MOST, () => unlessDamaged(() => openRecord(keys, forged)));
      if (record === undefined) return;
      if (record.bindings.length > 100) throw new Error("bindings");
      isBound(keys, record, id, "n1");
    }),
    fuzz(500),
  );
});

t.test("names, targets and extended attributes", async () => {
  const names = ["a", "a name of some length", "x".repeat(160), "y".repeat(255)].map((name) =>
    Buffer.from(name),
  );
  const seal = (i: number) => encode.sealName(keys, id, names[i % 4] ?? Buffer.from("z"));
  fc.assert(
    fc.property(fc.nat(3), damages(), damages(), damages(), (i, ofName, ofSidecar, ofPlain) => {
      const [good, other] = [seal(i), seal(i + 1)];
      const stored = damaged(Buffer.from(good.stored), ofName, Buffer.from(other.stored)).toString("latin1");
      const sidecar = damaged(good.sealed, ofSidecar, other.sealed);
      storedKind(stored);
      for (const beside of [undefined, sidecar, good.sealed]) {
        const opened = withSmallBuffers(MOST, () => unlessDamaged(() => openName(keys, id, stored, beside)));
        if (opened !== undefined && encode.sealName(keys, id, opened).stored !== stored)
          throw new Error("another name");
      }
      unlessDamaged(() => openTarget(keys, id, sidecar));
      unlessDamaged(() => openXattr(keys, id, stored, sidecar));
      // Sealed with the right key, whatever it says.
      const plain = damaged(sized(names[i] ?? Buffer.alloc(0), 256), ofPlain, Buffer.alloc(300, 0x2f));
      const name = unlessDamaged(() =>
        openName(keys, id, encode.sealSiv(keys.names, id, plain).toString("base64url"), undefined),
      );
      if (name !== undefined && (name.length === 0 || name.length > 255 || name.includes(0)))
        throw new Error("no name");
      unlessDamaged(() => openTarget(keys, id, encode.sealSiv(keys.links, id, plain)));
      const xattr = encode.sealSiv(keys.xattrs, id, sized(Buffer.from("user.a"), 16)).toString("base64url");
      const named = Buffer.concat([id, Buffer.from("user.a")]);
      unlessDamaged(() => openXattr(keys, id, xattr, encode.sealSiv(keys.xattrs, named, plain)));
      unlessDamaged(() =>
        openXattr(keys, id, encode.sealSiv(keys.xattrs, id, plain).toString("base64url"), plain),
      );
    }),
    fuzz(300),
  );
});
