import { randomBytes } from "node:crypto";
import { readFileSync, unlinkSync, writeFileSync } from "node:fs";
import t from "tap";
import { DamageError } from "../../src/reader/errors.js";
import { logIsBegun, readLog } from "../../src/reader/log.js";
import { type Problem, verify } from "../../src/reader/verify.js";
import { type FixtureInode, FixtureVolume, type Page, writePages } from "./fixture.js";
import { SEGMENT_SIZE, writeInto } from "./fixture-log.js";

interface Versions {
  v: FixtureVolume;
  file: FixtureInode;
  /** Contents after commit 99 (at home), 100, 101, ... */
  contents: Buffer[];
  /** Pages of each version; of the later ones those that changed. */
  pages: Page[][];
}

const header = (pages: readonly Page[]) => pages.filter((page) => page.home === 0n);
const data = (pages: readonly Page[]) => pages.filter((page) => page.index !== undefined);

/** A file of three blocks at home whose block 0 is written anew in each further version. */
function versions(count: number): Versions {
  const v = new FixtureVolume();
  const first = randomBytes(3 * 4096);
  const file = v.file(v.root, "file", first, { commit: 99n });
  // Sealed again, since the fixture does not give out what it sealed.
  const base = v.seal(file.id, 12288n, v.blocksOf(first), 99n);
  writePages(file.path, base);
  const result: Versions = { v, file, contents: [first], pages: [base] };
  const kept = data(base).filter((page) => page.index !== 0n);
  for (let i = 1; i <= count; i++) {
    const content = Buffer.concat([randomBytes(4096), first.subarray(4096)]);
    result.contents.push(content);
    const blocks = v.blocksOf(content);
    result.pages.push(v.seal(file.id, 12288n, blocks, 99n + BigInt(i), kept));
  }
  return result;
}

function pagesOf({ pages }: Versions, version: number): Page[] {
  const found = pages[version];
  if (found === undefined) throw new Error(`no version ${version}`);
  return found;
}

/** The file's contents as the reader gives them, and everything wrong with the volume. */
async function read(v: FixtureVolume, file: FixtureInode) {
  const volume = v.open();
  try {
    const problems: Problem[] = [];
    const { counts } = await verify(volume, { onProblem: (problem) => problems.push(problem) });
    const bytes: Buffer[] = [];
    const record = { type: "file", growing: false, id: file.id, bindings: [] } as const;
    const attributes = { mode: 0o644, uid: 0, gid: 0 };
    const none = { oldAttributes: undefined, device: undefined, aclHash: undefined, oldAclHash: undefined };
    const open = await volume.openFile(Buffer.from(file.path), { ...record, attributes, ...none });
    const mtime = open.folded.mtime;
    for await (const found of open.file.walk()) if (found.kind === "data") bytes.push(found.bytes);
    open.close();
    return { content: Buffer.concat(bytes), problems, counts, mtime, log: volume.log };
  } finally {
    volume.close();
  }
}

t.test("a commit that is not home yet is read from the log", async (t) => {
  const made = versions(2);
  const { v, file, contents } = made;
  t.teardown(() => v.remove());
  v.log.begin({ firstCommit: 100n, checkpointed: 99n });
  v.log.append({
    fileId: file.id,
    images: pagesOf(made, 1),
    physicalLength: 16384n,
    mtime: { seconds: 5n, nanoseconds: 7 },
  });
  v.log.append({ fileId: file.id, images: pagesOf(made, 2), physicalLength: 16384n });
  const { content, problems, counts, mtime } = await read(v, file);
  t.same(problems, []);
  t.same(content, contents[2]);
  t.equal(counts.foldedCommits, 2);
  t.equal(counts.pendingCommits, 2);
  t.same(mtime, { seconds: 5n, nanoseconds: 7 });
});

t.test("commits of a file that is gone, and those checkpointed, are passed over", async (t) => {
  const made = versions(2);
  const { v, file, contents } = made;
  t.teardown(() => v.remove());
  writePages(file.path, pagesOf(made, 1));
  v.log.begin({ firstCommit: 99n, checkpointed: 100n });
  v.log.append({ fileId: file.id, images: pagesOf(made, 0), physicalLength: 4097n });
  v.log.append({ fileId: file.id, images: pagesOf(made, 1), physicalLength: 16384n });
  v.log.append({ fileId: randomBytes(16), images: pagesOf(made, 2), physicalLength: 16384n });
  const { content, problems, counts } = await read(v, file);
  t.same(problems, []);
  t.same(content, contents[1]);
  t.equal(counts.foldedCommits, 0);
});

t.test(
  "straight blocks that arrived are taken with their commit, others end the file's state before it",
  async (t) => {
    for (const [arrived, version] of [
      [true, 2],
      [false, 1],
    ] as const) {
      const made = versions(2);
      const { v, file, contents } = made;
      t.teardown(() => v.remove());
      v.log.begin({ firstCommit: 100n, checkpointed: 99n });
      v.log.append({ fileId: file.id, images: pagesOf(made, 1), physicalLength: 16384n });
      const straight = data(pagesOf(made, 2));
      v.log.append({ fileId: file.id, images: header(pagesOf(made, 2)), straight, physicalLength: 16384n });
      if (arrived) writePages(file.path, straight);
      const { content, problems, counts } = await read(v, file);
      t.same(problems, []);
      t.same(content, contents[version]);
      t.equal(counts.foldedCommits, version);
    }
  },
);

