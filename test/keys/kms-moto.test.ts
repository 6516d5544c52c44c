import { readFileSync } from "node:fs";
import { CreateAliasCommand, CreateKeyCommand, EncryptCommand, KMSClient } from "@aws-sdk/client-kms";
import t from "tap";
import { editHeader } from "../support/headers.js";
import { startMoto } from "../support/moto.js";
import { runKmsfs, Scratch } from "../support/run-kmsfs.js";

// The SDK's plans for Node versions are no part of this output.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = "true";

t.test("aws-kms against moto, an independent implementation of the KMS API", async (t) => {
  const scratch = new Scratch();
  t.teardown(() => scratch.remove());
  const moto = await startMoto();
  t.teardown(() => moto.stop());
  const env = { ...scratch.environment(), ...moto.environment };
  const client = new KMSClient({
    endpoint: moto.url,
    region: "us-east-1",
    credentials: { accessKeyId: "testing", secretAccessKey: "testing" },
  });
  t.teardown(() => client.destroy());
  const newKey = async (alias: string) => {
    const { KeyMetadata } = await client.send(new CreateKeyCommand({}));
    const id = KeyMetadata?.KeyId ?? "";
    await client.send(new CreateAliasCommand({ AliasName: `alias/${alias}`, TargetKeyId: id }));
    return { id, arn: KeyMetadata?.Arn ?? "" };
  };
  const key = await newKey("phi");
  const other = await newKey("other");
  const make = async (name: string) => {
    const backing = scratch.file(name);
    const made = await runKmsfs(
      ["init", backing, "--kms-key", "alias/phi", "--context", "team=billing"],
      env,
    );
    t.equal(made.code, "Ok", made.stderr);
    return { backing, ...editHeader(backing) };
  };
  const check = (backing: string, ...more: string[]) => runKmsfs(["key", "check", backing, ...more], env);

  await t.test("init wraps the key, unlock opens it", async (t) => {
    const { backing, header } = await make("good");
    t.match(header.slots, [
      { provider: "aws-kms", keyArn: key.arn, region: "us-east-1", context: { team: "billing" } },
    ]);
    const opened = await check(backing);
    t.equal(opened.code, "Ok", opened.stderr);
    t.match(opened.stdout, "MAC and commitment verified");
  });

  await t.test("wrong context: the blob does not open", async (t) => {
    const { backing, header, write } = await make("context");
    write({ ...header, slots: header.slots.map((slot) => ({ ...slot, context: { team: "sales" } })) });
    const refused = await check(backing);
    t.equal(refused.code, "KmsCiphertext", refused.stderr);
    t.match(refused.stderr, /--use-previous-header/);
    t.equal((await check(backing, "--use-previous-header")).code, "Ok");
  });

  await t.test(
    "a blob of another volume under the same key does not open: the context is computed",
    async (t) => {
      const one = await make("one");
      const two = await make("two");
      one.write({ ...one.header, slots: two.header.slots });
      t.equal((await check(one.backing)).code, "KmsCiphertext");
    },
  );

  await t.test("unknown key, at init and at unlock", async (t) => {
    const missing = await runKmsfs(["init", scratch.file("none"), "--kms-key", "alias/absent"], env);
    t.equal(missing.code, "KmsKeyNotFound", missing.stderr);
    t.match(missing.stderr, /^kmsfs: kms:GenerateDataKey with alias\/absent \(region us-east-1\): [^\n]+\n$/);
    const { backing, header, write } = await make("unknown");
    const gone = key.arn.replace(key.id, "00000000-0000-4000-8000-000000000000");
    write({ ...header, slots: header.slots.map((slot) => ({ ...slot, keyArn: gone })) });
    t.equal((await check(backing)).code, "PinMismatch", "the pin allows the key of init alone");
    const asked = await check(backing, "--kms-key", gone);
    t.equal(asked.code, "KmsKeyNotFound", asked.stderr);
    t.match(asked.stderr, gone);
  });

  await t.test("damaged blob", async (t) => {
    const { backing, header, write } = await make("blob");
    const damaged = header.slots.map((slot) => {
      const blob = Buffer.from(slot.blob, "base64");
      blob[blob.length - 1] = (blob[blob.length - 1] ?? 0) ^ 1;
      return { ...slot, blob: blob.toString("base64") };
    });
    write({ ...header, slots: damaged });
    const refused = await check(backing);
    t.equal(refused.code, "KmsCiphertext", refused.stderr);
    t.match(refused.stderr, /differs from its copy/);
  });

  await t.test("a key of the attacker's own: what it opens is not the volume's key", async (t) => {
    const { backing, header, write } = await make("foreign");
    const { CiphertextBlob } = await client.send(
      new EncryptCommand({
        KeyId: other.arn,
        Plaintext: Buffer.alloc(32, 7),
        EncryptionContext: { "kmsfs:volume": header.uuid, "kmsfs:domain": "volume", team: "billing" },
      }),
    );
    const blob = Buffer.from(CiphertextBlob ?? []).toString("base64");
    write({ ...header, slots: header.slots.map((slot) => ({ ...slot, keyArn: other.arn, blob })) });
    const pinned = await check(backing);
    t.equal(pinned.code, "PinMismatch", pinned.stderr);
    const forced = await check(backing, "--kms-key", other.arn);
    t.equal(forced.code, "Damaged", forced.stderr);
    t.match(forced.stderr, /commits to another key/);
  });

  await t.test("slots: another region by Encrypt, rotation by ReEncrypt, removal", async (t) => {
    const { backing } = await make("slots");
    const west = new KMSClient({
      endpoint: moto.url,
      region: "us-west-2",
      credentials: { accessKeyId: "testing", secretAccessKey: "testing" },
    });
    t.teardown(() => west.destroy());
    // Not a multi-region one: moto makes those with longer ids than its ciphertexts have room for.
    const { KeyMetadata } = await west.send(new CreateKeyCommand({}));
    const far = KeyMetadata?.Arn ?? "";
    t.match(far, /^arn:aws:kms:us-west-2:/);
    for (const args of [
      ["add", backing, "--new-kms-key", far, "--context", "site=dr"],
      ["rotate", backing, "1"],
      ["rotate", backing, "1", "--new-kms-key", "alias/other", "--context", "team=records"],
      ["rotate", backing, "2", "--context", "site=west"],
      ["check", backing, "--kms-key", far],
      ["check", backing, "--kms-key", other.arn],
    ]) {
      const outcome = await runKmsfs(["key", ...args], env);
      t.equal(outcome.code, "Ok", `${args[0]}: ${outcome.stderr}`);
    }
    t.match(editHeader(backing).header.slots, [
      { id: 1, keyArn: other.arn, context: { team: "records" } },
      { id: 2, keyArn: far, region: "us-west-2", context: { site: "west" } },
    ]);
    const removed = await runKmsfs(["key", "remove", backing, "1"], env);
    t.equal(removed.code, "Ok", removed.stderr);
    t.match((await check(backing)).stdout, far);
  });

  t.equal(readFileSync(scratch.file("good/.kmsfs/volume.json")).includes("kmsfs:volume"), false);
});
