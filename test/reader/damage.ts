/** A volume with everything in it, and ways to tamper with it. */

import { randomBytes } from "node:crypto";
import { copyFileSync, readFileSync, renameSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Blocks, type FixtureInode, FixtureVolume, run, setXattr, xattrOf } from "./fixture.js";

/** A volume with everything in it, and handles on the parts to tamper with. */
export function everything(blockSize = 4096) {
  const v = new FixtureVolume(blockSize);
  return everythingIn(v, v.root);
}

/** The same in a directory of a volume; `small` leaves out what takes time to walk over. */
export function everythingIn(v: FixtureVolume, top: FixtureInode, small = false) {
  const { blockSize } = v;
  const B = BigInt(blockSize);
  const dir = v.directory(top, "dir", 0o750);
  const files = {
    empty: v.file(top, "empty", Buffer.alloc(0)),
    one: v.file(top, "one", Buffer.from("1")),
    direct: v.file(dir, "direct", randomBytes(3 * blockSize + 5)),
    s1: v.file(dir, "s1", randomBytes(114 * blockSize)),
    other: v.file(dir, "other", randomBytes(3 * blockSize + 5)),
  };
  const far: Blocks = new Map();
  for (const k of [1, 2, 3, 4, 5]) far.set(v.geometry.first(k) + 1n, randomBytes(blockSize));
  const size = v.geometry.first(5) * B + 2n * B;
  // ext4 ends a file at 16 TiB: larger blocks stop short of S5.
  const fits = !small && v.geometry.physicalLength(size) < 2n ** 43n;
  const sparse = fits ? v.sparse(dir, "sparse", size, far) : v.sparse(dir, "sparse", 10n * B, new Map());
  const long = v.file(dir, "l".repeat(255), Buffer.from("long"));
  v.link(top, "hard", files.one);
  const link = v.symlink(top, "link", "../elsewhere");
  const longLink = v.symlink(dir, "long link", "t".repeat(3000));
  const fifo = v.special(dir, "fifo", "fifo");
  const device = v.special(dir, "null", "chardev", { major: 1, minor: 300 });
  v.xattr(files.direct, "user.color", Buffer.from("blue"));
  v.xattr(dir, "user.empty", Buffer.alloc(0));
  v.xattr(link, "security.label", randomBytes(40));
  return { v, top, dir, files, sparse, long, link, longLink, fifo, device };
}

export type Everything = ReturnType<typeof everything>;