t.test(
  "a straight block that did not arrive does not matter once a later commit replaced or cut it",
  async (t) => {
    for (const how of ["image", "punched", "cut"]) {
      const made = versions(1);
      const { v, file } = made;
      t.teardown(() => v.remove());
      const content = randomBytes(3 * 4096);
      const next = v.seal(file.id, 12288n, v.blocksOf(content), 101n);
      const image = how === "image" ? next : [];
      v.log.begin({ firstCommit: 100n, checkpointed: 99n });
      const straight = data(pagesOf(made, 1));
      v.log.append({ fileId: file.id, images: header(pagesOf(made, 1)), straight, physicalLength: 16384n });
      const hollow = how === "cut" ? [] : [...v.blocksOf(content)].slice(1);
      const size = how === "cut" ? 0n : 12288n;
      const without = v.seal(file.id, size, new Map(hollow), 101n);
      v.log.append({
        fileId: file.id,
        images: how === "image" ? image : without,
        physicalLength: how === "cut" ? 4096n : 16384n,
        punched: how === "punched" ? [{ offset: 4096n, length: 4096n }] : [],
      });
      const result = await read(v, file);
      t.same(result.problems, [], how);
      t.equal(result.counts.foldedCommits, 2, how);
      const wanted = how === "cut" ? Buffer.alloc(0) : content.subarray(how === "punched" ? 4096 : 0);
      t.same(result.content, wanted, how);
    }
  },
);

t.test("a straight block of a durable commit that is not there is damage, not an older state", async (t) => {
  const made = versions(1);
  const { v, file } = made;
  t.teardown(() => v.remove());
  v.log.begin({ firstCommit: 100n, checkpointed: 99n });
  const straight = data(pagesOf(made, 1));
  v.log.append({ fileId: file.id, images: header(pagesOf(made, 1)), straight, physicalLength: 16384n });
  v.log.append({
    fileId: randomBytes(16),
    images: header(pagesOf(made, 1)),
    physicalLength: 4096n,
    durable: 100n,
  });
  const { problems } = await read(v, file);
  t.match(problems, [{ code: "block", place: "/file", block: "0" }]);
});

t.test("the torn tail of a crash is dropped", async (t) => {
  const made = versions(3);
  const { v, file, contents } = made;
  t.teardown(() => v.remove());
  v.log.begin({ firstCommit: 100n, checkpointed: 99n });
  const append = (version: number, durable: bigint) =>
    v.log.append({ fileId: file.id, images: pagesOf(made, version), physicalLength: 16384n, durable });
  append(1, 99n);
  const torn = append(2, 100n);
  append(3, 100n);
  writeInto(torn.path, torn.offset + 600, Buffer.alloc(8));
  const { content, problems, log } = await read(v, file);
  t.same(problems, []);
  t.same(content, contents[1]);
  t.equal(log?.droppedTail, true);
});

t.test("a gap before something that knew it durable is damage", async (t) => {
  for (const by of ["record", "later segment's record", "later segment's header"]) {
    const made = versions(3);
    const { v, file } = made;
    t.teardown(() => v.remove());
    v.log.begin({ firstCommit: 100n, checkpointed: 99n });
    const append = (version: number, durable: bigint) =>
      v.log.append({ fileId: file.id, images: pagesOf(made, version), physicalLength: 16384n, durable });
    append(1, 99n);
    const lost = append(2, 100n);
    append(3, by === "record" ? 101n : 100n);
    if (by !== "record") v.log.begin({ firstCommit: 103n, checkpointed: by.endsWith("header") ? 101n : 99n });
    if (by.endsWith("segment's record")) append(3, 101n);
    writeInto(lost.path, lost.offset + 600, Buffer.alloc(8));
    const { problems } = await read(v, file);
    t.match(problems[0], { code: "log", place: "the commit log", message: /101/ }, by);
  }
});

t.test("records exchanged, or taken from another segment, end the log", async (t) => {
  const made = versions(2);
  const { v, file, contents } = made;
  t.teardown(() => v.remove());
  v.log.begin({ firstCommit: 100n, checkpointed: 99n });
  const append = (version: number) =>
    v.log.append({ fileId: file.id, images: pagesOf(made, version), physicalLength: 16384n });
  const [a, b] = [append(1), append(2)];
  t.equal(a.length, b.length);
  const bytes = readFileSync(a.path);
  const [first, second] = [
    bytes.subarray(a.offset, a.offset + a.length),
    bytes.subarray(b.offset, b.offset + b.length),
  ];
  writeInto(a.path, a.offset, Buffer.from(second));
  writeInto(a.path, b.offset, Buffer.from(first));
  const { content, problems } = await read(v, file);
  t.same(problems, []);
  t.same(content, contents[0]);
});

