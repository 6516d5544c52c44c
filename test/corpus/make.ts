/** Makes a corpus: scripts/make-corpus.sh NAME. What is there already is never written again. */

import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import t, { type Test } from "tap";
import { packageVersion } from "../../src/version.js";
import { BLOCK_SIZES } from "../../src/volume/header.js";
import { run } from "../support/programs.js";
import { TestVolume } from "../support/test-volume.js";
import { BLOCK, bytesAt, homeOf, NODE, sealedXattrs, xattr } from "../tamper/backing.js";
import { crash, homesOf, records, SMALL_LOG, segmentInUse, segments } from "../tamper/crash.js";
import type { Seen } from "../tamper/observe.js";
import type { Change } from "./change.js";
import {
  CORPORA,
  type Damaged,
  damage,
  type Kept,
  listed,
  mount,
  pack,
  recovered,
  unpacked,
} from "./corpus.js";
import { findings, observed } from "./findings.js";

const corpus = process.argv[2] ?? "";
const place = join(CORPORA, corpus);
if (!/^[a-z0-9-]+$/.test(corpus)) throw new Error("name the corpus: small letters, digits, -");
if (existsSync(place)) throw new Error(`${place} is there already: a corpus is never written again`);
mkdirSync(place);
writeFileSync(join(place, "key"), randomBytes(32), { mode: 0o600 });

type Planned = Omit<Damaged, "findings">;

function write(name: string, what: Kept | readonly Damaged[]): void {
  writeFileSync(join(place, `${name}.json`), `${JSON.stringify(what, null, 1)}\n`);
}

async function fresh(t: Test, blockSize: number): Promise<TestVolume> {
  const volume = TestVolume.bare(t);
  const key = ["--keyfile", join(place, "key"), "--block-size", `${blockSize}`];
  const made = await volume.run("init", volume.backing, ...key, ...SMALL_LOG);
  t.equal(made.code, "Ok", made.stderr);
  return volume;
}

function fill(volume: TestVolume, stage: string, blockSize: number): Promise<string> {
  return run(["bash", join(CORPORA, "tree.sh"), stage, `${blockSize}`], { cwd: volume.dir });
}

/** Packs a volume; what its first mount recovers is seen with a copy. */
async function keep(t: Test, volume: TestVolume, name: string, tree: readonly string[]): Promise<Seen> {
  pack(volume.backing, join(place, `${name}.tar.gz`));
  const copy = unpacked(t, corpus, name);
  const { code, stderr } = await mount(copy);
  t.equal(code, "Ok", stderr);
  t.same(await listed(copy.dir), tree, "a copy has the same");
  const seen = observed(copy);
  await copy.down(t);
  write(name, { madeBy: packageVersion(), recovered: recovered(copy), tree });
  return seen;
}

const planned: Planned[] = [];
const undamaged = new Map<string, Seen>();

for (const blockSize of BLOCK_SIZES) {
  t.test(`clean, block size ${blockSize}`, async (t) => {
    const volume = await fresh(t, blockSize);
    await volume.up(t);
    await fill(volume, "clean", blockSize);
    const tree = await listed(volume.dir);
    const homes = homesOf(volume);
    await volume.down(t);
    const name = `clean-${blockSize}`;
    if (blockSize === BLOCK)
      planned.push(...damagedFiles(volume.backing, homes, name), damagedHeader(volume.backing, name));
    undamaged.set(name, await keep(t, volume, name, tree));
  });

  t.test(`killed, block size ${blockSize}`, async (t) => {
    const volume = await fresh(t, blockSize);
    await volume.up(t);
    await fill(volume, "before", blockSize);
    await volume.down(t);
    await volume.up(t);
    await fill(volume, "after", blockSize);
    const tree = await listed(volume.dir);
    await crash(volume);
    const name = `killed-${blockSize}`;
    if (blockSize === BLOCK) planned.push(...damagedLogs(volume.backing, name));
    undamaged.set(name, await keep(t, volume, name, tree));
  });
}

t.test("damaged", async (t) => {
  const found: Damaged[] = [];
  for (const one of planned) {
    const volume = unpacked(t, corpus, one.of);
    damage(volume, one.changes);
    found.push({ ...one, findings: await findings(t, volume, undamaged.get(one.of) ?? new Map()) });
  }
  write("damaged", found);
  t.comment(readdirSync(place).join(" "));
});

/** The lowest bit of a byte changed. */
function bit(backing: string, path: string, at: number): Change {
  return {
    path,
    at,
    bytes: Buffer.from([(bytesAt(join(backing, path), at, 1)[0] ?? 0) ^ 1]).toString("hex"),
  };
}

/** A damage to each of many files, all in one volume. */
function damagedFiles(backing: string, homes: Map<string, string>, of: string): Planned[] {
  const home = (name: string): string => {
    const stored = homes.get(name);
    if (stored === undefined) throw new Error(`there is no ${name}`);
    return stored;
  };
  const [attribute = ""] = sealedXattrs(join(backing, home("a")));
  const value = xattr(join(backing, home("a")), attribute);
  const sidecars = readdirSync(join(backing, ".kmsfs/links"));
  const [inside, inherits] = [home("dir/inside"), home("dir/inherits")];
  const files: Change[] = [
    { path: home("a"), xattr: attribute, value: value.replace(/.$/, (digit) => (digit === "0" ? "1" : "0")) },
    bit(backing, home("dir/linked"), 200),
    bit(backing, home("hole, then a byte"), homeOf(1)),
    bit(backing, home("under a node"), NODE + 40),
    { path: home("under two nodes"), length: homeOf(50) },
    { path: home("a block and a byte"), at: homeOf(0), bytes: "00".repeat(BLOCK) },
    { path: home("empty"), mode: 0o777 },
    { path: inside, to: `${inside}.aside` },
    { path: inherits, to: inside },
    { path: `${inside}.aside`, to: inherits },
    { path: home("Größe"), length: homeOf(2) },
    bit(backing, `${home("n".repeat(200))}.name`, 30),
    { path: home("link"), xattr: "trusted.kmsfs" },
    bit(backing, `.kmsfs/links/${sidecars[0]}`, 100),
    { path: home("dangling"), removed: true },
    { path: "foreign", content: "foreign" },
  ];
  const rootRecord: Change[] = [{ path: ".", mode: 0o777 }];
  return [
    { what: "many files, each otherwise", of, changes: files },
    { what: "its root opened to all", of, changes: rootRecord },
  ];
}

function damagedHeader(backing: string, of: string): Planned {
  return { what: "a bit of volume.json", of, changes: [bit(backing, ".kmsfs/volume.json", 60)] };
}

function damagedLogs(backing: string, of: string): Planned[] {
  const path = segmentInUse(backing);
  const segment = relative(backing, path);
  const at = records(path);
  const last = at.at(-1) ?? 0;
  return [
    { what: "a bit of a record in the middle", of, changes: [bit(backing, segment, (at[2] ?? 0) + 700)] },
    { what: "the last record zeroed", of, changes: [{ path: segment, at: last, bytes: "00".repeat(512) }] },
    { what: "the header of the segment in use", of, changes: [bit(backing, segment, 40)] },
    {
      what: "all segments deleted",
      of,
      changes: segments(backing).map((one) => ({ path: relative(backing, one), removed: true })),
    },
  ];
}
