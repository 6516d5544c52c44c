/** Key slots by the CLI: KMS keys of several regions and accounts, key files, passphrases, recovery keys. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { editHeader } from "../support/headers.js";
import { kmsFixture } from "../support/kms-fixture.js";
import { type Outcome, runKmsfs, showsKey } from "../support/run-kmsfs.js";

const { scratch, kms, key, env, volume, check } = await kmsFixture(t);
const far = kms.addRegion("us-west-2");
const farKey = far.keys.add("phi-dr", "444455556666");
t.beforeEach(() => {
  far.behaviour = { kind: "normal" };
  kms.requests.length = 0;
});

const run = (args: string[], input = ""): Promise<Outcome> => runKmsfs(["key", ...args], env, input);
const header = () => editHeader(volume).header;
const previous = () => readFileSync(`${volume}/.kmsfs/volume.json.bak`, "utf8");
const pin = () => JSON.parse(readFileSync(scratch.file(`etc/${header().uuid}.json`), "utf8"));
const ids = () => header().slots.map((slot) => slot.id);
const asked = () => kms.requests.map(({ operation, region }) => `${operation} ${region}`);
const context = (pairs: object = {}) => ({
  ...pairs,
  "kmsfs:volume": header().uuid,
  "kmsfs:domain": "volume",
});

function good(outcome: Outcome): Outcome {
  if (outcome.code !== "Ok") throw new Error(outcome.stderr);
  return outcome;
}

t.test(
  "add: a KMS key of another region and account, by Encrypt with the whole context, tried",
  async (t) => {
    const added = good(
      await run(["add", volume, "--new-kms-key", farKey.arn, "--context", "site=dr", "--label", "west"]),
    );
    t.match(added.stdout, `added slot 2 "west": aws-kms, ${farKey.arn}, region us-west-2, context site=dr`);
    t.same(asked(), ["Decrypt eu-central-1", "Encrypt us-west-2", "Decrypt us-west-2"]);
    t.match(kms.requests[1]?.input, {
      KeyId: farKey.arn,
      EncryptionContext: context({ site: "dr" }),
    });
    t.equal(header().generation, 2);
    t.match(header().slots, [{ id: 1 }, { id: 2, keyArn: farKey.arn, region: "us-west-2", label: "west" }]);
    t.same(pin().keyArns, [key.arn, farKey.arn], "the pin allows it");
    t.equal(pin().lowestGeneration, 2);
    t.equal(JSON.parse(previous()).generation, 1, "the generation before is kept");
    t.notOk(showsKey(added.stdout + added.stderr, kms.keys.handedOut));
  },
);

t.test(
  "a dead region leaves time for the next slot, and a key that is refused is not asked again",
  async (t) => {
    kms.behaviour = { kind: "hang" };
    const opened = good(await check(["--kms-timeout", "6"]));
    t.match(opened.stdout, `slot 2 (aws-kms, ${farKey.arn}`);
    kms.behaviour = { kind: "normal" };
    key.state = "PendingImport";
    far.behaviour = { kind: "throttle", times: 4 };
    kms.requests.length = 0;
    const late = good(await runKmsfs(["key", "check", volume], { ...env, AWS_MAX_ATTEMPTS: "2" }));
    t.match(late.stderr, /^(kmsfs: waiting: .*throttled.*; trying again for \d+ s \(--kms-timeout\)\n){2}$/);
    t.equal(asked().filter((request) => request === "Decrypt eu-central-1").length, 1);
  },
);

t.test("no slot opens within the deadline: what may pass decides the exit code", async (t) => {
  key.state = "Disabled";
  far.behaviour = { kind: "proxy", status: 503 };
  const refused = await runKmsfs(["key", "check", volume, "--kms-timeout", "2"], {
    ...env,
    AWS_MAX_ATTEMPTS: "1",
  });
  t.equal(refused.code, "KmsUnreachable", refused.stderr);
  t.match(refused.stderr, /no slot opened the volume: .*disabled.*; also: .*did not answer as KMS/);
});

t.test(
  "add: a new slot that may not be opened here is said; one that cannot be made changes nothing",
  async (t) => {
    const before = readFileSync(`${volume}/.kmsfs/volume.json`);
    far.keys.denied.add("kms:Encrypt");
    const denied = await run(["add", volume, "--new-kms-key", farKey.arn]);
    t.equal(denied.code, "KmsDenied");
    t.match(denied.stderr, `allow kms:Encrypt on ${farKey.arn}`);
    far.keys.denied.clear();
    farKey.state = "PendingDeletion";
    t.equal((await run(["add", volume, "--new-kms-key", farKey.arn])).code, "KmsKeyUnusable");
    farKey.state = "Enabled";
    far.behaviour = { kind: "proxy", status: 403 };
    t.match((await run(["add", volume, "--new-kms-key", farKey.arn])).stderr, /did not answer as KMS/);
    far.behaviour = { kind: "normal" };
    t.equal((await run(["add", volume])).code, "Usage");
    t.equal((await run(["add", volume, "--new-keyfile", "a", "--recovery"])).code, "Usage");
    t.equal((await run(["add", volume, "--recovery", "--context", "a=b"])).code, "Usage");
    t.equal((await run(["add", volume, "--new-keyfile", `${volume}/key`])).code, "KeyFile");
    t.ok(readFileSync(`${volume}/.kmsfs/volume.json`).equals(before), "nothing was changed");

    far.keys.denied.add("kms:Decrypt");
    const added = good(
      await run(["add", volume, "--new-kms-key", "arn:aws:kms:us-west-2:444455556666:alias/phi-dr"]),
    );
    t.match(added.stderr, /warning: the new slot could not be tried: kms:Decrypt .*key check/);
    far.keys.denied.clear();
    good(await run(["remove", volume, "3"]));
  },
);

t.test("multi-region keys: a slot for each replica, each asked in its own region", async (t) => {
  const primary = kms.keys.addMultiRegion("mrk");
  const replica = far.keys.addMultiRegion("mrk", primary);
  good(await run(["add", volume, "--new-kms-key", primary.arn]));
  good(await run(["add", volume, "--new-kms-key", replica.arn]));
  const [a, b] = header().slots.slice(-2);
  t.match([a, b], [{ keyArn: /eu-central-1.*key\/mrk-/ }, { keyArn: /us-west-2.*key\/mrk-/ }]);
  kms.behaviour = { kind: "proxy", status: 502 };
  const only = ["--kms-key", replica.arn];
  t.match(good(await check(only)).stdout, replica.arn);
  kms.behaviour = { kind: "normal" };
  for (const slot of [a, b]) good(await run(["remove", volume, String(slot?.id)]));
  t.ok((a?.id ?? 0) > 3, "no number of a removed slot comes again");
});

t.test("rotate: KMS re-encrypts, under the same key, another one, another context", async (t) => {
  const next = kms.keys.add("phi-2027", "444455556666");
  const blob = () => header().slots.find((slot) => slot.id === 1)?.blob;
  const old = blob();
  good(await run(["rotate", volume, "1"]));
  t.same(asked(), ["Decrypt eu-central-1", "ReEncrypt eu-central-1", "Decrypt eu-central-1"]);
  t.match(kms.requests[1]?.input, {
    SourceKeyId: key.arn,
    SourceEncryptionContext: context({ team: "billing" }),
    DestinationKeyId: key.arn,
    DestinationEncryptionContext: context({ team: "billing" }),
  });
  t.not(blob(), old);
  kms.requests.length = 0;
  good(await run(["rotate", volume, "1", "--new-kms-key", next.arn, "--context", "team=records"]));
  t.match(kms.requests[1]?.input, {
    SourceEncryptionContext: context({ team: "billing" }),
    DestinationKeyId: next.arn,
    DestinationEncryptionContext: context({ team: "records" }),
  });
  t.match(header().slots[0], { id: 1, keyArn: next.arn, context: { team: "records" } });
  t.notMatch(previous(), key.arn, "the old key is in neither generation");
  t.notOk(pin().keyArns.includes(key.arn), "and no longer trusted");
  t.match(good(await check()).stdout, next.arn);
  kms.keys.denied.add("kms:ReEncryptTo");
  const denied = await run(["rotate", volume, "1", "--new-kms-key", key.arn]);
  t.equal(denied.code, "KmsDenied");
  t.match(denied.stderr, /allow kms:ReEncrypt\*/);
  kms.keys.denied.clear();
  const across = await run(["rotate", volume, "1", "--new-kms-key", farKey.arn]);
  t.equal(across.code, "Usage");
  t.match(across.stderr, /within a region alone; add a slot/);
  t.match((await run(["rotate", volume, "1", "--recovery"])).stderr, /aws-kms slot/);
  t.match((await run(["rotate", volume, "9"])).stderr, /no slot 9, only 1, 2/);
  good(await run(["rotate", volume, "1", "--new-kms-key", key.arn, "--context", "team=billing"]));
});

