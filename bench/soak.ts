/**
 * npm run soak -- [--minutes N] [--seed N]: works in one mount for long, with native/torture, whose models say whether
 * what is read is right; and looks whether memory and descriptors stay where they were.
 */

import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { packageRoot } from "../src/package-root.js";
import { CommandFailed, command } from "./support/command.js";
import { Scratch } from "./support/scratch.js";
import { kmsfs, kmsfsCommand } from "./systems/kmsfs.js";
import type { Place } from "./systems/system.js";

const TORTURE = join(packageRoot(), "native/target/debug/torture");
const MIB = 2 ** 20;
/** What the resident memory may grow by, from the first third of the samples to the last. */
const BOUND = 8 * MIB;
const OPERATIONS = 2000;

interface Sample {
  readonly minute: number;
  /** Bytes resident, of each process. */
  readonly memory: readonly number[];
  readonly descriptors: readonly number[];
}

function sample(minute: number, pids: readonly number[]): Sample {
  const resident = (pid: number) => {
    const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return Number(kib) * 1024;
  };
  return {
    minute,
    memory: pids.map(resident),
    descriptors: pids.map((pid) => readdirSync(`/proc/${pid}/fd`).length),
  };
}

function print({ minute, memory, descriptors }: Sample): void {
  const mib = memory.map((bytes) => (bytes / MIB).toFixed(1)).join(" ");
  console.log(`minute ${minute.toFixed(1)}: MiB ${mib}, descriptors ${descriptors.join(" ")}`);
}

const median = (numbers: number[]): number => numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? 0;

/** What grew, a line each. */
function grown(samples: readonly Sample[]): string[] {
  const third = Math.floor(samples.length / 3);
  // The first samples are of a mount that fills its caches.
  const [early, late] = [samples.slice(third, 2 * third), samples.slice(-third)];
  if (third === 0) return ["too few samples: run it for longer"];
  return ["daemon", "engine"].flatMap((name, n) => {
    const [before, after] = [early, late].map((some) => median(some.map(({ memory }) => memory[n] ?? 0)));
    return (after ?? 0) > (before ?? 0) + BOUND ? [`${name}: ${before} bytes resident, then ${after}`] : [];
  });
}

function empty(dir: string): void {
  for (const name of readdirSync(dir)) rmSync(join(dir, name), { recursive: true, force: true });
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "60" },
      seed: { type: "string", default: `${Math.floor(Date.now() / 1000)}` },
    },
  });
  const [minutes, first] = [Number(values.minutes), Number(values.seed)];
  console.log(`soak: ${minutes} minutes, seeds from ${first} on`);
  const scratch = new Scratch("/var/tmp");
  const [backing, dir, mirror] = ["backing", "mount", "mirror"].map((name) => scratch.directory(name));
  if (backing === undefined || dir === undefined || mirror === undefined) return 1;
  const place: Place = { scratch, backing, dir, settings: scratch.directory("settings") };
  await command(["sh", "-c", `umask 077; head -c 32 /dev/urandom > ${place.settings}/key`]);
  const system = kmsfs("kmsfs", ["dev,suid"]);
  await system.init(place);
  await system.mount(place);
  // The workers are of several users, who have to get through.
  await command(["chmod", "755", dir]);
  const pids = (await system.processes?.(place)) ?? [];
  const samples: Sample[] = [];
  const started = Date.now();
  const passed = () => (Date.now() - started) / 60_000;
  let rounds = 0;
  for (; passed() < minutes; rounds += 1) {
    const seed = ["--seed", `${first + rounds}`, "--ops", `${OPERATIONS}`, "--block", "4096"];
    const work = join(dir, "work");
    await command(["mkdir", "-m", "755", work]);
    await command([TORTURE, "fsx", work, ...seed, "--files", "3"], { env: {} });
    empty(work);
    const stress = ["stress", work, mirror, ...seed, "--threads", "2", "--processes", "2"];
    await command([TORTURE, ...stress], { env: {} });
    empty(mirror);
    rmSync(work, { recursive: true });
    if (passed() >= samples.length) {
      const taken = sample(passed(), pids);
      samples.push(taken);
      print(taken);
    }
  }
  await system.unmount(place, pids);
  await kmsfsCommand(place, "verify", backing, "--keyfile", `${place.settings}/key`);
  scratch.remove();
  const wrong = grown(samples);
  for (const line of wrong) console.error(`soak: ${line}`);
  console.log(`soak: ${rounds} rounds in ${passed().toFixed(1)} minutes, ${samples.length} samples`);
  return wrong.length === 0 ? 0 : 1;
}

process.exitCode = await main().catch((error: unknown) => {
  console.error(`soak: ${error instanceof Error ? error.message : String(error)}`);
  // What differs from the models, and how to have it again.
  if (error instanceof CommandFailed) console.error(error.said);
  return 1;
});
