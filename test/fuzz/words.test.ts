// What people, programs and other hosts hand to kmsfs: volume.json and its slots, mount options, arguments of the helpers,
// mountinfo, audit lines, manifests and journals of snapshots, messages. Refused by the errors that are meant for it.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import canonicalize from "canonicalize";
import fc from "fast-check";
import t from "tap";
import { parseLine } from "../../src/audit/line.js";
import { lineText } from "../../src/audit/show.js";
import { UserError } from "../../src/errors.js";
import { mountHelperArguments, umountHelperArguments } from "../../src/helper/arguments.js";
import { commitmentOf } from "../../src/keys/domain.js";
import { HeaderDamage } from "../../src/keys/parse.js";
import { canonicalRecoveryKey, newRecoveryKey } from "../../src/keys/recovery-key.js";
import { openBlob, sealBlob } from "../../src/keys/sealed-blob.js";
import { parseSlot } from "../../src/keys/slots.js";
import { FrameReader, MAX_FRAME_BYTES } from "../../src/mount/frames.js";
import { LineReader } from "../../src/mount/lines.js";
import { parseMountinfo } from "../../src/mount/mountinfo.js";
import { listedOptions } from "../../src/mount/option-list.js";
import { knownOptions, parseMountOptions } from "../../src/mount/options.js";
import { checkFromEngine } from "../../src/mount/schema.js";
import { Digests, digestOf } from "../../src/snapshot/blocks.js";
import {
  digestLine,
  readJournalFile,
  readManifestFile,
  writeManifestFile,
} from "../../src/snapshot/digest-file.js";
import { isJournalHeader } from "../../src/snapshot/journal-header.js";
import { authenticates, type HeaderBody, parseHeader, sealHeader } from "../../src/volume/header.js";
import { damaged, damages, fuzz, withSmallBuffers } from "./damage.js";

const key = Buffer.alloc(32, 7);
const uuid = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f1";
const created = "2026-11-23T22:00:00.000Z";
const sealed = sealBlob(Buffer.alloc(32, 8), key, uuid, "keyfile");
const body: HeaderBody = {
  format: 1,
  kind: "files",
  uuid,
  blockSize: 4096,
  features: ["trusted-records"],
  log: { segmentSize: 2 ** 24, segments: 4 },
  generation: 3,
  created,
  commitment: commitmentOf(key, uuid),
  slots: [
    { id: 1, label: "a", created, provider: "keyfile", path: "/root/k", ...sealed },
    {
      id: 2,
      label: "b",
      created,
      provider: "aws-kms",
      keyArn: "arn:aws:kms:eu-central-1:111122223333:key/mrk-0123456789abcdef0123456789abcdef",
      region: "eu-central-1",
      context: { team: "billing" },
      blob: Buffer.alloc(184, 5).toString("base64"),
    },
    {
      id: 3,
      label: "",
      created,
      provider: "passphrase",
      salt: Buffer.alloc(16, 1).toString("base64"),
      n: 2 ** 14,
      r: 8,
      p: 1,
      ...sealed,
    },
  ],
};

/** JSON with names that objects have by themselves among its own. */
const names = fc.oneof(
  fc.string(),
  fc.constantFrom(
    "__proto__",
    "constructor",
    "toString",
    "valueOf",
    "toJSON",
    "length",
    "session",
    "n",
    "who",
  ),
);
const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, 0, -1, 1.5, 2 ** 53, 1e308, "", "x", "\u0000", "\ud800"),
    fc.string(),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.array(fc.tuple(names, tie("value")), { maxLength: 4 }).map((pairs) => textOf(pairs)),
  ),
})).value;

/** As JSON.parse makes it: "__proto__" is a member like any other. */
function textOf(pairs: readonly [string, unknown][]): unknown {
  const members = pairs.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  return JSON.parse(`{${members.join(",")}}`);
}

/** `value` with other JSON in the places that the paths lead to. */
function grafted(
  value: unknown,
  grafts: readonly { path: readonly number[]; with: unknown; gone: boolean }[],
): unknown {
  const copy = JSON.parse(JSON.stringify(value)) as unknown;
  for (const graft of grafts) {
    let at: unknown = copy;
    for (const [depth, step] of graft.path.entries()) {
      if (typeof at !== "object" || at === null) break;
      const members = Object.keys(at);
      const name = members[step % Math.max(1, members.length)];
      if (name === undefined) break;
      const holder = at as Record<string, unknown>;
      if (depth < graft.path.length - 1) at = holder[name];
      else if (graft.gone && !Array.isArray(holder)) delete holder[name];
      else
        Object.defineProperty(holder, name, {
          value: graft.with,
          enumerable: true,
          configurable: true,
          writable: true,
        });
    }
  }
  return copy;
}

