import fc from "fast-check";
import t from "tap";
import { UserError } from "../../src/errors.js";
import { commitmentOf, newDomainKey } from "../../src/keys/domain.js";
import { HeaderDamage } from "../../src/keys/parse.js";
import { authenticates, commits, type HeaderBody, parseHeader, sealHeader } from "../../src/volume/header.js";

const dk = newDomainKey();
const uuid = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f1";
const body: HeaderBody = {
  format: 1,
  kind: "files",
  uuid,
  blockSize: 4096,
  features: ["trusted-records"],
  log: { segmentSize: 2 ** 24, segments: 4 },
  generation: 3,
  created: "2026-11-23T22:00:00.000Z",
  commitment: commitmentOf(dk, uuid),
  slots: [
    {
      id: 1,
      label: "größte",
      created: "2026-11-23T22:00:00.000Z",
      provider: "aws-kms",
      keyArn: "arn:aws:kms:eu-central-1:111122223333:key/mrk-0123456789abcdef0123456789abcdef",
      region: "eu-central-1",
      context: { team: "billing" },
      blob: Buffer.alloc(184, 5).toString("base64"),
    },
    {
      id: 2,
      label: "",
      created: "2026-11-23T22:00:00.000Z",
      provider: "keyfile",
      path: "/root/k",
      nonce: Buffer.alloc(12, 1).toString("base64"),
      blob: Buffer.alloc(48, 2).toString("base64"),
    },
    {
      id: 5,
      label: "safe",
      created: "2026-11-23T22:00:00Z",
      provider: "passphrase",
      salt: Buffer.alloc(16, 3).toString("base64"),
      n: 2 ** 17,
      r: 8,
      p: 1,
      nonce: Buffer.alloc(12, 4).toString("base64"),
      blob: Buffer.alloc(48, 6).toString("base64"),
    },
  ],
};
const sealed = sealHeader(body, dk);

/** How a header fares: what it is refused as, or whether its MAC and commitment hold. */
function fate(bytes: Buffer): "damaged" | "newer" | "unauthentic" | "good" {
  try {
    const header = parseHeader(bytes);
    return commits(header, dk) && authenticates(header, dk) ? "good" : "unauthentic";
  } catch (error) {
    if (error instanceof HeaderDamage) return "damaged";
    if (error instanceof UserError && error.code === "NewerFormat") return "newer";
    throw error;
  }
}

/** The header with changes, canonical and under a right MAC. */
function resealed(changes: object): Buffer {
  return sealHeader({ ...body, ...changes } as HeaderBody, dk);
}

t.test("what was sealed parses to the same and authenticates, and only under its key", async (t) => {
  const header = parseHeader(sealed);
  const { mac, ...rest } = header;
  t.same(rest, body);
  t.equal(Buffer.from(mac, "base64").length, 32);
  t.equal(fate(sealed), "good");
  t.equal(authenticates(header, Buffer.alloc(32, 9)), false);
  t.equal(commits(header, Buffer.alloc(32, 9)), false);
});

t.test("every bit of volume.json counts", async (t) => {
  const survivors: string[] = [];
  for (let at = 0; at < sealed.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      if (fate(changed) === "good") survivors.push(`${at}.${bit}`);
    }
  }
  t.same(survivors, []);
});

t.test("every cut, and any byte put in, is refused", async (t) => {
  for (let length = 0; length < sealed.length; length++) {
    if (fate(sealed.subarray(0, length)) === "good") t.fail(`cut at ${length}`);
  }
  fc.assert(
    fc.property(fc.nat(sealed.length), fc.uint8Array({ minLength: 1, maxLength: 8 }), (at, put) => {
      return fate(Buffer.concat([sealed.subarray(0, at), put, sealed.subarray(at)])) !== "good";
    }),
  );
});

