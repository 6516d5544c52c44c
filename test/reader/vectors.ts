// Builds docs/format-vectors.json: inputs and expected outputs for every section of docs/format.md.
import { createHash, scryptSync } from "node:crypto";
import canonicalize from "canonicalize";
import { blockAad } from "../../src/reader/aad.js";
import { uuidBytes, zeroPad } from "../../src/reader/bytes.js";
import { Geometry } from "../../src/reader/geometry.js";
import { mac, VolumeKeys } from "../../src/reader/keys.js";
import { aclHash, type InodeType } from "../../src/reader/record.js";
import * as encode from "./encode.js";

const UUID = "6b6d7366-7300-4a01-8b2c-3d4e5f607182";
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const ascending = (from: number, count: number) =>
  Buffer.from(Array.from({ length: count }, (_, i) => (from + i) & 0xff));
const random16 = ascending(0xa0, 16);
const EPOCH = 0x01c0ffee;
const FILE_ID = ascending(0x30, 16);
const DIRECTORY_ID = ascending(0x50, 16);
const SPECIAL_ID = ascending(0x70, 16);

export function buildVectors() {
  const domainKey = ascending(0, 32);
  const keys = new VolumeKeys(domainKey, UUID);
  return {
    about:
      "Test vectors for docs/format.md. Byte strings are hex unless a name says text or base64. Large integers are decimal strings.",
    volume: { uuid: UUID, uuidBytes: hex(uuidBytes(UUID)), domainKey: hex(domainKey) },
    keys: keyVectors(keys),
    volumeJson: volumeJsonVectors(keys, domainKey),
    records: recordVectors(keys),
    aclHashes: aclVectors(),
    blocks: blockVectors(keys),
    header: headerVector(keys),
    geometry: [4096, 16384, 65536].map(geometryVectors),
    names: nameVectors(keys),
    symlinks: symlinkVectors(keys),
    xattrs: xattrVectors(keys),
    log: logVectors(keys),
  };
}

function keyVectors(keys: VolumeKeys) {
  const file = keys.file(FILE_ID, EPOCH);
  const salt = ascending(0x11, 32);
  return {
    section: "2",
    subkeys: {
      content: hex(keys.content),
      names: hex(keys.names),
      xattrs: hex(keys.xattrs),
      links: hex(keys.links),
      records: hex(keys.records),
      log: hex(keys.log),
      header: hex(keys.header),
      audit: hex(keys.audit),
      commitment: hex(keys.commitment),
    },
    file: { fileId: hex(FILE_ID), epoch: EPOCH, fileKey: hex(file.key), commitment: hex(file.commitment) },
    log: { macKey: hex(keys.logMacKey()), salt: hex(salt), segmentKey: hex(keys.segmentKey(salt)) },
  };
}

function volumeJsonVectors(keys: VolumeKeys, domainKey: Buffer) {
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  const aad = (provider: string) =>
    Buffer.concat([Buffer.from("kmsfs slot v1"), uuidBytes(UUID), Buffer.from(provider)]);
  const created = "2026-11-23T22:00:00Z";
  const keyfile = ascending(0xc0, 32);
  const passphrase = "correct horse battery staple";
  const scrypt = { salt: ascending(0xd0, 16), n: 16384, r: 8, p: 1 };
  const stretched = scryptSync(passphrase, scrypt.salt, 32, { N: scrypt.n, r: scrypt.r, p: scrypt.p });
  const wrap = (key: Uint8Array, nonce: Uint8Array, provider: string) => {
    const { sealed, tag } = encode.sealGcm(key, nonce, aad(provider), domainKey);
    return { nonce: base64(nonce), blob: base64(Buffer.concat([sealed, tag])) };
  };
  const slots = [
    {
      id: 1,
      provider: "keyfile",
      label: "first",
      created,
      path: "/etc/kmsfs/key",
      ...wrap(keyfile, ascending(1, 12), "keyfile"),
    },
    {
      id: 2,
      provider: "passphrase",
      label: "",
      created,
      ...scrypt,
      salt: base64(scrypt.salt),
      ...wrap(stretched, ascending(2, 12), "passphrase"),
    },
  ];
  const unsigned = {
    format: 1,
    kind: "files",
    uuid: UUID,
    blockSize: 4096,
    features: ["trusted-records"],
    log: { segmentSize: 4194304, segments: 4 },
    generation: 1,
    created,
    commitment: base64(keys.commitment),
    slots,
  };
  const canonicalText = canonicalize(unsigned) ?? "";
  const volumeJsonText =
    canonicalize({ ...unsigned, mac: base64(mac(keys.header, 32, canonicalText)) }) ?? "";
  return {
    section: "3",
    keyfile: hex(keyfile),
    passphraseText: passphrase,
    scryptOutput: hex(stretched),
    macInputText: canonicalText,
    volumeJsonText,
  };
}

