/** git as an application's user: clone, gc, fsck, worktrees, local clones that share objects by hard links. */

import { randomBytes } from "node:crypto";
import { linkSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import { APPLICATION, cannotRun, run } from "../support/programs.js";
import { AppVolume } from "./app-volume.js";

const COMMITS = 150;
const FILES_A_COMMIT = 8;
const BRANCHES = ["main", "topic/one", "topic/two", "release"];

/** A history for `git fast-import`: branches that fork and merge, tags, modes, links, odd names, a big binary. */
function history(): Buffer {
  const parts: (string | Buffer)[] = [];
  const data = (content: string | Buffer): (string | Buffer)[] => [
    "data ",
    `${Buffer.byteLength(content)}\n`,
    content,
    "\n",
  ];
  const who = (i: number): string => `A U Thor <author@example.org> ${1_600_000_000 + i * 60} +0100`;
  let random = 1;
  const next = (below: number): number => {
    random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
    return (random >>> 8) % below;
  };
  for (let i = 0; i < COMMITS; i++) {
    const branch = BRANCHES[i < 30 ? 0 : i % BRANCHES.length] ?? "";
    parts.push(
      `commit refs/heads/${branch}\nmark :${i + 1}\ncommitter ${who(i)}\n`,
      ...data(`change number ${i}\n`),
    );
    // A branch begins at the thirtieth commit of the first; every so often the first takes one in.
    if (i >= 30 && i < 30 + BRANCHES.length && branch !== "main") parts.push("from :30\n");
    if (i > 60 && i % 20 === 0) parts.push(`merge refs/heads/topic/one\n`);
    for (let k = 0; k < FILES_A_COMMIT; k++) {
      const lines = Array.from({ length: next(120) + 1 }, () => `line ${next(1_000_000)} of ${i}\n`).join("");
      parts.push(
        `M 100${k === 0 ? "755" : "644"} inline src/part ${next(12)}/module ${next(25)}.txt\n`,
        ...data(lines),
      );
    }
    if (i === 10) parts.push("M 100644 inline assets/big.bin\n", ...data(randomBytes(6_000_000)));
    if (i === 11) parts.push("M 120000 inline a link\n", ...data("assets/big.bin"));
    if (i === 12) parts.push('M 100644 inline "Gr\\303\\266\\303\\237e \\" and a\\ttab"\n', ...data("odd"));
    parts.push("\n");
    if (i % 10 === 0) parts.push(`tag v${i}\nfrom :${i + 1}\ntagger ${who(i)}\n`, ...data(`version ${i}\n`));
  }
  return Buffer.concat(parts.map((part) => Buffer.from(part)));
}

class Repository {
  constructor(readonly dir: string) {}

  git(...args: string[]): Promise<string> {
    const env = { GIT_CONFIG_NOSYSTEM: "1", GIT_AUTHOR_NAME: "A", GIT_AUTHOR_EMAIL: "a@example.org" };
    const committer = { GIT_COMMITTER_NAME: "A", GIT_COMMITTER_EMAIL: "a@example.org" };
    // Housekeeping in the background would outlive the command that started it.
    const settings = ["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "advice.detachedHead=false"];
    return run(["git", ...settings, ...args], {
      cwd: this.dir,
      who: APPLICATION,
      env: { ...env, ...committer },
    });
  }

  /** Every branch and tag with every path, mode and object below it. */
  async contents(refs: string): Promise<string> {
    const names = await this.git("for-each-ref", "--format=%(objectname) %(refname:lstrip=-1)", refs);
    const trees = [];
    for (const line of names.trim().split("\n")) {
      trees.push(line, await this.git("ls-tree", "-r", "-z", line.split(" ")[0] ?? ""));
    }
    return trees.join("\n");
  }

  async sound(t: Test, what: string): Promise<void> {
    t.equal(await this.git("fsck", "--full", "--strict", "--no-progress"), "", `fsck of ${what}`);
  }

  async clean(t: Test, what: string): Promise<void> {
    t.equal(await this.git("status", "--porcelain"), "", `${what}: nothing differs`);
  }
}

/** The names that a repository's objects have: a local clone shares the files. */
function packs(repository: Repository): string[] {
  const dir = `${repository.dir}/.git/objects/pack`;
  return readdirSync(dir)
    .filter((name) => name.endsWith(".pack"))
    .map((name) => `${dir}/${name}`);
}

t.test("a repository's life", { skip: cannotRun("git") }, async (t) => {
  const app = await AppVolume.make(t, APPLICATION);
  const origin = new Repository(`${app.plain}/origin.git`);
  await new Repository(app.plain).git("init", "-q", "--bare", "-b", "main", origin.dir);
  const stream = `${app.plain}/history`;
  writeFileSync(stream, history());
  await run(["sh", "-c", `git fast-import --quiet <"${stream}"`], { cwd: origin.dir, who: APPLICATION });
  const objects = (await origin.git("rev-list", "--all", "--objects")).trim().split("\n").length;
  t.ok(objects > 2000, `${objects} objects`);

  const clone = new Repository(`${app.dir}/clone`);
  const others = (name: string): Repository => new Repository(`${app.dir}/${name}`);

  await t.test("clone, unpacked and packed", async (t) => {
    await new Repository(app.dir).git("clone", "-q", `file://${origin.dir}`, clone.dir);
    await clone.sound(t, "the clone");
    t.equal(await clone.contents("refs/tags"), await origin.contents("refs/tags"));
    // Every object a file of its own: thousands of small files, renamed into place.
    const loose = others("loose");
    await new Repository(app.dir).git("init", "-q", "-b", "none", loose.dir);
    await loose.git(
      "-c",
      "fetch.unpackLimit=1000000",
      "fetch",
      "-q",
      `file://${origin.dir}`,
      "refs/*:refs/*",
    );
    t.match(await loose.git("count-objects", "-v"), new RegExp(`count: ${objects}\\n`));
    await loose.sound(t, "loose objects");
    t.equal(await loose.contents("refs/heads"), await origin.contents("refs/heads"));
    await loose.git("repack", "-q", "-a", "-d");
    t.match(await loose.git("count-objects", "-v"), /^count: 0\n/);
    await loose.sound(t, "repacked objects");
  });

  await t.test("every branch checked out, changed, stashed, merged, rebased", async (t) => {
    for (const branch of BRANCHES) {
      await clone.git("checkout", "-q", branch);
      await clone.clean(t, branch);
      t.equal(await clone.git("rev-parse", "HEAD"), await origin.git("rev-parse", branch));
    }
    writeFileSync(`${clone.dir}/src/part 1/new.txt`, "new\n");
    await clone.git("add", "-A");
    await clone.git("stash", "-q");
    await clone.clean(t, "stashed");
    await clone.git("stash", "pop", "-q");
    await clone.git("commit", "-q", "-m", "new");
    await clone.git("checkout", "-q", "-b", "mine");
    await clone.git("rebase", "-q", "--onto", "topic/two", "release~1");
    await clone.git("checkout", "-q", "release");
    await clone.git("merge", "-q", "-s", "ours", "-m", "merged", "mine");
    await clone.clean(t, "merged and rebased");
  });

  await t.test("gc --aggressive, fsck", async (t) => {
    const before = await clone.contents("refs/heads");
    await clone.git("gc", "-q", "--aggressive", "--prune=now");
    await clone.sound(t, "what gc left");
    t.equal(packs(clone).length, 1);
    t.equal(await clone.contents("refs/heads"), before);
    await clone.clean(t, "after gc");
  });

  await t.test("a worktree, and pushing from it to a bare repository on the mount", async (t) => {
    const bare = others("bare.git");
    await clone.git("clone", "-q", "--bare", "--no-local", clone.dir, bare.dir);
    const worktree = others("worktree");
    await clone.git("worktree", "add", "-q", "-b", "beside", worktree.dir, "release");
    writeFileSync(`${worktree.dir}/beside.txt`, "beside\n");
    await worktree.git("add", "beside.txt");
    await worktree.git("commit", "-q", "-m", "beside");
    await worktree.git("push", "-q", bare.dir, "beside");
    t.equal(await bare.git("rev-parse", "beside"), await worktree.git("rev-parse", "HEAD"));
    await bare.sound(t, "what was pushed");
    await clone.git("worktree", "remove", worktree.dir);
    t.notMatch(await clone.git("worktree", "list"), /beside/);
  });

  await t.test("local clones share objects up to the limit of names, and copy beyond it", async (t) => {
    const [pack = ""] = packs(clone);
    const shared = others("shared");
    // With --local given, git fails where it cannot link.
    await clone.git("clone", "-q", "--local", clone.dir, shared.dir);
    t.equal(statSync(pack).nlink, 2);
    mkdirSync(`${app.dir}/names`);
    for (let n = 2; n < 100; n++) linkSync(pack, `${app.dir}/names/${n}`);
    t.throws(() => linkSync(pack, `${app.dir}/names/101`), { code: "EMLINK" });
    const copied = others("copied");
    await clone.git("clone", "-q", clone.dir, copied.dir);
    t.equal(statSync(packs(copied)[0] ?? "").nlink, 1);
    for (const repository of [shared, copied]) {
      await repository.sound(t, repository.dir);
      await repository.clean(t, repository.dir);
    }
  });

  await t.test("after a remount", async (t) => {
    await app.volume.down(t);
    await app.mount(t);
    for (const name of ["clone", "shared", "copied", "loose"]) await others(name).sound(t, name);
    for (const name of ["clone", "shared", "copied"]) await others(name).clean(t, name);
  });
  await app.endClean(t);
});