t.test("other spellings of the same object are refused", async (t) => {
  const text = sealed.toString();
  const spellings = [
    `${text}\n`,
    ` ${text}`,
    `\ufeff${text}`,
    text.replace('"format":1', '"format":1.0'),
    text.replace('"format":1', '"format":1e0'),
    text.replace("billing", "bill\\u0069ng"),
    text.replace('"format":1', '"format":1,"format":1'),
    JSON.stringify({ ...body, mac: parseHeader(sealed).mac }),
    JSON.stringify(JSON.parse(text), null, 1),
  ];
  for (const spelling of spellings) t.equal(fate(Buffer.from(spelling)), "damaged", spelling.slice(0, 40));
});

t.test("arbitrary bytes and arbitrary JSON never crash the parser", async () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => fate(Buffer.from(bytes)) !== "good"));
  fc.assert(fc.property(fc.json(), (text) => fate(Buffer.from(text)) !== "good"));
  // Under a right MAC, so that parsing alone must tell; some values are fine.
  const members = Object.keys(body).filter((name) => name !== "uuid");
  fc.assert(
    fc.property(fc.constantFrom(...members), fc.jsonValue(), (name, value) => {
      return ["good", "damaged", "newer"].includes(fate(resealed({ [name]: value })));
    }),
  );
});

t.test("nesting deeper than the stack is damage, no crash", async (t) => {
  const deep = `{"features":[],"format":1,"kind":"files","x":${"[".repeat(200_000)}${"]".repeat(200_000)}}`;
  t.equal(fate(Buffer.from(deep)), "damaged");
});

t.test("a newer format, kind or feature is told from damage", async (t) => {
  t.equal(fate(resealed({ format: 2 })), "newer");
  t.equal(fate(resealed({ kind: "device" })), "newer");
  t.equal(fate(resealed({ features: ["compression"] })), "newer");
  t.equal(fate(Buffer.from('{"format":7,"anything":"else"}')), "newer");
});

const slotWith = (index: number, changes: object) => ({
  slots: body.slots.map((slot, i) => (i === index ? { ...slot, ...changes } : slot)),
});

t.test("values out of bounds are refused even under a right MAC", async (t) => {
  const bad: Record<string, object> = {
    "no slots": { slots: [] },
    "slot ids twice": slotWith(1, { id: 1 }),
    "block size": { blockSize: 8192 },
    "feature twice": { features: ["trusted-records", "trusted-records"] },
    "generation 0": { generation: 0 },
    "segment of 0": { log: { segmentSize: 0, segments: 4 } },
    "segments beyond memory": { log: { segmentSize: 2 ** 24, segments: 1e9 } },
    "upper-case uuid": { uuid: uuid.toUpperCase() },
    "a member too many": { extra: 1 },
    "a member too many in log": { log: { segmentSize: 2 ** 24, segments: 4, x: 1 } },
    "short commitment": { commitment: "AAAA" },
    "region of another host": slotWith(0, { region: "us-east-1" }),
    "region that is no region": slotWith(0, {
      region: "x.evil.example",
      keyArn: "arn:aws:kms:x.evil.example:111122223333:key/a",
    }),
    "context with kmsfs's own names": slotWith(0, { context: { "kmsfs:volume": "x" } }),
    "context that is no string": slotWith(0, { context: { a: 1 } }),
    "relative keyfile": slotWith(1, { path: "k" }),
    "control characters in a label": slotWith(1, { label: "\u001b[2J" }),
    "scrypt that eats the memory": slotWith(2, { n: 2 ** 30 }),
    "scrypt, no power of two": slotWith(2, { n: 2 ** 17 + 1 }),
    "scrypt, wide": slotWith(2, { n: 2 ** 18, r: 16 }),
    "scrypt for ever": slotWith(2, { p: 1000 }),
    "scrypt for nothing": slotWith(2, { n: 2 }),
    "unknown provider": slotWith(2, { provider: "rot13" }),
  };
  for (const [what, changes] of Object.entries(bad)) t.equal(fate(resealed(changes)), "damaged", what);
});