function recordVectors(keys: VolumeKeys) {
  const plain = { mode: 0o644, uid: 1000, gid: 100 };
  const bound = [{ parentId: DIRECTORY_ID, stored: "stored-name_1" }];
  const inputs: encode.RecordInput[] = [
    { type: "directory", id: uuidBytes(UUID), attributes: { mode: 0o755, uid: 0, gid: 0 }, bindings: [] },
    { type: "file", id: FILE_ID, attributes: plain, growing: true, bindings: bound },
    {
      type: "file",
      id: FILE_ID,
      attributes: { mode: 0o4755, uid: 0, gid: 4294967294 },
      oldAttributes: plain,
      bindings: [...bound, { parentId: SPECIAL_ID, stored: "other" }],
    },
    {
      type: "directory",
      id: DIRECTORY_ID,
      attributes: plain,
      aclHash: ascending(1, 16),
      oldAclHash: ascending(2, 16),
      bindings: bound,
    },
    {
      type: "chardev",
      id: SPECIAL_ID,
      attributes: plain,
      device: { major: 4, minor: 300 },
      oldAttributes: plain,
      aclHash: ascending(1, 16),
      bindings: bound,
    },
    ...(["symlink", "fifo", "socket"] as InodeType[]).map((type) => ({
      type,
      id: SPECIAL_ID,
      attributes: plain,
      bindings: bound,
    })),
    {
      type: "blockdev",
      id: SPECIAL_ID,
      attributes: plain,
      device: { major: 259, minor: 1 },
      bindings: bound,
    },
  ];
  return {
    section: "4",
    cases: inputs.map((input) => ({
      type: input.type,
      growing: input.growing ?? false,
      id: hex(input.id),
      attributes: input.attributes,
      device: input.device ?? null,
      oldAttributes: input.oldAttributes ?? null,
      aclHash: input.aclHash ? hex(input.aclHash) : null,
      oldAclHash: input.oldAclHash ? hex(input.oldAclHash) : null,
      bindings: input.bindings.map(({ parentId, stored }) => ({
        parentId: hex(parentId),
        storedText: stored,
      })),
      record: hex(encode.encodeRecord(keys, input)),
    })),
  };
}

function aclVectors() {
  const access = Buffer.from(
    "0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff",
    "hex",
  );
  const cases: [Buffer | undefined, Buffer | undefined][] = [
    [access, undefined],
    [undefined, access],
    [access, access],
    [undefined, undefined],
  ];
  return {
    section: "4",
    cases: cases.map(([a, d]) => ({
      access: a ? hex(a) : null,
      default: d ? hex(d) : null,
      hash: hex(aclHash(a, d)),
    })),
  };
}

function blockVectors(keys: VolumeKeys) {
  const inputs = [
    { what: "a whole data block", level: 0, index: 3n, clear: Buffer.alloc(4096, "kmsfs block ") },
    { what: "a last data block of 5 bytes", level: 0, index: 113n, clear: Buffer.from("hello") },
    {
      what: "a node of level 2",
      level: 2,
      index: 240n,
      clear: Buffer.concat([ascending(1, 32), Buffer.alloc(4064)]),
    },
  ];
  return {
    section: "5",
    fileId: hex(FILE_ID),
    cases: inputs.map(({ what, level, index, clear }, i) => {
      const nonce = ascending(0x80 + i, 12);
      const { sealed, entry } = encode.sealBlock(keys, FILE_ID, { level, index, epoch: EPOCH, nonce }, clear);
      const aad = hex(blockAad(level, index));
      return {
        what,
        level,
        index: `${index}`,
        epoch: EPOCH,
        nonce: hex(nonce),
        aad,
        clear: hex(clear),
        sealed: hex(sealed),
        entry: hex(entry),
      };
    }),
  };
}

