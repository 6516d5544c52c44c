import { readFileSync } from "node:fs";
import t from "tap";
import { isZero } from "../../src/reader/bytes.js";
import { Geometry } from "../../src/reader/geometry.js";
import { openHeader, parseEntries, parseEntry } from "../../src/reader/header.js";
import { VolumeKeys } from "../../src/reader/keys.js";
import { openFrame, openSegmentHeader, parseCommit } from "../../src/reader/log-record.js";
import { openName, openTarget, openXattr } from "../../src/reader/names.js";
import { isBound, openRecord } from "../../src/reader/record.js";
import { openGcm, openSiv } from "../../src/reader/seal.js";
import { buildVectors } from "./vectors.js";

const path = new URL("../../../docs/format-vectors.json", import.meta.url);
const stored = JSON.parse(readFileSync(path, "utf8")) as unknown;
// The file is compared whole with what is built, so that its type can be taken from the builder.
const vectors = buildVectors();
const bytes = (text: string) => Buffer.from(text, "hex");
const keys = new VolumeKeys(bytes(vectors.volume.domainKey), vectors.volume.uuid);

t.test("docs/format-vectors.json is what the format's writing half makes", async (t) => {
  t.same(stored, JSON.parse(JSON.stringify(vectors)));
});

t.test("records of the vectors open to their inputs", async (t) => {
  for (const wanted of vectors.records.cases) {
    const record = openRecord(keys, bytes(wanted.record));
    t.equal(record.type, wanted.type);
    t.equal(record.growing, wanted.growing);
    t.same(record.id, bytes(wanted.id));
    t.same(record.attributes, wanted.attributes);
    t.same(record.oldAttributes ?? null, wanted.oldAttributes);
    t.same(record.device ?? null, wanted.device);
    t.equal(record.aclHash?.toString("hex") ?? null, wanted.aclHash);
    t.equal(record.oldAclHash?.toString("hex") ?? null, wanted.oldAclHash);
    for (const { parentId, storedText } of wanted.bindings) {
      t.ok(isBound(keys, record, bytes(parentId), storedText));
      t.notOk(isBound(keys, record, bytes(parentId), `${storedText}x`));
    }
  }
});

t.test("blocks and the header of the vectors open to their inputs", async (t) => {
  const { blocks, header } = vectors;
  for (const wanted of blocks.cases) {
    const entry = parseEntry(bytes(wanted.entry));
    const key = keys.file(bytes(blocks.fileId), wanted.epoch).key;
    if (entry === undefined) throw new Error("a hole");
    t.same(
      openGcm(key, entry.nonce, entry.tag, bytes(wanted.aad), bytes(wanted.sealed)),
      bytes(wanted.clear),
    );
  }
  const opened = openHeader(
    keys,
    header.blockSize,
    bytes(header.domainId),
    bytes(header.fileId),
    bytes(header.header),
  );
  t.equal(`${opened.size}`, header.size);
  t.equal(`${opened.commit}`, header.commit);
  t.same(opened.direct, parseEntries(bytes(header.direct)));
  t.same(opened.subtrees, parseEntries(bytes(header.subtrees)));
});

t.test("geometry of the vectors holds both ways", async (t) => {
  for (const wanted of vectors.geometry) {
    const geometry = new Geometry(wanted.blockSize);
    for (const { block, home } of wanted.homes) t.equal(`${geometry.home(BigInt(block))}`, home);
    for (const { size, physicalLength } of wanted.lengths) {
      t.equal(`${geometry.physicalLength(BigInt(size))}`, physicalLength);
      t.equal(`${geometry.sizeOf(BigInt(physicalLength))}`, size);
    }
    for (const length of wanted.lengthsOfNoSize) t.equal(geometry.sizeOf(BigInt(length)), undefined);
  }
});