t.test(
  "a recovery key: alone on standard output, opens in any spelling, rotates, and opens no more",
  async (t) => {
    const added = good(await run(["add", volume, "--recovery"]));
    t.match(added.stdout, /^([bcdefghijklnrtuv]{8}-){7}[bcdefghijklnrtuv]{8}\n$/);
    t.match(added.stderr, /added slot (\d+) "recovery"/);
    const id = /added slot (\d+)/.exec(added.stderr)?.[1] ?? "";
    good(await run(["add", volume, "--new-passphrase-file", "-"], "another passphrase\n"));
    for (const spelling of [added.stdout.toUpperCase().replaceAll("-", " "), "another passphrase\n"]) {
      good(await run(["check", volume, "--passphrase-file", "-"], spelling));
    }
    kms.behaviour = { kind: "hang" };
    far.behaviour = { kind: "hang" };
    const rotated = good(
      await run(["rotate", volume, id, "--recovery", "--passphrase-file", "-"], added.stdout),
    );
    t.not(rotated.stdout, added.stdout);
    const old = await run(["check", volume, "--passphrase-file", "-"], added.stdout);
    t.equal(old.code, "WrongKey", "and no KMS was needed");
    good(await run(["check", volume, "--passphrase-file", "-"], rotated.stdout));
    const file = scratch.file("recovery");
    writeFileSync(file, rotated.stdout, { mode: 0o600 });
    for (const passphrase of ids().slice(-1)) {
      good(await run(["remove", volume, String(passphrase), "--passphrase-file", file]));
    }
  },
);