const grafts = fc.array(
  fc.record({ path: fc.array(fc.nat(20), { minLength: 1, maxLength: 4 }), with: json, gone: fc.boolean() }),
  { minLength: 1, maxLength: 3 },
);

/** What `work` gives; undefined where it throws one of these. */
function refusing<T>(errors: readonly (new (...args: never[]) => Error)[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (errors.some((kind) => error instanceof kind)) return undefined;
    throw error;
  }
}

const header = (bytes: Buffer) =>
  withSmallBuffers(2 ** 20, () => refusing([HeaderDamage, UserError], () => parseHeader(bytes)));

t.test("volume.json", async () => {
  const good = sealHeader(body, key);
  const other = sealHeader({ ...body, generation: 4 }, key);
  fc.assert(
    fc.property(damages(), (damage) => {
      const bytes = damaged(good, damage, other);
      const read = header(bytes);
      if (read && authenticates(read, key) && !bytes.equals(good) && !bytes.equals(other))
        throw new Error("forged");
    }),
    fuzz(400),
  );
  fc.assert(
    fc.property(grafts, (grafts) => {
      const value = grafted(JSON.parse(good.toString()), grafts);
      let text: string | undefined;
      try {
        text = canonicalize(value);
      } catch {
        // A lone surrogate has no canonical form.
        text = JSON.stringify(value);
      }
      const read = header(Buffer.from(text ?? "", "utf8"));
      if (read) authenticates(read, key);
    }),
    fuzz(600),
  );
  for (const deep of [
    "[".repeat(2 ** 20),
    `{"format":1,"kind":"files","features":${"[".repeat(2 ** 18)}${"]".repeat(2 ** 18)}}`,
  ]) {
    if (header(Buffer.from(deep))) throw new Error("deep");
  }
});

t.test("slots, blobs and recovery keys", async () => {
  fc.assert(
    fc.property(fc.nat(2), grafts, json, (i, grafts, value) => {
      refusing([HeaderDamage], () => parseSlot(value));
      const slot = refusing([HeaderDamage], () => parseSlot(grafted(body.slots[i], grafts)));
      if (slot && "nonce" in slot) openBlob(Buffer.alloc(32, 8), slot, uuid, slot.provider);
    }),
    fuzz(600),
  );
  fc.assert(
    fc.property(damages(), (damage) => {
      const typed = damaged(newRecoveryKey(), damage, Buffer.alloc(90, 0x20));
      const canonical = canonicalRecoveryKey(Buffer.from(typed));
      if (!canonical.equals(typed) && canonical.length !== 71) throw new Error(`${canonical.length} letters`);
    }),
    fuzz(200),
  );
});

const words = fc.constantFrom(
  ...[
    "ro",
    "rw",
    "cache=",
    "cache=64M",
    "mlock=",
    "mlock=try",
    '"',
    "\\,",
    "\\",
    ",",
    ",,",
    "=",
    "user=",
    "x-y",
    "comment=",
  ],
  ...[
    "__proto__",
    "constructor",
    "toString",
    "nosuid",
    "relatime",
    "K",
    "99999999999999",
    " ",
    "\u0000",
    "é",
  ],
);
const list = fc.array(fc.oneof(words, fc.string()), { maxLength: 12 }).map((parts) => parts.join(""));

t.test("mount options and the helpers' arguments", async () => {
  fc.assert(
    fc.property(fc.array(list, { maxLength: 3 }), (lists) => {
      const options = refusing([UserError], () => parseMountOptions(lists));
      if (options && !(options.cacheBytes >= 2 ** 20 && options.cacheBytes <= 2 ** 40))
        throw new Error("cache");
      const known = knownOptions(lists);
      refusing([UserError], () => parseMountOptions(known));
      for (const { text } of lists.flatMap(listedOptions))
        if (listedOptions(text).length !== 1) throw new Error(text);
    }),
    fuzz(1000),
  );
  const argument = fc.oneof(
    list,
    fc.constantFrom("-o", "-s", "-fnv", "-N", "-t", "--", "-", "--o=x", "-x", "-ro"),
  );
  fc.assert(
    fc.property(fc.array(argument, { maxLength: 6 }), (args) => {
      refusing([UserError], () => mountHelperArguments(args));
      refusing([UserError], () => umountHelperArguments(args));
      parseMountinfo(args.join(" - "));
    }),
    fuzz(500),
  );
  // As long as an argument may be: no regular expression takes its square.
  for (const part of ['"', "\\", "\\,", '",', "=", 'a="'])
    listedOptions(part.repeat(Math.floor(131_000 / part.length)));
});