t.test("the table of worked sizes in docs/format.md holds", async (t) => {
  const geometry = new Geometry(4096);
  const table = [
    [0, 0, 4096],
    [1, 1, 4097],
    [4096, 1, 8192],
    [458752, 112, 462848],
    [458753, 113, 466945],
    [983040, 240, 991232],
    [983041, 241, 999425],
    [1000000, 245, 1016384],
  ] as const;
  for (const [size, blocks, length] of table) {
    t.equal(geometry.blocks(BigInt(size)), BigInt(blocks));
    t.equal(geometry.physicalLength(BigInt(size)), BigInt(length));
  }
});

t.test("names, targets and xattrs of the vectors open to their inputs", async (t) => {
  for (const wanted of vectors.names.cases) {
    const sidecar = wanted.sidecarText === null ? undefined : bytes(wanted.sealed);
    const directory = bytes(vectors.names.directoryId);
    t.same(openName(keys, directory, wanted.storedText, sidecar), bytes(wanted.name));
    const other = Buffer.from(directory).fill(1);
    t.throws(() => openName(keys, other, wanted.storedText, sidecar), { code: "name" });
  }
  for (const wanted of vectors.symlinks.cases) {
    t.same(openTarget(keys, bytes(vectors.symlinks.inodeId), bytes(wanted.sealed)), bytes(wanted.target));
  }
  for (const wanted of vectors.xattrs.cases) {
    const name = wanted.storedNameText.slice(wanted.prefixText.length);
    const xattr = openXattr(keys, bytes(vectors.xattrs.inodeId), name, bytes(wanted.storedValue));
    t.same(xattr, { name: Buffer.from(wanted.nameText), value: bytes(wanted.value) });
  }
});

t.test("the segment and the records of the vectors open to their inputs", async (t) => {
  const { segment, records } = vectors.log;
  const header = openSegmentHeader(keys, bytes(vectors.volume.uuidBytes), bytes(segment.header));
  if (header === undefined) throw new Error("the segment header does not open");
  for (const name of ["sequence", "firstCommit", "checkpointed", "generation"] as const) {
    t.equal(`${header[name]}`, segment[name]);
  }
  const key = keys.segmentKey(header.salt);
  for (const wanted of records) {
    const frame = openFrame(key, Buffer.concat([Buffer.alloc(512), bytes(wanted.record)]), 512);
    if (frame === undefined) throw new Error("the record does not open");
    t.equal(`${frame.number}`, wanted.number);
    t.equal(`${frame.durable}`, wanted.durable);
    const commit = parseCommit(frame, new Geometry(4096));
    t.same(commit.fileId, bytes(wanted.fileId));
    t.equal(`${commit.physicalLength}`, wanted.physicalLength);
    t.equal(`${commit.mtime?.seconds}`, `${wanted.mtime?.seconds}`);
    t.same(
      commit.punched.map(({ offset }) => `${offset}`),
      wanted.punched.map(({ offset }) => offset),
    );
    t.same(
      commit.straight.map(({ index }) => `${index}`),
      wanted.straight.map(({ index }) => index),
    );
    for (const [i, image] of commit.images.entries()) {
      t.same(frame.bytes.subarray(image.at, image.at + image.length), bytes(wanted.images[i]?.bytes ?? ""));
    }
  }
});

t.test("AES-SIV agrees with RFC 5297, appendix A.1, and refuses every flipped bit", async (t) => {
  const key = bytes("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
  const associated = bytes("101112131415161718191a1b1c1d1e1f2021222324252627");
  const sealed = bytes("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c");
  t.same(openSiv(key, associated, sealed), bytes("112233445566778899aabbccddee"));
  for (let at = 0; at < sealed.length; at++) {
    const flipped = Buffer.from(sealed);
    flipped[at] = (flipped[at] ?? 0) ^ 0x80;
    t.equal(openSiv(key, associated, flipped), undefined);
  }
  t.equal(openSiv(key, associated, Buffer.alloc(15)), undefined);
  t.notOk(isZero(sealed));
});
