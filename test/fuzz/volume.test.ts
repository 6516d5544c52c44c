// A whole volume, damaged on the disk at random and by a forger who has the keys, read by the reference reader: verify
// reports and ends, throws nothing but its own errors, and never asks for more memory than a block or a segment takes.

import crypto, { createCipheriv, createHash } from "node:crypto";
import {
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { UserError } from "../../src/errors.js";
import { DamageError } from "../../src/reader/errors.js";
import { mac } from "../../src/reader/keys.js";
import { claimedLength, FIRST_RECORD } from "../../src/reader/log-record.js";
import { verify } from "../../src/reader/verify.js";
import { Volume } from "../../src/reader/volume.js";
import { everything } from "../reader/damage.js";
import * as encode from "../reader/encode.js";
import { run } from "../reader/fixture.js";
import { SEGMENT_SIZE } from "../reader/fixture-log.js";
import { type Damage, damaged, damages, fuzz, sized, withSmallBuffers } from "./damage.js";

/** A segment is the largest thing that is ever read at once. */
const MOST = SEGMENT_SIZE + 65_536;
/** What is in a home or a segment is damaged within so many bytes. */
const WINDOW = 4096;

type Step =
  | { does: "bytes"; of: number; page: number; damage: Damage[] }
  | { does: "length"; of: number; length: number }
  | { does: "instead"; of: number; with: "fifo" | "directory" | "symlink" | "nothing" }
  | { does: "rename"; of: number; damage: Damage[] }
  | { does: "xattr"; of: number; damage: Damage[]; sign: boolean }
  | { does: "segment"; damage: Damage[] }
  | { does: "record"; nth: number; damage: Damage[] }
  | { does: "claims" };

const of = fc.nat(1000);
const SEGMENT = [
  [8, 8],
  [24, 8],
  [32, 8],
  [40, 8],
  [104, 2],
] as const;
const RECORD = [
  [20, 4],
  [24, 8],
  [80, 8],
  [100, 4],
  [104, 4],
  [108, 4],
  [128, 8],
  [136, 8],
  [144, 8],
  [152, 4],
] as const;
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    does: fc.constant("bytes" as const),
    of,
    page: fc.nat(120),
    damage: damages([
      [8, 2],
      [48, 8],
      [88, 4],
    ]),
  }),
  fc.record({ does: fc.constant("length" as const), of, length: fc.oneof(fc.nat(2 ** 20), fc.nat(2 ** 40)) }),
  fc.record({
    does: fc.constant("instead" as const),
    of,
    with: fc.constantFrom("fifo" as const, "directory" as const, "symlink" as const, "nothing" as const),
  }),
  fc.record({ does: fc.constant("rename" as const), of, damage: damages() }),
  fc.record({
    does: fc.constant("xattr" as const),
    of,
    damage: damages([
      [0, 1],
      [1, 1],
      [18, 2],
    ]),
    sign: fc.boolean(),
  }),
  fc.record({ does: fc.constant("segment" as const), damage: damages(SEGMENT) }),
  fc.record({ does: fc.constant("record" as const), nth: fc.nat(1), damage: damages(RECORD) }),
  fc.constant({ does: "claims" as const }),
);

// Ids, names and nonces from the seed too: a failure is the same again.
const drawn = createHash("sha256")
  .update(`${fuzz(0).seed}`)
  .digest();
let draws = 0;
crypto.randomBytes = ((length: number) => {
  draws += 1;
  const nonce = Buffer.alloc(16);
  nonce.writeUInt32LE(draws);
  return createCipheriv("aes-256-ctr", drawn, nonce).update(Buffer.alloc(length));
}) as typeof crypto.randomBytes;
syncBuiltinESMExports();

const pristine = everything();
const { v, files } = pristine;
v.log.begin({ firstCommit: 1n, checkpointed: 0n });
for (const [n, number] of [1n, 2n].entries()) {
  const content = Buffer.alloc(3 * 4096 + 5, n);
  const pages = v.seal(files.other.id, BigInt(content.length), v.blocksOf(content), number);
  const physicalLength = v.geometry.physicalLength(BigInt(content.length));
  v.log.append({
    fileId: files.other.id,
    images: pages.slice(1),
    straight: pages.slice(0, 1),
    physicalLength,
  });
}
const segment = v.log.path.slice(v.backing.length + 1);
// Sparse to S5, it takes the disk long to copy.
rmSync(pristine.sparse.path);

/** Paths below `directory`, the control directory's included, in one order every time. */
function paths(directory: string): string[] {
  const names = readdirSync(directory, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  return names.flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? [path, ...paths(path)] : [path];
  });
}

const targets = paths(v.backing).map((path) => path.slice(v.backing.length + 1));

function changeWindow(path: string, offset: number, change: (bytes: Buffer) => Buffer): void {
  const fd = openSync(path, "r+");
  const bytes = Buffer.alloc(WINDOW);
  const count = readSync(fd, bytes, 0, WINDOW, offset);
  const changed = change(bytes.subarray(0, count));
  writeSync(fd, changed, 0, changed.length, offset);
  closeSync(fd);
}