t.test(
  "a log over several segments is read through; records that a later segment supersedes are not",
  async (t) => {
    const made = versions(4);
    const { v, file, contents } = made;
    t.teardown(() => v.remove());
    const append = (version: number, number?: bigint) =>
      v.log.append({
        fileId: file.id,
        images: pagesOf(made, version),
        physicalLength: 16384n,
        ...(number !== undefined && { number }),
      });
    v.log.begin({ firstCommit: 100n, checkpointed: 99n });
    append(1);
    const lastKept = v.log.lastMac;
    append(2);
    // Begun after a crash, whose recovery took commit 100 as the last.
    v.log.begin({ firstCommit: 101n, checkpointed: 99n, previousMac: lastKept });
    append(3);
    v.log.begin({ firstCommit: 102n, checkpointed: 99n });
    append(4);
    const { content, problems, log } = await read(v, file);
    t.same(problems, []);
    t.same(
      log?.commits.map((commit) => commit.number),
      [100n, 101n, 102n],
    );
    t.same(content, contents[4]);
  },
);

t.test("a segment that was begun beyond a lost tail and superseded is passed over", async (t) => {
  const made = versions(3);
  const { v, file, contents } = made;
  t.teardown(() => v.remove());
  const append = (version: number) =>
    v.log.append({ fileId: file.id, images: pagesOf(made, version), physicalLength: 16384n });
  v.log.begin({ firstCommit: 100n, checkpointed: 99n });
  append(1);
  const kept = v.log.lastMac;
  const lost = append(2);
  v.log.begin({ firstCommit: 102n, checkpointed: 99n });
  writeInto(lost.path, lost.offset, Buffer.alloc(lost.length));
  v.log.begin({ firstCommit: 101n, checkpointed: 99n, previousMac: kept });
  append(3);
  const { content, problems } = await read(v, file);
  t.same(problems, []);
  t.same(content, contents[3]);
});

t.test("a segment missing on the way, twice there, or none at all is damage", async (t) => {
  for (const what of ["missing", "twice", "none", "bit"]) {
    const made = versions(3);
    const { v, file } = made;
    t.teardown(() => v.remove());
    const append = (version: number) =>
      v.log.append({ fileId: file.id, images: pagesOf(made, version), physicalLength: 16384n });
    v.log.begin({ firstCommit: 100n, checkpointed: 99n });
    append(1);
    v.log.begin({ firstCommit: 101n, checkpointed: 99n });
    append(2);
    const middle = v.log.path;
    v.log.begin({ firstCommit: 102n, checkpointed: 99n });
    append(3);
    if (what === "missing") unlinkSync(middle);
    if (what === "twice") writeFileSync(middle.replace("0001", "0009"), readFileSync(middle));
    if (what === "bit") writeInto(middle, 40, Buffer.from([1]));
    if (what === "none") for (const n of [0, 1, 2]) unlinkSync(middle.replace("0001", `000${n}`));
    const { problems } = await read(v, file);
    t.match(problems, [{ code: "log", place: "the commit log" }], what);
  }
});

t.test("a file in the place of the log's directory, or of the one it is in, is damage", async (t) => {
  const { v, file } = versions(0);
  t.teardown(() => v.remove());
  for (const place of [file.path, `${file.path}/log`])
    t.throws(() => logIsBegun(place), new DamageError("log", `${file.path} is no directory`), place);
});

t.test("a home that is newer than the log of it is left alone and reported", async (t) => {
  const made = versions(2);
  const { v, file, contents } = made;
  t.teardown(() => v.remove());
  v.log.begin({ firstCommit: 100n, checkpointed: 99n });
  v.log.append({ fileId: file.id, images: pagesOf(made, 1), physicalLength: 16384n });
  writePages(file.path, pagesOf(made, 2));
  const { content, problems } = await read(v, file);
  t.match(problems, [{ code: "log", place: "/file" }]);
  t.same(content, contents[2]);
});

t.test("segments of any bytes are read without a crash", async (t) => {
  const made = versions(1);
  const { v, file } = made;
  t.teardown(() => v.remove());
  v.log.begin({ firstCommit: 100n, checkpointed: 99n });
  const record = v.log.append({ fileId: file.id, images: pagesOf(made, 1), physicalLength: 16384n });
  const whole = readFileSync(record.path).subarray(0, record.offset + record.length);
  const directory = record.path.replace(/[^/]*$/, "");
  for (let i = 0; i < 300; i++) {
    const bytes = Buffer.from(whole);
    const at = i < 100 ? i * 5 : record.offset + ((i * 37) % record.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (i % 8));
    writeFileSync(record.path, bytes.subarray(0, i % 3 === 0 ? at + 1 : bytes.length));
    try {
      readLog(v.keys, v.root.id, directory, SEGMENT_SIZE, v.geometry);
    } catch (error) {
      t.match(error, { name: "DamageError" });
    }
  }
});