function headerInput(): encode.HeaderInput {
  return {
    blockSize: 4096,
    fileId: FILE_ID,
    domainId: uuidBytes(UUID),
    commit: 77n,
    epoch: EPOCH,
    nonce: ascending(0x90, 12),
    size: 1000000n,
    direct: Buffer.concat([ascending(7, 32), Buffer.alloc(32), ascending(9, 32)], 112 * 32),
    subtrees: Buffer.concat([ascending(21, 32), ascending(22, 32)], 5 * 32),
  };
}

function headerVector(keys: VolumeKeys) {
  const input = headerInput();
  return {
    section: "5",
    blockSize: input.blockSize,
    fileId: hex(input.fileId),
    domainId: hex(input.domainId),
    commit: `${input.commit}`,
    epoch: input.epoch,
    nonce: hex(input.nonce),
    size: `${input.size}`,
    direct: hex(input.direct),
    subtrees: hex(input.subtrees),
    header: hex(encode.encodeHeader(keys, input)),
  };
}

function geometryVectors(blockSize: number) {
  const g = new Geometry(blockSize);
  const levels = [1, 2, 3, 4, 5];
  const borders = [
    0n,
    111n,
    ...levels.flatMap((k) => [g.first(k), g.first(k) + 1n, g.first(k) + g.fanout, g.first(k + 1) - 1n]),
  ];
  const indexes = borders.filter((i) => i * g.block < g.maxSize);
  const sizes = [
    0n,
    1n,
    g.block - 1n,
    g.block,
    g.block + 1n,
    1000000n,
    ...indexes.slice(1).flatMap((i) => [i * g.block, i * g.block + 1n]),
    g.maxSize,
  ].filter((size) => size <= g.maxSize);
  // Between the end of what stands before a node and the first byte of the data behind it, no size maps.
  const noSize = [
    0n,
    1n,
    4095n,
    ...levels.flatMap((k) => [g.base(k) + 1n, g.base(k) + BigInt(k) * g.block]),
  ].filter((length) => g.sizeOf(length) === undefined);
  return {
    section: "5",
    blockSize,
    fanout: `${g.fanout}`,
    first: levels.map((k) => `${g.first(k)}`),
    base: levels.map((k) => `${g.base(k)}`),
    span: [0, ...levels].map((k) => `${g.span(k)}`),
    maxSize: `${g.maxSize}`,
    homes: indexes.map((i) => ({ block: `${i}`, home: `${g.home(i)}` })),
    lengths: [...new Set(sizes)].map((size) => ({
      size: `${size}`,
      physicalLength: `${g.physicalLength(size)}`,
    })),
    lengthsOfNoSize: noSize.map(String),
  };
}

function nameVectors(keys: VolumeKeys) {
  const names = [
    "a",
    "fifteen-letters",
    "sixteen--letters",
    "Grüße",
    "n".repeat(160),
    "n".repeat(161),
    "n".repeat(255),
  ].map((text) => Buffer.from(text));
  return {
    section: "6",
    directoryId: hex(DIRECTORY_ID),
    cases: [...names, Buffer.from([0xff, 0xfe, 0x0a])].map((name) => {
      const { sealed, stored, sidecar } = encode.sealName(keys, DIRECTORY_ID, name);
      return { name: hex(name), sealed: hex(sealed), storedText: stored, sidecarText: sidecar ?? null };
    }),
  };
}

function symlinkVectors(keys: VolumeKeys) {
  return {
    section: "7",
    inodeId: hex(SPECIAL_ID),
    cases: ["t", "../some/where", "x".repeat(735), "x".repeat(736), "y".repeat(4095)].map((text) => {
      const target = Buffer.from(text);
      const { sealed, stored } = encode.sealTarget(keys, SPECIAL_ID, random16, target);
      return { random: hex(random16), target: hex(target), sealed: hex(sealed), storedText: stored };
    }),
  };
}

