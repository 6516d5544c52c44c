/** What is done to the files, names and attributes of a volume, by the rows of the threat table. */

import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import {
  BLOCK,
  bytesAt,
  copy,
  flip,
  homeOf,
  NODE,
  program,
  put,
  removeXattr,
  sealedXattrs,
  setXattr,
  swapBytes,
  swapNames,
  xattr,
} from "./backing.js";
import { LONG_NAME, REWRITTEN } from "./scene.js";

/** What an attack has to work with; plaintext names, as an insider could match them by inode number. */
export interface Scene {
  /** The scene's directory in the backing directory */
  readonly dir: string;
  /** Where a name's inode is now */
  at(name: string): string;
  /** Where a copy of its older state is */
  was(name: string): string;
  /** Where that of a clone is that went another way; for attacks that ask for it */
  cloned(name: string): string;
  /** Where its older state stood in the backing directory */
  stood(name: string): string;
  /** The sidecar of a long symlink */
  sidecar(name: string): string;
}

export interface Attack {
  readonly row: string;
  readonly does: string;
  act(scene: Scene): void;
  /** Why it goes unnoticed; absent when it has to be noticed. */
  readonly unnoticed?: string;
  /** It has no effect: nothing is seen, nothing told. */
  readonly harmless?: true;
  /** It needs a clone. */
  readonly withClone?: true;
}

const RECORD = "user.kmsfs";
const NODE_RECORD = "trusted.kmsfs";
const OLD_WITH_RECORD =
  "the older state verifies with its record, which was true once: only something outside of the volume could tell";

function row(row: string, ...attacks: Omit<Attack, "row">[]): Attack[] {
  return attacks.map((attack) => ({ row, ...attack }));
}

const [REWRITTEN_BLOCK = 0] = REWRITTEN;

/** An inode is removed, and an older one put under a name, as a restored backup would. */
function putBack(s: Scene, former: string, over?: string): void {
  if (over !== undefined) rmSync(s.at(over), { recursive: true });
  copy(s.was(former), s.stood(former));
}

