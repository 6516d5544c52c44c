/** Three volumes with a history, as an auditor may meet them: real commands, real mounts, keys in moto. */

import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CreateAliasCommand, CreateKeyCommand, KMSClient } from "@aws-sdk/client-kms";
import type { Test } from "tap";
import type { Report } from "../../src/report/facts.js";
import { startMoto } from "./moto.js";
import { type Outcome, runKmsfs } from "./run-kmsfs.js";
import { TestVolume } from "./test-volume.js";

// The SDK's plans for Node versions are no part of this output.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = "true";

export const HOSTILE_LABEL = `"><script>alert('label')</script>`;
export const HOSTILE_CONTEXT = "<img src=x onerror=alert(1)>";
export const CLEAR_NAME = "patient-4711.txt";

export interface Estate {
  /** KMS in two regions and a recovery key; tampered with, which was read and verified; not mounted */
  readonly clinic: string;
  /** A key file alone; scrubbed, and mounted */
  readonly trial: TestVolume;
  /** A key file alone; a line of its audit chain was removed */
  readonly forged: string;
  readonly keyArns: readonly string[];
  readonly path: (name: string) => string;
  kmsfs(...args: string[]): Promise<Outcome>;
  report(...args: string[]): Promise<Report>;
}

export async function makeEstate(t: Test): Promise<Estate> {
  const moto = await startMoto();
  t.teardown(() => moto.stop());
  const trial = TestVolume.bare(t);
  const env = { ...trial.env, ...moto.environment };
  const path = (name: string) => trial.scratch.file(name);
  const kmsfs = (...args: string[]) => runKmsfs(args, env);
  const must = async (...args: string[]): Promise<string> => {
    const { code, stderr, stdout } = await kmsfs(...args);
    if (code !== "Ok") throw new Error(`kmsfs ${args.join(" ")}: ${stderr}`);
    return stdout;
  };
  const keyArns = await Promise.all(["us-east-1", "eu-central-1"].map((region) => newKey(moto.url, region)));
  const [first = "", second = ""] = keyArns;

  const clinic = path("clinic");
  await must("init", clinic, "--kms-key", "alias/phi", "--context", `team=${HOSTILE_CONTEXT}`);
  await must("key", "add", clinic, "--new-kms-key", second, "--label", HOSTILE_LABEL);
  const recovery = await must("key", "add", clinic, "--recovery", "--label", "in the safe");
  writeFileSync(path("recovery"), recovery, { mode: 0o600 });
  await must("key", "rotate", clinic, "1", "--new-kms-key", first);
  await must("mount", clinic, trial.dir);
  writeFileSync(join(trial.dir, CLEAR_NAME), Buffer.alloc(50_000, 7));
  await must("umount", trial.dir);
  flipByte(clinic);
  await must("mount", clinic, trial.dir);
  t.throws(() => readFileSync(join(trial.dir, CLEAR_NAME)), { code: "EIO" });
  await must("umount", trial.dir);
  t.equal((await kmsfs("verify", clinic)).code, "Tampered");
  writeFileSync(path("wrong"), "not the passphrase\n", { mode: 0o600 });
  t.equal((await kmsfs("key", "check", clinic, "--passphrase-file", path("wrong"))).code, "WrongKey");

  const forged = path("forged");
  await must("init", forged, "--keyfile", path("forged.key"));
  await must("key", "check", forged);
  await must("key", "check", forged);
  cutLine(path("log"), JSON.parse(await must("key", "list", forged, "--json")).uuid);

  await must("init", trial.backing, "--keyfile", trial.keyfile);
  await must("mount", trial.backing, trial.dir);
  writeFileSync(trial.at(CLEAR_NAME), Buffer.alloc(20_000, 1));
  await must("scrub", trial.dir, "--wait");

  const report = async (...args: string[]): Promise<Report> =>
    JSON.parse(await must("report", "--json", ...args)) as Report;
  return { clinic, trial, forged, keyArns, path, kmsfs, report };
}

async function newKey(endpoint: string, region: string): Promise<string> {
  const credentials = { accessKeyId: "testing", secretAccessKey: "testing" };
  const client = new KMSClient({ endpoint, region, credentials });
  try {
    const { KeyMetadata } = await client.send(new CreateKeyCommand({}));
    const id = KeyMetadata?.KeyId ?? "";
    await client.send(new CreateAliasCommand({ AliasName: "alias/phi", TargetKeyId: id }));
    return KeyMetadata?.Arn ?? "";
  } finally {
    client.destroy();
  }
}

/** In the content of the only file. */
function flipByte(backing: string): void {
  const [name = ""] = readdirSync(backing).filter((name) => statSync(join(backing, name)).isFile());
  const bytes = readFileSync(join(backing, name));
  bytes[9000] = (bytes[9000] ?? 0) ^ 1;
  writeFileSync(join(backing, name), bytes);
}

/** The third line of a chain, as somebody would who wants an opening forgotten. */
function cutLine(log: string, uuid: string): void {
  const file = join(log, `${uuid}.audit`);
  const lines = readFileSync(file, "utf8").split("\n");
  lines.splice(2, 1);
  writeFileSync(file, lines.join("\n"));
}
