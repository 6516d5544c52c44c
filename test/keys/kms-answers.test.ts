import { readdirSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import { editHeader } from "../support/headers.js";
import { kmsFixture } from "../support/kms-fixture.js";
import type { KeyState } from "../support/kms-keys.js";
import { runKmsfs, showsKey } from "../support/run-kmsfs.js";

const { scratch, kms, key, other, env, volume, made, check, init, refusedWith } = await kmsFixture(t);
const firstRequests = [...kms.requests];
t.beforeEach(() => {
  kms.requests.length = 0;
});

t.test("init calls GenerateDataKey once, with the whole context", async (t) => {
  const { header } = editHeader(volume);
  t.same(firstRequests, [
    {
      region: kms.region,
      operation: "GenerateDataKey",
      input: {
        KeyId: "alias/phi",
        KeySpec: "AES_256",
        EncryptionContext: { team: "billing", "kmsfs:volume": header.uuid, "kmsfs:domain": "volume" },
      },
    },
  ]);
  t.match(header.slots, [{ keyArn: key.arn, region: kms.region, context: { team: "billing" } }]);
  t.notOk(showsKey(made.stdout + made.stderr, kms.keys.handedOut));
  t.notOk(showsKey(JSON.stringify(header), kms.keys.handedOut), "and none in volume.json");
});

t.test("unlock calls Decrypt once, by the slot's ARN, in the slot's region", async (t) => {
  const { AWS_REGION: _, ...regionless } = env;
  const opened = await runKmsfs(["key", "check", volume], regionless);
  t.equal(opened.code, "Ok", opened.stderr);
  const { header } = editHeader(volume);
  const [slot] = header.slots;
  t.match(kms.requests, [
    {
      operation: "Decrypt",
      input: {
        KeyId: key.arn,
        CiphertextBlob: slot?.blob,
        EncryptionContext: { team: "billing", "kmsfs:volume": header.uuid, "kmsfs:domain": "volume" },
      },
    },
  ]);
  t.equal(kms.requests.length, 1);
  t.notOk(showsKey(opened.stdout + opened.stderr, kms.keys.handedOut));
});

const STATES: [KeyState, string, RegExp][] = [
  ["Disabled", "KmsKeyDisabled", /enable-key --key-id/],
  ["PendingDeletion", "KmsKeyUnusable", /cancel-key-deletion --key-id/],
];
for (const [state, code, advice] of STATES) {
  t.test(`key ${state}: at init and at unlock`, async (t) => {
    key.state = state;
    const unlocked = await check();
    refusedWith(t, unlocked, code, advice);
    t.match(unlocked.stderr, `kms:Decrypt with ${key.arn} (slot 1, region ${kms.region})`);
    refusedWith(t, await init(), code, /kms:GenerateDataKey with alias\/phi/);
  });
}

t.test("access denied: the message names the action that is missing", async (t) => {
  kms.keys.denied.add("kms:Decrypt").add("kms:GenerateDataKey");
  refusedWith(t, await check(), "KmsDenied", new RegExp(`allow kms:Decrypt on ${key.arn}`));
  refusedWith(t, await init(), "KmsDenied", /allow kms:GenerateDataKey on alias\/phi/);
});

t.test("a blob that another key made: its own error, where moto says access denied", async (t) => {
  const { header, write } = editHeader(volume);
  write({ ...header, slots: header.slots.map((slot) => ({ ...slot, keyArn: other.arn })) });
  const refused = await check(["--kms-key", other.arn]);
  write(header);
  refusedWith(t, refused, "KmsIncorrectKey", /another KMS key than the slot names/);
});

t.test("a key that the pin does not allow is never asked", async (t) => {
  const { header, write } = editHeader(volume);
  write({ ...header, slots: header.slots.map((slot) => ({ ...slot, keyArn: other.arn })) });
  const refused = await check();
  write(header);
  refusedWith(t, refused, "PinMismatch", new RegExp(other.arn));
  t.equal(kms.requests.length, 0);
});

t.test("credentials: none, unknown ones, a wrong secret, a service for them that hangs", async (t) => {
  const { AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...without } = env;
  const none = await runKmsfs(["key", "check", volume], without);
  refusedWith(t, none, "NoCredentials", /no credentials; give the instance a role/);
  refusedWith(t, await check([], { AWS_ACCESS_KEY_ID: "AKIDOTHER" }), "NoCredentials", /UnrecognizedClient/);
  const wrong = await check([], { AWS_SECRET_ACCESS_KEY: "other" });
  refusedWith(t, wrong, "NoCredentials", /InvalidSignature/);

  const hanging = createServer(() => undefined);
  await new Promise<void>((listening) => hanging.listen(0, "127.0.0.1", listening));
  t.teardown(() => hanging.close());
  t.teardown(() => hanging.closeAllConnections());
  const uri = `http://127.0.0.1:${(hanging.address() as AddressInfo).port}/`;
  // Two seconds: long enough for the SDK's credential provider to give its own opinion on console.warn.
  for (const seconds of [1, 2]) {
    const waited = await runKmsfs(["key", "check", volume, "--kms-timeout", String(seconds)], {
      ...without,
      AWS_CONTAINER_CREDENTIALS_FULL_URI: uri,
    });
    refusedWith(t, waited, "KmsTimeout", new RegExp(`within ${seconds} s`));
  }
});

t.test("no region: an alias does not say where it is, an ARN does", async (t) => {
  const { AWS_REGION: _, ...regionless } = env;
  const fresh = scratch.file("fresh");
  refusedWith(
    t,
    await runKmsfs(["init", fresh, "--kms-key", "alias/phi"], regionless),
    "NoRegion",
    /AWS_REGION/,
  );
  const byArn = await runKmsfs(["init", scratch.file("by-arn"), "--kms-key", key.arn], regionless);
  t.equal(byArn.code, "Ok", byArn.stderr);
});

t.test("bad options are refused before KMS is asked", async (t) => {
  const bad: [string[], RegExp][] = [
    [["--context", "kmsfs:volume=x"], /kmsfs:\*/],
    [["--context", "KMSFS:domain=x"], /kmsfs:\*/],
    [["--context", "team"], /NAME=VALUE/],
    [["--context", "=x"], /NAME=VALUE/],
    [["--context", "team="], /empty/],
    [["--context", "a=1", "--context", "a=2"], /twice/],
    [["--context", `a=${"x".repeat(8192)}`], /larger than/],
    [["--kms-timeout", "0"], /--kms-timeout/],
    [["--kms-timeout", "abc"], /--kms-timeout is not a number of seconds/],
    [["--keyfile", scratch.file("k")], /exactly one/],
  ];
  for (const [args, message] of bad) refusedWith(t, await init(args), "Usage", message);
  refusedWith(t, await check(["--kms-key", "alias/phi"]), "Usage", /not the ARN/);
  t.equal(kms.requests.length, 0);
  t.same(readdirSync(scratch.path).sort(), ["by-arn", "etc", "log", "volume"], "and nothing was made");
});
