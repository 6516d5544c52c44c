import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { FAMILIES } from "../../src/metrics/definitions.js";
import { metricsDocument } from "../../src/metrics/document.js";
import { expose, type Format, sampleName } from "../../src/metrics/exposition.js";
import { quantile } from "../../src/metrics/quantile.js";
import { packageRoot } from "../../src/package-root.js";
import { TestVolume } from "../support/test-volume.js";

interface Parsed {
  readonly name: string;
  readonly type: string;
  readonly unit: string;
  readonly help: string;
  readonly samples: readonly { name: string; labels: Record<string, string>; value: number }[];
}

/** What an implementation of the two formats that is not ours makes of a text. Throws where it refuses it. */
function parsed(text: string, format: Format): Parsed[] {
  const script = join(packageRoot(), "scripts/setup-prometheus.sh");
  const python = execFileSync(script, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }).trim();
  const parser = join(packageRoot(), "test/metrics/parse.py");
  const { status, stdout, stderr } = spawnSync(python, [parser, format], { input: text, encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Parsed[];
}

function value(
  families: readonly Parsed[],
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  const samples = families.flatMap((family) => family.samples).filter((sample) => sample.name === name);
  return samples.find((sample) => Object.entries(labels).every(([key, text]) => sample.labels[key] === text))
    ?.value;
}

function fetchOver(
  socketPath: string,
  path: string,
  accept: string,
): Promise<{ status: number; type: string; text: string }> {
  return new Promise((done, failed) => {
    get({ socketPath, path, headers: { accept } }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on("end", () =>
        done({ status: response.statusCode ?? 0, type: response.headers["content-type"] ?? "", text }),
      );
    }).on("error", failed);
  });
}

t.test("docs/metrics.md lists the metrics that there are", (t: Test) => {
  t.equal(
    readFileSync(join(packageRoot(), "docs/metrics.md"), "utf8"),
    metricsDocument(),
    "scripts/metrics-doc.sh writes it anew",
  );
  t.end();
});

t.test("names follow the conventions", (t: Test) => {
  const names = FAMILIES.map((family) => family.name);
  t.equal(new Set(names).size, names.length, "each once");
  for (const { name, unit, type, help, labels } of FAMILIES) {
    t.match(name, /^kmsfs(_[a-z0-9]+)+$/);
    t.notMatch(name, /_(total|count|sum|bucket|info)$/, "suffixes are the exposition's");
    if (unit !== undefined) t.ok(name.endsWith(`_${unit}`), `${name} ends in its unit`);
    else t.notMatch(name, /_(bytes|seconds|ratio)$/, `${name} has the unit that it ends in`);
    if (type === "histogram") t.equal(unit, "seconds");
    t.match(help, /^[^\n]+\.$/);
    for (const label of labels ?? []) t.match(label, /^[a-z]+$/);
  }
  t.end();
});

t.test("quantiles lie where the counts say", (t: Test) => {
  t.equal(quantile([10, 20, 30], [0, 100, 0, 0], 0.5), 15);
  t.equal(quantile([10, 20, 30], [50, 50, 0, 0], 0.5), 10);
  t.equal(quantile([10, 20, 30], [0, 0, 0, 7], 0.99), 30, "beyond the last bound");
  t.equal(quantile([10, 20, 30], [1, 0, 0, 1], 1), 30);
  t.ok(Number.isNaN(quantile([10, 20, 30], [0, 0, 0, 0], 0.5)));
  t.end();
});

t.test("awkward labels survive", async (t: Test) => {
  const dir = '/mnt/a "b" \\c\nd';
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const mount = { ...(await volume.status()), dir };
  for (const format of ["openmetrics", "prometheus"] as const) {
    t.equal(value(parsed(expose([mount], format), format), "kmsfs_mount_up", { mountpoint: dir }), 1, format);
  }
  await volume.down(t);
});

