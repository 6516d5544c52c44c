/** The programs of native/bench and native/floor, and what the load generator says. */

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { command } from "./command.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "../../..");

/** The checkout, for what of it is measured with. */
export const CHECKOUT = root;

function built(name: string): string {
  const places = [process.env.KMSFS_BENCH_PROGRAMS ?? join(root, "native/target/release")];
  const path = places.map((place) => join(place, name)).find((candidate) => existsSync(candidate));
  if (path === undefined) throw new Error(`${name} is not built: run it through npm run bench`);
  return path;
}

export const floorProgram = (): string => built("kmsfs-floor");

export interface Measured {
  readonly ops: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly p50us: number;
  readonly p99us: number;
}

/** Runs the load generator. Throws CommandFailed. */
export async function load(limit: number, ...args: (string | number)[]): Promise<Measured> {
  const line = await command([built("kmsfs-bench"), ...args.map(String)], { limit });
  return JSON.parse(line) as Measured;
}