t.test("remove: only when another slot opens, never the last, from both generations", async (t) => {
  farKey.state = "Disabled";
  const stays = await run(["remove", volume, "1"]);
  t.equal(stays.code, "KmsKeyDisabled");
  t.match(stays.stderr, /slot 1 stays: no other one opens the volume: /);
  farKey.state = "Enabled";
  key.state = "Disabled";
  const blob = header().slots.find((slot) => slot.id === 1)?.blob ?? "";
  const removed = good(await run(["remove", volume, "1"]));
  t.match(removed.stdout, /^removed slot 1: .*\nthis is no revocation by itself: snapshots/);
  t.notMatch(readFileSync(`${volume}/.kmsfs/volume.json`, "utf8"), blob);
  t.notMatch(previous(), blob);
  t.ok(good(await check(["--use-previous-header"])));
  t.notOk(pin().keyArns.includes(key.arn));
  for (const id of ids().slice(1)) good(await run(["remove", volume, String(id)]));
  const last = await run(["remove", volume, String(ids()[0])]);
  t.equal(last.code, "Usage");
  t.match(last.stderr, /is the last one/);
  t.equal((await run(["remove", volume, "x"])).code, "Usage");
});

t.test("a key file that was made for a slot that was not is gone again", async (t) => {
  const path = scratch.file("fresh.key");
  const wide = scratch.file("wide");
  writeFileSync(wide, "x".repeat(32), { mode: 0o644 });
  t.equal((await run(["add", volume, "--new-keyfile", wide])).code, "KeyFile");
  farKey.state = "Disabled";
  t.not((await run(["add", volume, "--new-keyfile", path])).code, "Ok");
  farKey.state = "Enabled";
  t.notOk(existsSync(path));
  good(await run(["add", volume, "--new-keyfile", path]));
  t.ok(existsSync(path));
});

t.test("many at once lose no slot, and no pin", async (t) => {
  const before = ids().length;
  const generation = header().generation;
  const many = await Promise.all(
    Array.from({ length: 6 }, (_, i) =>
      i % 2 === 0
        ? run(["add", volume, "--new-keyfile", scratch.file(`many${i}`), "--label", `n${i}`])
        : run(["add", volume, "--new-kms-key", kms.keys.add(`many${i}`).arn, "--label", `n${i}`]),
    ),
  );
  for (const outcome of many) good(outcome);
  t.equal(ids().length, before + 6);
  t.equal(new Set(ids()).size, before + 6);
  t.equal(header().generation, generation + 6);
  t.equal(pin().lowestGeneration, generation + 6);
  const arns = header().slots.flatMap((slot) => (slot.provider === "aws-kms" ? [slot.keyArn] : []));
  t.same(new Set(pin().keyArns), new Set(arns));
});