t.test("a mount's numbers, by all ways, as independent parsers read them", async (t: Test) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  writeFileSync(volume.at("f"), Buffer.alloc(100_000, 1));
  readFileSync(volume.at("f"));
  t.throws(() => statSync(volume.at("none")));
  spawnSync("sync", [volume.at("f")]);
  const { uuid } = await volume.status();

  const printed = await volume.run("metrics", volume.dir);
  t.equal(printed.code, "Ok");
  const families = parsed(printed.stdout, "openmetrics");
  const labels = { volume: uuid ?? "", mountpoint: volume.dir };
  for (const family of families) {
    const definition = FAMILIES.find(({ name }) => name === family.name);
    t.match(family, { type: definition?.type, unit: definition?.unit ?? "" }, family.name);
    t.ok(family.help.startsWith(`[${definition?.stability}] `));
    for (const sample of family.samples) if (family.type !== "info") t.match(sample.labels, labels);
  }
  const quiet = ["kmsfs_scrub_progress_ratio", "kmsfs_scrub_checked_bytes", "kmsfs_scrub_findings"];
  quiet.push("kmsfs_scrub_last_done_time_seconds", "kmsfs_scrub_last_done_findings", "kmsfs_request_errors");
  const missing = FAMILIES.map(({ name }) => name).filter((name) => !families.some((f) => f.name === name));
  t.strictSame(
    missing.filter((name) => !quiet.includes(name)),
    [],
    "all that are documented are there",
  );
  t.equal(value(families, "kmsfs_written_bytes_total", labels), 100_000);
  t.equal(value(families, "kmsfs_requests_total", { ...labels, opcode: "create" }), 1);
  t.ok((value(families, "kmsfs_log_flush_duration_seconds_count", labels) ?? 0) >= 1);
  const write = { ...labels, operation: "write" };
  t.equal(
    value(families, "kmsfs_request_duration_seconds_count", write),
    value(families, "kmsfs_requests_total", { ...labels, opcode: "write" }),
    "each write is in a bucket",
  );
  t.ok((value(families, "kmsfs_request_duration_seconds_sum", write) ?? 0) > 0);
  t.equal(
    value(families, "kmsfs_engine_memory_locked", labels),
    (await volume.status()).memoryLocked ? 1 : 0,
  );

  t.comment("over the control socket");
  const [run] = readdirSync(volume.scratch.file("run"));
  const socket = join(volume.scratch.file("run"), run ?? "", "control.sock");
  const open = await fetchOver(
    socket,
    "/metrics",
    "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
  );
  t.match(open, { status: 200, type: /^application\/openmetrics-text; version=1\.0\.0/ });
  t.equal(value(parsed(open.text, "openmetrics"), "kmsfs_written_bytes_total", labels), 100_000);
  const plain = await fetchOver(socket, "/metrics", "text/plain");
  t.match(plain, { status: 200, type: /^text\/plain; version=0\.0\.4/ });
  t.equal((await fetchOver(socket, "/", "*/*")).status, 404);

  t.comment("as a textfile");
  const file = volume.scratch.file("kmsfs.prom");
  t.equal((await volume.run("metrics", "--textfile", file)).code, "Ok");
  t.equal(statSync(file).mode & 0o777, 0o644);
  t.strictSame(
    readdirSync(volume.scratch.path).filter((name) => name.includes("prom")),
    ["kmsfs.prom"],
    "nothing beside it",
  );
  const collected = parsed(readFileSync(file, "utf8"), "prometheus");
  t.ok(
    collected.every(({ type }) => ["counter", "gauge", "histogram"].includes(type)),
    "types of the older format",
  );
  t.equal(value(collected, "kmsfs_written_bytes_total", labels), 100_000);
  t.equal((await volume.run("metrics", "--textfile", "/nonexistent/x.prom")).code, "Unexpected");
  t.equal((await volume.run("metrics", "/nonexistent")).code, "NotMounted");
  t.equal((await volume.run("metrics", "--interval", "1")).code, "Usage");
  await volume.down(t);
  t.equal(sampleName(FAMILIES[0] as (typeof FAMILIES)[0]), "kmsfs_build_info");
});
