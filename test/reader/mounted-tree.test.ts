/** The tree of a reader mount without the mount: every tampering, holes, far blocks, bounds. */

import { randomBytes } from "node:crypto";
import { chmodSync, readdirSync } from "node:fs";
import t from "tap";
import { MountedTree, type MountedTreeOptions } from "../../src/reader/mounted-tree.js";
import { aclHash } from "../../src/reader/record.js";
import { FsError } from "../../src/readonly-fuse/tree.js";
import { everything, flip, tamperings } from "./damage.js";
import { FixtureVolume, run, xattrOf } from "./fixture.js";

function treeOf(v: FixtureVolume, options: Partial<MountedTreeOptions> = {}) {
  const log: string[] = [];
  const volume = v.open();
  const more = { cacheBytes: 2 ** 20, shared: false, ...options };
  const tree = new MountedTree(volume, { ...more, log: (line) => log.push(line) });
  const close = async () => {
    await tree.close();
    volume.close();
  };
  return { tree, log, close };
}

const PIECE = 131_072;
/** Beyond this, a file is looked at on both ends alone. */
const WHOLE = 2 ** 24;

/** What a program would see of everything below `path`: a line each, the errno where there is one. */
async function seen(tree: MountedTree, path = "/"): Promise<string[]> {
  const lines: string[] = [];
  const attempt = async (what: string, work: () => Promise<string>) => {
    try {
      lines.push(`${what} ${await work()}`);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      lines.push(`${what} ${error.errno}`);
    }
  };
  await attempt(`${path} stat`, async () => {
    const { mode, uid, gid, size, nlink, rdev } = await tree.stat(path);
    return `${mode.toString(8)} ${uid}:${gid} ${size} ${nlink} ${rdev}`;
  });
  const isDirectory = lines[0]?.startsWith(`${path} stat 4`) === true;
  await attempt(`${path} xattrs`, async () =>
    [...(await tree.xattrs(path))].map(([name, value]) => `${name}=${value.toString("hex")}`).join(),
  );
  if (lines[0]?.startsWith(`${path} stat 12`)) await attempt(`${path} link`, () => tree.readlink(path));
  if (lines[0]?.startsWith(`${path} stat 10`))
    await attempt(`${path} open`, () => contents(tree, path, lines));
  if (isDirectory) {
    const names = await tree.list(path).catch(() => []);
    for (const name of names)
      lines.push(...(await seen(tree, path === "/" ? `/${name}` : `${path}/${name}`)));
  }
  return lines;
}

async function contents(tree: MountedTree, path: string, lines: string[]): Promise<string> {
  const handle = await tree.open(path);
  const { size } = await tree.stat(path);
  for (let at = 0; at < size; at += at === 0 && size > WHOLE ? size - PIECE : PIECE) {
    for (let block = at; block < Math.min(size, at + PIECE); block += 4096) {
      const read = tree.read(handle, block, 4096).then(
        (bytes) => bytes.toString("base64"),
        (error: unknown) => (error instanceof FsError ? error.errno : String(error)),
      );
      lines.push(`${path} at ${block}: ${await read}`);
    }
  }
  await tree.release(handle);
  return "done";
}

for (const { what, does, finds, rewrites } of tamperings) {
  t.test(`served around: ${what}`, async (t) => {
    const e = everything();
    t.teardown(() => e.v.remove());
    const before = treeOf(e.v);
    const good = new Set(await seen(before.tree));
    await before.close();
    t.same(before.log, []);
    does(e);
    const after = treeOf(e.v);
    const now = await seen(after.tree);
    await after.close();
    // Nothing is ever served that was not written: what differs is an error, a name, or the file system's own.
    const other = now.filter((line) => !good.has(line));
    const wrong = other.filter((line) => / at \d+: /.test(line) && !/ at \d+: EIO$/.test(line));
    const foreign = wrong.filter(
      (line) =>
        !/\.damaged at |\/copy at /.test(line) && !(rewrites !== undefined && line.startsWith(rewrites)),
    );
    t.same(foreign, [], "no other contents");
    for (const { code, place, block } of finds.filter(({ code }) => code !== "duplicate-id")) {
      const told = after.log.some((line) => line.startsWith(`damaged: ${place}`));
      t.ok(told, `${code} ${place} ${block ?? ""} is in ${JSON.stringify(after.log)}`);
    }
    const files = now.filter((line) => line.startsWith("/one open") || line.startsWith("/empty open"));
    t.same(files.sort(), ["/empty open done", "/one open done"], "the rest goes on");
  });
}