/** Changes one bit of a file. */
export function flip(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset] = (bytes[offset] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

export function rawXattr(path: string, name: string): Buffer {
  return xattrOf(path, name) ?? Buffer.alloc(0);
}

export interface Tampering {
  what: string;
  does: (e: Everything) => void;
  /** Contents that the volume's own writer has put there meanwhile. */
  rewrites?: string;
  finds: { code: string; place: string; block?: string }[];
}

/** What may be done to `everything` by somebody without the key, and what the reader has to find. */
export const tamperings: Tampering[] = [
  ...[0, 10, 16, 40, 50, 56, 88, 100, 110, 130, 4000].map((at) => ({
    what: `a bit of the header at ${at} flipped`,
    does: ({ files }: Everything) => flip(files.direct.path, at),
    finds: [{ code: "header", place: "/dir/direct" }],
  })),
  {
    what: "a bit of a block flipped",
    does: ({ files }) => flip(files.direct.path, 4096 + 2 * 4096 + 17),
    finds: [{ code: "block", place: "/dir/direct", block: "2" }],
  },
  {
    what: "a bit of the last byte flipped",
    does: ({ files }) => flip(files.direct.path, 4096 + 3 * 4096 + 4),
    finds: [{ code: "block", place: "/dir/direct", block: "3" }],
  },
  {
    what: "a bit of a node flipped",
    does: ({ files }) => flip(files.s1.path, 4096 + 112 * 4096 + 1),
    finds: [{ code: "node", place: "/dir/s1", block: "112" }],
  },
  {
    what: "two blocks of a file swapped",
    does: ({ files }) => {
      const bytes = readFileSync(files.direct.path);
      const [a, b] = [bytes.subarray(4096, 8192), bytes.subarray(8192, 12288)];
      writeFileSync(files.direct.path, Buffer.concat([bytes.subarray(0, 4096), b, a, bytes.subarray(12288)]));
    },
    finds: [
      { code: "block", place: "/dir/direct", block: "0" },
      { code: "block", place: "/dir/direct", block: "1" },
    ],
  },
  {
    what: "a block taken from another file",
    does: ({ files }) => {
      const bytes = readFileSync(files.direct.path);
      readFileSync(files.other.path).copy(bytes, 4096, 4096, 8192);
      writeFileSync(files.direct.path, bytes);
    },
    finds: [{ code: "block", place: "/dir/direct", block: "0" }],
  },
  {
    what: "a block rolled back",
    rewrites: "/dir/other",
    does: ({ v, files }) => {
      const before = readFileSync(files.other.path);
      const content = randomBytes(3 * 4096 + 5);
      const pages = v.seal(files.other.id, BigInt(content.length), v.blocksOf(content), 2n);
      const bytes = Buffer.alloc(before.length);
      for (const page of pages) page.bytes.copy(bytes, Number(page.home));
      before.copy(bytes, 8192, 8192, 12288);
      writeFileSync(files.other.path, bytes);
    },
    finds: [{ code: "block", place: "/dir/other", block: "1" }],
  },
  {
    what: "a block zeroed",
    does: ({ files }) =>
      writeFileSync(files.direct.path, readFileSync(files.direct.path).fill(0, 4096, 8192)),
    finds: [{ code: "block", place: "/dir/direct", block: "0" }],
  },
  {
    what: "a home cut at a block's border",
    does: ({ files }) => truncateSync(files.direct.path, 4096 * 3),
    finds: [
      { code: "length", place: "/dir/direct" },
      { code: "block", place: "/dir/direct", block: "2" },
      { code: "block", place: "/dir/direct", block: "3" },
    ],
  },
  {
    what: "a home cut to nothing",
    does: ({ files }) => truncateSync(files.direct.path, 0),
    finds: [{ code: "length", place: "/dir/direct" }],
  },
  {
    what: "a home extended",
    does: ({ files }) => truncateSync(files.direct.path, 4096 * 9),
    finds: [{ code: "length", place: "/dir/direct" }],
  },
  {
    what: "a home put in another's place, contents alone",
    does: ({ files }) => copyFileSync(files.other.path, files.direct.path),
    finds: [{ code: "header", place: "/dir/direct" }],
  },
  {
    what: "two files' places exchanged",
    does: ({ files }) => {
      renameSync(files.other.path, `${files.other.path}x`);
      renameSync(files.direct.path, files.other.path);
      renameSync(`${files.other.path}x`, files.direct.path);
    },
    finds: [
      { code: "binding", place: "/dir/direct" },
      { code: "binding", place: "/dir/other" },
    ],
  },
  {
    what: "a file moved to another directory",
    does: ({ v, files }) => {
      const stored = files.direct.bindings[0]?.stored ?? "";
      renameSync(files.direct.path, join(v.backing, stored));
    },
    finds: [
      { code: "binding", place: "/<" },
      { code: "name", place: "/<" },
    ],
  },
  {
    what: "an entry renamed to a name sealed for another",
    does: ({ v, dir, files }) => renameSync(files.direct.path, join(dir.path, v.bind(dir, "renamed"))),
    finds: [{ code: "binding", place: "/dir/renamed" }],
  },
  {
    what: "a sidecar removed",
    does: ({ long }) => unlinkSync(`${long.path}.name`),
    finds: [{ code: "sidecar", place: "/dir/<~" }],
  },
  {
    what: "a bit of a sidecar flipped",
    does: ({ long }) => flip(`${long.path}.name`, 3),
    finds: [{ code: "sidecar", place: "/dir/<~" }],
  },
  {
    what: "records of two files exchanged",
    does: ({ files }) => {
      const [a, b] = [rawXattr(files.direct.path, "user.kmsfs"), rawXattr(files.other.path, "user.kmsfs")];
      setXattr(files.direct.path, "user.kmsfs", b);
      setXattr(files.other.path, "user.kmsfs", a);
    },
    finds: [
      { code: "binding", place: "/dir/direct" },
      { code: "header", place: "/dir/direct" },
      { code: "binding", place: "/dir/other" },
      { code: "header", place: "/dir/other" },
      { code: "xattr", place: "/dir/direct" },
    ],
  },
  {
    what: "a bit of a record flipped",
    does: ({ files }) => {
      const record = rawXattr(files.direct.path, "user.kmsfs");
      record[20] = (record[20] ?? 0) ^ 4;
      setXattr(files.direct.path, "user.kmsfs", record);
    },
    finds: [{ code: "record", place: "/dir/direct" }],
  },
  {
    what: "a record removed",
    does: ({ dir }) => run("setfattr", ["-x", "user.kmsfs", dir.path]),
    finds: [
      { code: "record", place: "/dir" },
      { code: "record", place: "/dir" },
    ],
  },
  {
    what: "the mode changed",
    does: ({ files }) => run("chmod", ["666", files.direct.path]),
    finds: [{ code: "attributes", place: "/dir/direct" }],
  },
  {
    what: "the set-id bits added",
    does: ({ files }) => run("chmod", ["u+s", files.direct.path]),
    finds: [{ code: "attributes", place: "/dir/direct" }],
  },
  {
    what: "the owner of the root changed",
    does: ({ v }) => run("chown", ["1234", v.backing]),
    finds: [{ code: "attributes", place: "/" }],
  },
  {
    what: "an ACL added",
    does: ({ files }) => run("setfacl", ["-m", "u:1000:r", files.direct.path]),
    finds: [{ code: "attributes", place: "/dir/direct" }],
  },
  {
    what: "a file exchanged for a fifo with its record",
    does: ({ fifo }) => {
      const record = rawXattr(fifo.path, "trusted.kmsfs");
      unlinkSync(fifo.path);
      writeFileSync(fifo.path, "");
      setXattr(fifo.path, "user.kmsfs", record);
    },
    finds: [{ code: "type", place: "/dir/fifo" }],
  },
  {
    what: "a device of another number in the place of one",
    does: ({ device }) => {
      const record = rawXattr(device.path, "trusted.kmsfs");
      unlinkSync(device.path);
      run("mknod", ["-m", "644", device.path, "c", "1", "301"]);
      setXattr(device.path, "trusted.kmsfs", record);
    },
    finds: [{ code: "type", place: "/dir/null" }],
  },
  {
    what: "a copy of a file with its record beside it",
    does: ({ v, dir, files }) => {
      const stored = v.bind(dir, "copy");
      files.direct.bindings.push({ parentId: dir.id, stored });
      v.writeRecord(files.direct);
      run("cp", ["-a", files.direct.path, join(dir.path, stored)]);
    },
    finds: [{ code: "duplicate-id", place: "/dir/" }],
  },
  {
    what: "a symlink's target changed",
    does: ({ link, longLink }) => {
      const record = rawXattr(link.path, "trusted.kmsfs");
      const target = run("readlink", [longLink.path]).trim();
      unlinkSync(link.path);
      run("ln", ["-s", target, link.path]);
      setXattr(link.path, "trusted.kmsfs", record);
    },
    finds: [{ code: "symlink", place: "/link" }],
  },
  {
    what: "a bit of a long target flipped",
    does: ({ v, longLink }) => flip(join(v.backing, ".kmsfs/links", longLink.id.toString("hex")), 30),
    finds: [{ code: "symlink", place: "/dir/long link" }],
  },
  {
    what: "an xattr's value exchanged for another's",
    does: ({ v, files }) => {
      v.xattr(files.direct, "user.second", Buffer.from("2"));
      const lines = run("getfattr", [
        "-d",
        "-e",
        "hex",
        "-m",
        "user.kmsfs\\.",
        "--absolute-names",
        files.direct.path,
      ]);
      const [first, second] = lines.split("\n").filter((line) => line.startsWith("user.kmsfs."));
      const value = second?.split("=")[1] ?? "";
      run("setfattr", ["-n", first?.split("=")[0] ?? "", "-v", value, files.direct.path]);
    },
    finds: [{ code: "xattr", place: "/dir/direct" }],
  },
  {
    what: "a file that no one sealed",
    does: ({ dir }) => writeFileSync(join(dir.path, "plain.txt"), "hello"),
    finds: [{ code: "foreign", place: "/dir/<plain.txt>" }],
  },
  {
    what: "a control directory below the root",
    does: ({ dir }) => run("mkdir", [join(dir.path, ".kmsfs")]),
    finds: [{ code: "foreign", place: "/dir/<.kmsfs>" }],
  },
];