function xattrVectors(keys: VolumeKeys) {
  const cases = [
    { prefix: "user.kmsfs.", name: "user.a", value: Buffer.from("value") },
    { prefix: "user.kmsfs.", name: "user.sixteen.lett", value: Buffer.alloc(0) },
    { prefix: "user.kmsfs.", name: `user.${"l".repeat(155)}`, value: ascending(0, 40) },
    { prefix: "trusted.kmsfs.", name: "security.capability", value: ascending(1, 20) },
  ] as const;
  return {
    section: "8",
    inodeId: hex(FILE_ID),
    cases: cases.map(({ prefix, name, value }) => {
      const { storedName, storedValue } = encode.sealXattr(keys, FILE_ID, prefix, name, random16, value);
      const paddedName = hex(zeroPad(Buffer.from(name), 16));
      return {
        prefixText: prefix,
        nameText: name,
        paddedName,
        random: hex(random16),
        value: hex(value),
        storedNameText: storedName,
        storedValue: hex(storedValue),
      };
    }),
  };
}

function logVectors(keys: VolumeKeys) {
  const segment: encode.SegmentInput = {
    uuid: uuidBytes(UUID),
    sequence: 9n,
    firstCommit: 77n,
    checkpointed: 70n,
    generation: 1n,
    salt: ascending(0x11, 32),
    previousMac: ascending(0xe0, 16),
    handle: ascending(0x61, 8),
    handleType: 1,
    fileSystemId: ascending(0xf0, 16),
  };
  const segmentKey = keys.segmentKey(segment.salt);
  const header = encode.encodeHeader(keys, headerInput());
  const entry = encode.sealBlock(
    keys,
    FILE_ID,
    { level: 0, index: 3n, epoch: EPOCH, nonce: ascending(0x80, 12) },
    Buffer.alloc(4096, "kmsfs block "),
  ).entry;
  const commits: encode.CommitInput[] = [
    {
      number: 77n,
      durable: 75n,
      previousMac: segment.previousMac,
      fileId: FILE_ID,
      handle: ascending(0x41, 12),
      handleType: 0x81,
      physicalLength: 1016384n,
      mtime: { seconds: -2n, nanoseconds: 999999999 },
      punched: [{ offset: 8192n, length: 4096n }],
      straight: [{ index: 3n, length: 4096, entry }],
      images: [
        { offset: 0n, bytes: header },
        { offset: 999424n, bytes: ascending(0, 13) },
      ],
    },
  ];
  const first = commits.map((commit) => encode.encodeCommit(segmentKey, commit));
  const previousMac = first[0]?.subarray(0, 16) ?? Buffer.alloc(16);
  commits.push({
    number: 78n,
    durable: 77n,
    previousMac,
    fileId: FILE_ID,
    handle: Buffer.alloc(0),
    handleType: 0,
    physicalLength: 1016384n,
    punched: [],
    straight: [],
    images: [{ offset: 0n, bytes: header }],
  });
  return {
    section: "9",
    segment: {
      sequence: "9",
      firstCommit: "77",
      checkpointed: "70",
      generation: "1",
      salt: hex(segment.salt),
      previousMac: hex(segment.previousMac),
      handle: hex(segment.handle),
      handleType: segment.handleType,
      fileSystemId: hex(segment.fileSystemId),
      header: hex(encode.encodeSegmentHeader(keys, segment)),
    },
    records: commits.map((commit) => ({
      number: `${commit.number}`,
      durable: `${commit.durable}`,
      previousMac: hex(commit.previousMac),
      fileId: hex(commit.fileId),
      handle: hex(commit.handle),
      handleType: commit.handleType,
      physicalLength: `${commit.physicalLength}`,
      mtime: commit.mtime
        ? { seconds: `${commit.mtime.seconds}`, nanoseconds: commit.mtime.nanoseconds }
        : null,
      punched: commit.punched.map(({ offset, length }) => ({ offset: `${offset}`, length: `${length}` })),
      straight: commit.straight.map((s) => ({ index: `${s.index}`, length: s.length, entry: hex(s.entry) })),
      images: commit.images.map((image) => ({ offset: `${image.offset}`, bytes: hex(image.bytes) })),
      sha256: createHash("sha256").update(encode.encodeCommit(segmentKey, commit)).digest("hex"),
      record: hex(encode.encodeCommit(segmentKey, commit)),
    })),
  };
}