function forgeRecord(path: string, nth: number, damage: readonly Damage[]): void {
  const bytes = readFileSync(path);
  const key = v.keys.segmentKey(bytes.subarray(56, 88));
  let [at, previous] = [FIRST_RECORD, undefined as Buffer | undefined];
  for (let n = 0; claimedLength(bytes, at) > 0; n++) {
    let length = claimedLength(bytes, at);
    if (n === nth) {
      sized(damaged(bytes.subarray(at, at + length), damage, Buffer.alloc(4096, 255)), length).copy(
        bytes,
        at,
      );
      length = claimedLength(bytes, at) || length;
    }
    if (n >= nth) {
      previous?.copy(bytes, at + 40);
      const nonce = Buffer.concat([bytes.subarray(at + 24, at + 32), Buffer.alloc(4)]);
      previous = encode.sealGcm(key, nonce, bytes.subarray(at + 16, at + length), Buffer.alloc(0)).tag;
      previous.copy(bytes, at);
    }
    at += length;
  }
  writeFileSync(path, bytes);
}

function claims(path: string): void {
  const bytes = readFileSync(path);
  for (let at = FIRST_RECORD + 65_536; at < bytes.length; at += 512) {
    bytes.write("kCR1", at + 16, "latin1");
    bytes.writeUInt32LE(bytes.length - at, at + 20);
  }
  writeFileSync(path, bytes);
}

function xattrOfRecord(path: string): string {
  const stats = lstatSync(path);
  return stats.isFile() || stats.isDirectory() ? "user.kmsfs" : "trusted.kmsfs";
}

/** What the system refuses (a name too long, an attribute too large), nobody can put there. */
function apply(backing: string, step: Step): void {
  const path = "of" in step ? join(backing, targets[step.of % targets.length] ?? "") : join(backing, segment);
  switch (step.does) {
    case "bytes": {
      const page = Math.min(step.page, Math.floor(lstatSync(path).size / WINDOW));
      changeWindow(path, page * WINDOW, (bytes) => damaged(bytes, step.damage, Buffer.alloc(WINDOW, 255)));
      return;
    }
    case "length":
      if (lstatSync(path).isFile()) truncateSync(path, step.length);
      return;
    case "instead": {
      rmSync(path, { recursive: true });
      if (step.with === "fifo") run("mkfifo", [path]);
      if (step.with === "directory") mkdirSync(path);
      if (step.with === "symlink") symlinkSync("/dev/zero", path);
      return;
    }
    case "rename": {
      const name = damaged(
        Buffer.from(path.slice(path.lastIndexOf("/") + 1)),
        step.damage,
        Buffer.from(".t-~.name"),
      );
      const clean = name.toString("latin1").replace(/[/\0]/g, "").slice(0, 200);
      run("mv", ["-T", "--", path, join(path, "..", clean === "" ? "~" : clean)]);
      return;
    }
    case "xattr": {
      const name = xattrOfRecord(path);
      const dump = run("getfattr", ["-h", "-e", "hex", "-n", name, "--absolute-names", "--", path]);
      const hex = /=0x([0-9a-f]*)/.exec(dump)?.[1] ?? "";
      let value = damaged(Buffer.from(hex, "hex"), step.damage, Buffer.alloc(200, 1));
      const body = value.subarray(0, Math.max(0, value.length - 16));
      if (step.sign) value = Buffer.concat([body, mac(v.keys.records, 16, "record", body)]);
      run("setfattr", ["-h", "-n", name, "-v", `0x${value.toString("hex")}`, "--", path]);
      return;
    }
    case "segment":
      changeWindow(path, 0, (bytes) => {
        const forged = sized(damaged(bytes.subarray(0, 496), step.damage, Buffer.alloc(496, 255)), 496);
        return Buffer.concat([forged, mac(v.keys.logMacKey(), 16, forged)]);
      });
      return;
    case "record":
      forgeRecord(path, step.nth, step.damage);
      return;
    case "claims":
      claims(path);
      return;
  }
}

async function read(backing: string): Promise<void> {
  let volume: Volume | undefined;
  try {
    volume = new Volume(backing, v.parameters, v.domainKey);
    await verify(volume, { onProblem: () => undefined });
  } catch (error) {
    if (!(error instanceof DamageError || error instanceof UserError)) throw error;
  } finally {
    volume?.close();
  }
}

t.teardown(() => v.remove());

t.test("a damaged volume is verified to its end", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 4 }), async (steps) => {
      const scratch = mkdtempSync("/var/tmp/kmsfs-fuzz-");
      const backing = join(scratch, "backing");
      try {
        run("cp", ["-a", "--sparse=always", v.backing, backing]);
        for (const step of steps) {
          try {
            apply(backing, step);
          } catch {}
        }
        await withSmallBuffers(MOST, () => read(backing));
      } finally {
        rmSync(scratch, { recursive: true, force: true });
      }
    }),
    fuzz(12),
  );
});

t.test("a segment full of claims of records is damage, and not read for hours", async (t) => {
  const scratch = mkdtempSync("/var/tmp/kmsfs-fuzz-");
  t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
  run("cp", ["-a", v.backing, join(scratch, "backing")]);
  claims(join(scratch, "backing", segment));
  const volume = new Volume(join(scratch, "backing"), v.parameters, v.domainKey);
  t.match(volume.logDamage?.message, /more claims of records/);
  volume.close();
});