export const ATTACKS: readonly Attack[] = [
  ...row(
    "a bit changed",
    { does: "in a data block", act: (s) => flip(s.at("a"), homeOf(40) + 5) },
    { does: "in the first byte of a file's sealed header", act: (s) => flip(s.at("a"), 120) },
    { does: "in the tag of the header", act: (s) => flip(s.at("a"), 104) },
    { does: "in the file id in the header", act: (s) => flip(s.at("a"), 16) },
    { does: "in the domain id in the header", act: (s) => flip(s.at("a"), 32) },
    { does: "in the commit number in the header", act: (s) => flip(s.at("a"), 48) },
    { does: "in the commitment in the header", act: (s) => flip(s.at("a"), 56) },
    { does: "in the epoch in the header", act: (s) => flip(s.at("a"), 88) },
    { does: "in a node", act: (s) => flip(s.at("a"), NODE + 40) },
    {
      does: "in an inode's record",
      act: (s) =>
        setXattr(
          s.at("a"),
          RECORD,
          xattr(s.at("a"), RECORD).replace(/.$/, (d) => (d === "0" ? "1" : "0")),
        ),
    },
  ),
  ...row(
    "block swapped in a file, or between files",
    {
      does: "two blocks of a file",
      act: (s) => swapBytes(s.at("a"), homeOf(20), s.at("a"), homeOf(40), BLOCK),
    },
    {
      does: "the same block of two files",
      act: (s) => swapBytes(s.at("a"), homeOf(40), s.at("b"), homeOf(40), BLOCK),
    },
    { does: "the nodes of two files", act: (s) => swapBytes(s.at("a"), NODE, s.at("b"), NODE, BLOCK) },
    { does: "the headers of two files", act: (s) => swapBytes(s.at("a"), 0, s.at("b"), 0, BLOCK) },
  ),
  ...row(
    "one block rolled back",
    {
      does: "a data block",
      act: (s) =>
        put(s.at("a"), homeOf(REWRITTEN_BLOCK), bytesAt(s.was("a"), homeOf(REWRITTEN_BLOCK), BLOCK)),
    },
    {
      does: "a data block of a clone",
      withClone: true,
      act: (s) =>
        put(s.at("a"), homeOf(REWRITTEN_BLOCK), bytesAt(s.cloned("a"), homeOf(REWRITTEN_BLOCK), BLOCK)),
    },
    { does: "a node", act: (s) => put(s.at("a"), NODE, bytesAt(s.was("a"), NODE, BLOCK)) },
    { does: "the header alone", act: (s) => put(s.at("a"), 0, bytesAt(s.was("a"), 0, BLOCK)) },
  ),
  ...row(
    "block zeroed, hole punched",
    { does: "a data block zeroed", act: (s) => put(s.at("a"), homeOf(40), Buffer.alloc(BLOCK)) },
    {
      does: "a hole punched over two blocks",
      act: (s) => program("fallocate", "-p", "-o", `${homeOf(40)}`, "-l", `${2 * BLOCK}`, s.at("a")),
    },
    { does: "a node zeroed", act: (s) => put(s.at("a"), NODE, Buffer.alloc(BLOCK)) },
    { does: "the header zeroed", act: (s) => put(s.at("a"), 0, Buffer.alloc(BLOCK)) },
  ),
  ...row(
    "truncated at a block border, or extended",
    { does: "cut at a block's border", act: (s) => truncateSync(s.at("a"), homeOf(50)) },
    { does: "cut within a block", act: (s) => truncateSync(s.at("a"), homeOf(50) + 7) },
    { does: "extended by a block", act: (s) => truncateSync(s.at("a"), homeOf(116)) },
  ),
  ...row(
    "truncated to nothing",
    { does: "to no byte", act: (s) => truncateSync(s.at("a"), 0) },
    { does: "to its header", act: (s) => truncateSync(s.at("a"), BLOCK) },
  ),
  ...row(
    "file or directory put in another's place",
    { does: "two files", act: (s) => swapNames(s.at("a"), s.at("b")) },
    { does: "two directories", act: (s) => swapNames(s.at("d"), s.at("e")) },
    {
      does: "a copy with its record over another file",
      act: (s) => {
        unlinkSync(s.at("b"));
        copy(s.at("a"), s.at("b"));
      },
    },
    {
      does: "two files exchange their records",
      act: (s) => {
        const [a, b] = [xattr(s.at("a"), RECORD), xattr(s.at("b"), RECORD)];
        setXattr(s.at("a"), RECORD, b);
        setXattr(s.at("b"), RECORD, a);
      },
    },
  ),
  ...row(
    "entry or directory moved",
    { does: "a file into a directory", act: (s) => renameSync(s.at("b"), join(s.at("d"), "x".repeat(43))) },
    {
      does: "a file to the name that it has, in another directory",
      act: (s) => renameSync(s.at("d/inner"), join(s.at("e"), s.at("d/inner").replace(/.*\//, ""))),
    },
    {
      does: "a file over one of the same name in another directory",
      act: (s) => renameSync(s.at("d/inner"), s.at("e/inner")),
    },
    { does: "a directory into another", act: (s) => renameSync(s.at("e"), join(s.at("d"), "y".repeat(43))) },
    {
      does: "a file to its former name, with its record of then",
      act: (s) => putBack(s, "former name", "new name"),
      unnoticed: OLD_WITH_RECORD,
    },
    {
      does: "a file to its former name, with its record of now",
      act: (s) => renameSync(s.at("new name"), s.stood("former name")),
    },
  ),
  ...row(
    "name changed",
    {
      does: "one letter of the stored name",
      act: (s) =>
        renameSync(
          s.at("b"),
          s.at("b").replace(/.$/, (c) => (c === "A" ? "Q" : "A")),
        ),
    },
    { does: "the sidecar of a long name removed", act: (s) => unlinkSync(`${s.at(LONG_NAME)}.name`) },
    { does: "a bit of that sidecar changed", act: (s) => flip(`${s.at(LONG_NAME)}.name`, 30) },
    {
      does: "another name linked to a file",
      act: (s) => linkSync(s.at("b"), join(s.at("d"), "z".repeat(43))),
    },
  ),
  ...row(
    "type changed (file to fifo, device, symlink)",
    {
      does: "a file to a fifo with the file's record",
      act: (s) => {
        const record = xattr(s.at("b"), RECORD);
        unlinkSync(s.at("b"));
        program("mkfifo", s.at("b"));
        setXattr(s.at("b"), NODE_RECORD, record);
      },
    },
    {
      does: "a fifo to a device with the fifo's record",
      act: (s) => {
        const record = xattr(s.at("fifo"), NODE_RECORD);
        unlinkSync(s.at("fifo"));
        program("mknod", "-m", "600", s.at("fifo"), "c", "1", "3");
        setXattr(s.at("fifo"), NODE_RECORD, record);
      },
    },
    {
      does: "a directory to a symlink to it",
      act: (s) => {
        const aside = join(s.dir, "w".repeat(43));
        renameSync(s.at("d"), aside);
        symlinkSync("w".repeat(43), s.at("d"));
      },
    },
    {
      does: "a file to a symlink to /etc/passwd",
      act: (s) => {
        unlinkSync(s.at("b"));
        symlinkSync("/etc/passwd", s.at("b"));
      },
    },
  ),
  ...row(
    "xattr value swapped",
    {
      does: "the values of two attributes of a file",
      act: (s) => {
        const [x = "", y = ""] = sealedXattrs(s.at("a"));
        const [ofX, ofY] = [xattr(s.at("a"), x), xattr(s.at("a"), y)];
        setXattr(s.at("a"), x, ofY);
        setXattr(s.at("a"), y, ofX);
      },
    },
    {
      does: "a bit of a value changed",
      act: (s) => {
        // Sealed names tell nothing and their order changes: user.x has the longest value.
        const [x = ""] = sealedXattrs(s.at("a")).sort(
          (a, b) => xattr(s.at("a"), b).length - xattr(s.at("a"), a).length,
        );
        setXattr(
          s.at("a"),
          x,
          xattr(s.at("a"), x).replace(/.$/, (d) => (d === "0" ? "1" : "0")),
        );
      },
    },
    {
      does: "attributes added in clear, a capability among them",
      act: (s) => {
        setXattr(s.at("a"), "user.x", "0x00");
        setXattr(s.at("a"), "security.capability", `0x010000020020${"00".repeat(14)}`);
      },
      harmless: true,
    },
    {
      does: "an attribute added that nobody sealed",
      act: (s) => setXattr(s.at("a"), `${RECORD}.AAAA`, "0x00"),
    },
  ),
  ...row(
    "xattr removed, or an old one of the same name put back",
    {
      does: "all attributes of a file removed",
      act: (s) => {
        for (const name of sealedXattrs(s.at("a"))) removeXattr(s.at("a"), name);
      },
      unnoticed:
        "an inode's record does not count its attributes: 64 bytes of an ext4 inode are all there is",
    },
    {
      does: "all of a former state put back, a deleted one too",
      act: (s) => {
        for (const name of sealedXattrs(s.was("a"))) setXattr(s.at("a"), name, xattr(s.was("a"), name));
      },
      unnoticed: "as above: each value is bound to its inode and its name, not to a time",
    },
  ),
  ...row(
    "symlink or node exchanged for another",
    { does: "two symlinks", act: (s) => swapNames(s.at("s"), s.at("s2")) },
    {
      does: "a target put under another symlink's record",
      act: (s) => {
        const [target, record] = [readlinkSync(s.at("s2")), xattr(s.at("s"), NODE_RECORD)];
        unlinkSync(s.at("s"));
        symlinkSync(target, s.at("s"));
        setXattr(s.at("s"), NODE_RECORD, record);
      },
    },
    { does: "a bit of a long target changed", act: (s) => flip(s.sidecar("far"), 100) },
    { does: "the sidecar of a long target removed", act: (s) => unlinkSync(s.sidecar("far")) },
    {
      does: "a symlink in place of that sidecar",
      act: (s) => {
        unlinkSync(s.sidecar("far"));
        symlinkSync("/etc/passwd", s.sidecar("far"));
      },
    },
    {
      does: "a former symlink of the same name put back",
      act: (s) => putBack(s, "s", "s"),
      unnoticed: "it is a deleted inode put back (below)",
    },
  ),
  ...row(
    "file deleted, or a deleted one put back",
    {
      does: "a file deleted",
      act: (s) => unlinkSync(s.at("b")),
      unnoticed: "a directory does not list its entries: each would cost a commit of the directory",
    },
    {
      does: "a directory deleted",
      act: (s) => rmSync(s.at("d"), { recursive: true }),
      unnoticed: "as above",
    },
    { does: "a deleted file put back", act: (s) => putBack(s, "gone"), unnoticed: OLD_WITH_RECORD },
  ),
  ...row(
    "mode, owner, ACL changed",
    { does: "a file opened to all", act: (s) => chmodSync(s.at("private"), 0o666) },
    { does: "a directory opened to all", act: (s) => chmodSync(s.at("d"), 0o777) },
    { does: "a file made setuid", act: (s) => chmodSync(s.at("b"), 0o4644) },
    { does: "a file given to another", act: (s) => chownSync(s.at("private"), 1000, 1000) },
    {
      does: "an ACL that keeps the mode",
      act: (s) => program("setfacl", "-n", "-m", "u:1000:rwx,m::r", s.at("b")),
    },
    {
      does: "an ACL that changes the mode",
      act: (s) => program("setfacl", "-m", "u:1000:rw", s.at("private")),
    },
    {
      does: "a default ACL on a directory",
      act: (s) => program("setfacl", "-d", "-m", "u:1000:rwx", s.at("d")),
    },
    {
      does: "a former mode with its record",
      act: (s) => {
        chmodSync(s.at("private"), 0o644);
        setXattr(s.at("private"), RECORD, xattr(s.was("private"), RECORD));
      },
      unnoticed: OLD_WITH_RECORD,
    },
  ),
  ...row("times changed", {
    does: "mtime of a file",
    act: (s) => utimesSync(s.at("b"), 1, 1),
    unnoticed:
      "times are the backing inode's own: backup and tools need them there, and each write changes them",
  }),
  ...row(
    "whole file rolled back, or taken from a clone",
    {
      does: "content alone, header and all",
      act: (s) => put(s.at("a"), 0, bytesAt(s.was("a"), 0, 1 << 20)),
      unnoticed:
        "the header and every block below it were one state once; nothing above a file tells which is newest",
    },
    { does: "the inode with its record", act: (s) => putBack(s, "a", "a"), unnoticed: "as above" },
    {
      does: "content of a clone, header and all",
      withClone: true,
      act: (s) => put(s.at("a"), 0, bytesAt(s.cloned("a"), 0, 1 << 20)),
      unnoticed: "a clone has the same keys, and its file the same id",
    },
    {
      does: "the inode of a clone with its record",
      withClone: true,
      act: (s) => {
        rmSync(s.at("a"));
        copy(s.cloned("a"), s.at("a"));
      },
      unnoticed: "as above",
    },
  ),
  ...row(
    "foreign entries added",
    { does: "a file with a name of its own", act: (s) => writeFileSync(join(s.dir, "foreign"), "foreign") },
    { does: "a directory with a name of its own", act: (s) => mkdirSync(join(s.dir, "foreign")) },
    {
      does: "a second copy of a file",
      act: (s) => copy(s.at("b"), join(s.dir, "v".repeat(43))),
    },
    {
      does: "a file under a temporary name",
      act: (s) => writeFileSync(join(s.dir, ".t-foreign"), "foreign"),
      unnoticed: "temporary names are no entries: nobody sees them, and the next mount removes them",
    },
    {
      does: "files like .kmsfs below the root",
      act: (s) => mkdirSync(join(dirname(s.at("d/inner")), ".kmsfs")),
    },
  ),
];

/** For `Scene.sidecar`: the id in a record, as its sidecar is named. */
export function idIn(path: string): string {
  return xattr(path, NODE_RECORD).slice(6, 38);
}

export const linksDir = (backing: string): string => join(backing, ".kmsfs/links");