t.test("audit lines", async () => {
  const line = {
    seq: 1,
    time: created,
    host: "h",
    volume: uuid,
    domain: "volume",
    event: "mount",
    outcome: "ok",
  };
  const good = {
    ...line,
    who: { uid: 0, pid: 1, command: "kmsfs" },
    prev: "0",
    session: "0".repeat(32),
    n: 0,
  };
  fc.assert(
    fc.property(grafts, json, fc.string(), (grafts, value, text) => {
      for (const one of [JSON.stringify(grafted(good, grafts)), JSON.stringify(value), text]) {
        if (parseLine(one)) lineText(one);
      }
    }),
    fuzz(800),
  );
});

t.test("a session that is no text is no line", async (t) => {
  const line = { seq: 1, time: "", host: "", volume: "", domain: "", event: "mount", outcome: "", prev: "" };
  const with_ = (session: unknown) =>
    parseLine(JSON.stringify({ ...line, who: { uid: 0, pid: 1, command: "" }, session, n: 0 }));
  t.equal(with_({ toString: 1, valueOf: 1 }), undefined);
  t.equal(with_(["0".repeat(32)]), undefined);
  t.ok(with_("0".repeat(32)));
  const who = { uid: { toString: 1, valueOf: 1 }, pid: 1, command: "" };
  t.match(lineText(JSON.stringify({ ...line, who })), /^\?/, "shown as no line");
});

t.test("manifests and journals of snapshots", async (t) => {
  const directory = mkdtempSync("/var/tmp/kmsfs-fuzz-");
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "file");
  const digests = new Digests(100);
  for (const index of [0, 7, 99]) digests.set(index, digestOf(Buffer.from(`${index}`)));
  await writeManifestFile(path, { kind: "x" }, digests);
  const manifest = await import("node:fs").then(({ readFileSync }) => readFileSync(path));
  const journal = Buffer.from(
    `${JSON.stringify({ kind: "x" })}\n${digestLine(3, digestOf(Buffer.alloc(1)))}`,
  );
  await fc.assert(
    fc.asyncProperty(damages(), damages(), async (ofManifest, ofJournal) => {
      const bytes = damaged(manifest, ofManifest, journal);
      writeFileSync(path, bytes);
      try {
        const read = await readManifestFile(path, () => 100);
        if (read && !bytes.equals(manifest) && JSON.stringify(read.header) !== '{"kind":"x"}')
          throw new Error("altered");
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
      }
      writeFileSync(path, damaged(journal, ofJournal, manifest));
      const left = await readJournalFile(path, () => 100);
      if (left && left.digests.count > 100) throw new Error("too many");
    }),
    fuzz(100),
  );
  fc.assert(
    fc.property(json, (value) => void isJournalHeader(value)),
    fuzz(200),
  );
});

t.test("a journal's words are UTF-8, and a line without end ends it", async (t) => {
  const directory = mkdtempSync("/var/tmp/kmsfs-fuzz-");
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "journal");
  const whole = `${JSON.stringify({ kind: "größte" })}\n${digestLine(3, digestOf(Buffer.alloc(1)))}`;
  writeFileSync(path, `${whole}${"x".repeat(3 * 2 ** 20)}`);
  const left = await readJournalFile(path, () => 100);
  t.same(left?.header, { kind: "größte" });
  t.equal(left?.wholeBytes, Buffer.byteLength(whole));
  await t.rejects(
    readManifestFile(path, () => 100),
    /too long/,
  );
});

t.test("frames and lines", async () => {
  const event = {
    type: "status",
    id: 1,
    counters: { a: 1 },
    latencyBounds: [1],
    latencies: {},
    failure: null,
  };
  fc.assert(
    fc.property(grafts, json, damages(), (grafts, value, damage) => {
      refusing([Error], () => checkFromEngine(value));
      refusing([Error], () => checkFromEngine(grafted(event, grafts)));
      const text = Buffer.from(JSON.stringify(event));
      const frame = Buffer.concat([Buffer.from([text.length, 0, 0, 0]), text]);
      const stream = damaged(Buffer.concat([frame, frame, frame]), damage, frame);
      withSmallBuffers(MAX_FRAME_BYTES + 10_000, () =>
        refusing([Error], () => new FrameReader().push(stream)),
      );
      refusing([Error], () => new LineReader().push(stream));
    }),
    fuzz(400),
  );
});
