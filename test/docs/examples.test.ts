/** The examples of the documents, run as they stand. */

import { execFile, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { CreateAliasCommand, CreateKeyCommand, KMSClient } from "@aws-sdk/client-kms";
import t from "tap";
import { packageRoot } from "../../src/package-root.js";
import { EbsStandin } from "../support/ebs-standin.js";
import { startMoto } from "../support/moto.js";
import { Scratch } from "../support/run-kmsfs.js";
import { examplesOf, scriptOf } from "./examples.js";

const PAGES = ["README.md", "docs/operations.md", "docs/iam.md"];
const KEYS = [
  ["eu-central-1", "alias/phi"],
  ["eu-west-1", "alias/phi-dr"],
] as const;

t.test("a page's examples: sh blocks and hidden commands, and no others", (t) => {
  const page = "a\n```sh\none\ntwo # exits 6\n```\n<!-- run: three -->\n```ini\nfour\n```\n    five\n";
  const examples = examplesOf(page);
  t.strictSame(
    examples.map(({ line, commands }) => [line, commands]),
    [
      [3, ["one", "two # exits 6"]],
      [6, ["three"]],
    ],
  );
  const run = (text: string) =>
    spawnSync("bash", ["-c", scriptOf("page", examplesOf(`\`\`\`sh\n${text}\n\`\`\`\n`))], {
      encoding: "utf8",
    });
  t.equal(run("true").status, 0);
  t.equal(run("(exit 6)   # exits 6").status, 0);
  t.match(run("(exit 5)   # exits 6"), { status: 1, stderr: /^page:2: exits 5, the page says 6/m });
  t.match(run("true\nfalse"), { status: 1, stderr: /^page:2: false: status 1/m });
  t.end();
});

t.test("policies and other JSON can be parsed", (t) => {
  for (const page of PAGES) {
    for (const { line, commands } of examplesOf(readFileSync(join(packageRoot(), page), "utf8"), "json")) {
      t.doesNotThrow(() => JSON.parse(commands.join("\n")), `${page}:${line}`);
    }
  }
  t.end();
});

t.test("the pages", { skip: process.getuid?.() !== 0 && "needs root" }, async (t) => {
  const moto = await startMoto();
  t.teardown(() => moto.stop());
  const ebs = await EbsStandin.start(KEYS[0][0]);
  t.teardown(() => ebs.stop());
  const credentials = { accessKeyId: "testing", secretAccessKey: "testing" };
  for (const [region, alias] of KEYS) {
    const client = new KMSClient({ region, endpoint: moto.url, credentials });
    const { KeyMetadata } = await client.send(new CreateKeyCommand({}));
    await client.send(new CreateAliasCommand({ AliasName: alias, TargetKeyId: KeyMetadata?.KeyId }));
    client.destroy();
  }

  for (const page of PAGES) {
    const examples = examplesOf(readFileSync(join(packageRoot(), page), "utf8"));
    if (examples.length === 0) continue;
    await t.test(page, async (t) => {
      const scratch = new Scratch();
      t.teardown(() => scratch.remove());
      const script = scratch.file("script");
      writeFileSync(script, scriptOf(page, examples));
      const environment = {
        PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        HOME: "/root",
        LANG: "C.UTF-8",
        ...moto.environment,
        ...ebs.environment(),
      };
      const settings = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
      const root = join(packageRoot(), "test/docs/private-root.sh");
      const args = ["-i", ...settings, root, scratch.path, packageRoot(), process.execPath, script];
      // Asynchronous: the stand-in for EBS has to answer meanwhile.
      const failure = await promisify(execFile)("env", args).catch(
        (error: { stdout: string; stderr: string }) => `${error.stderr}\n${error.stdout.slice(-2000)}`,
      );
      t.type(failure, "object", typeof failure === "string" ? failure : page);
    });
  }
});