t.test("damage in one block is EIO there alone, told once", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  const content = randomBytes(200 * 4096);
  const file = v.file(v.directory(v.root, "dir"), "file", content);
  v.open().close();
  flip(file.path, Number(v.geometry.home(7n)) + 99);
  flip(file.path, Number(v.geometry.home(150n)));
  const { tree, log, close } = treeOf(v);
  t.teardown(close);
  const handle = await tree.open("/dir/file");
  for (const _ of [1, 2]) {
    for (let i = 0; i < 200; i++) {
      const read = tree.read(handle, i * 4096, 4096);
      if (i === 7 || i === 150) await t.rejects(read, { message: "EIO" });
      else t.ok((await read).equals(content.subarray(i * 4096, (i + 1) * 4096)));
    }
  }
  await t.rejects(tree.read(handle, 6 * 4096, 8192), { message: "EIO" });
  t.same(log, [
    "damaged: /dir/file, block 7: block 7 does not authenticate",
    "damaged: /dir/file, block 150: block 150 does not authenticate",
  ]);
});

t.test("random reads of a file with holes, by many at once and in a cache too small", async (t) => {
  for (const blockSize of [4096, 16384, 65536]) {
    const v = new FixtureVolume(blockSize);
    t.teardown(() => v.remove());
    const content = randomBytes(130 * blockSize + 17);
    const blocks = v.blocksOf(content);
    for (const hole of [0n, 5n, 111n, 112n, 120n]) {
      blocks.delete(hole);
      content.fill(0, Number(hole) * blockSize, (Number(hole) + 1) * blockSize);
    }
    v.sparse(v.root, "file", BigInt(content.length), blocks);
    const { tree, log, close } = treeOf(v, { cacheBytes: 10 * blockSize });
    const handles = await Promise.all([1, 2, 3].map(() => tree.open("/file")));
    const reads = Array.from({ length: 300 }, async (_, i) => {
      const at = randomBytes(4).readUInt32LE() % (content.length + 100);
      const length = 1 + (randomBytes(4).readUInt32LE() % PIECE);
      const bytes = await tree.read(handles[i % 3] ?? 0, at, length);
      return bytes.equals(content.subarray(at, at + length));
    });
    t.ok((await Promise.all(reads)).every(Boolean), `block size ${blockSize}`);
    for (const handle of handles) await tree.release(handle);
    await close();
    t.same(log, []);
  }
});

t.test("names that are not UTF-8 have a form of their own, and give way to names that are it", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  v.file(v.root, Buffer.from([0x61, 0xff, 0x5c]), Buffer.from("raw"));
  v.file(v.root, "a\\xff\\x5c", Buffer.from("text"));
  v.file(v.root, Buffer.alloc(255, 0xfe), Buffer.from("long"));
  const { tree, log, close } = treeOf(v);
  t.teardown(close);
  const names = await tree.list("/");
  t.equal(new Set(names).size, 3);
  t.ok(names.every((name) => Buffer.byteLength(name) <= 255));
  const texts = await Promise.all(
    names.map(async (name) => `${name.slice(0, 12)}: ${await tree.read(await tree.open(`/${name}`), 0, 99)}`),
  );
  t.same(texts.sort(), ["\\xfe\\xfe\\xfe: long", "a\\xff\\x5c: text", "a\\xff\\x5c~2: raw"]);
  t.same(log, []);
});

t.test("more directories than are kept open, and none left open at the end", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  for (let i = 0; i < 300; i++) v.file(v.directory(v.root, `d${i}`), "file", Buffer.from(`${i}`));
  const open = () => readdirSync("/proc/self/fd").length;
  const before = open();
  const { tree, close } = treeOf(v);
  const right = await Promise.all(
    Array.from({ length: 300 }, async (_, i) => {
      const handle = await tree.open(`/d${i}/file`);
      const text = (await tree.read(handle, 0, 10)).toString();
      await tree.release(handle);
      return text === `${i}`;
    }),
  );
  t.ok(right.every(Boolean));
  t.ok(open() - before < 280, `${open() - before} descriptors`);
  t.equal((await tree.stat("/d0/file")).size, 1, "one that was let go of");
  await t.rejects(tree.stat("/d0/none"), { message: "ENOENT" });
  await t.rejects(tree.stat("/d0/file/x"), { message: "ENOTDIR" });
  await close();
  t.equal(open(), before);
});

t.test("where others see the mount, what has an ACL is its owner's alone", async (t) => {
  const v = new FixtureVolume();
  t.teardown(() => v.remove());
  const file = v.file(v.root, "file", Buffer.from("x"));
  chmodSync(file.path, 0o604);
  run("setfacl", ["-m", "u:1000:rw", file.path]);
  const acl = xattrOf(file.path, "system.posix_acl_access");
  v.writeRecord(file, { aclHash: aclHash(acl, undefined) });
  for (const [shared, mode] of [
    [false, 0o100664],
    [true, 0o100600],
  ] as const) {
    const { tree, log, close } = treeOf(v, { shared });
    t.equal((await tree.stat("/file")).mode.toString(8), mode.toString(8));
    t.same((await tree.xattrs("/file")).get("system.posix_acl_access"), acl);
    await close();
    t.same(log, []);
  }
});
