/** What the snapshot commands have in common: their options, the connection to EBS, the end by Ctrl-C. */

import { setMaxListeners } from "node:events";
import type { Argv } from "yargs";
import { UserError } from "../errors.js";
import type { Ebs } from "../snapshot/ebs.js";
import { Bar } from "./bar.js";

const SNAPSHOT = /^snap-[0-9a-f]{1,59}$/;
const CONCURRENCY = 64;

export interface SessionArguments {
  concurrency: number;
  json: boolean;
}

export function withSessionOptions(argv: Argv): Argv {
  return argv
    .option("concurrency", {
      type: "number",
      default: CONCURRENCY,
      requiresArg: true,
      describe: "the most requests at once; fewer are used while AWS throttles",
    })
    .option("json", { type: "boolean", default: false, describe: "one JSON object on standard output" });
}

/** Throws UserError (Usage) for what cannot be a snapshot's id. */
export function snapshotId(text: string): string {
  if (SNAPSHOT.test(text)) return text;
  throw new UserError("Usage", `${text} is no snapshot id`, "they look like snap-0123456789abcdef0");
}

export interface Session {
  readonly ebs: Ebs;
  readonly bar: Bar;
}

/** A client of EBS. Throws UserError (Usage) for a concurrency that is none. */
export async function connect(concurrency: number, abort: AbortSignal): Promise<Ebs> {
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 1000) {
    throw new UserError("Usage", "--concurrency must be a whole number from 1 to 1000");
  }
  // Each request under way listens to it.
  setMaxListeners(0, abort);
  const { Ebs } = await import("../snapshot/ebs.js");
  return new Ebs({ concurrency, abort });
}

/** Runs `work` with a client of EBS. Ctrl-C and SIGTERM end it in order: UserError (Interrupted). */
export async function withEbs<T>(
  { concurrency }: SessionArguments,
  afterInterrupt: string,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const stop = () => abort.abort(new UserError("Interrupted", "interrupted", afterInterrupt));
  process.once("SIGINT", stop).once("SIGTERM", stop);
  const ebs = await connect(concurrency, abort.signal);
  const bar = new Bar();
  try {
    return await work({ ebs, bar });
  } catch (error) {
    throw abort.signal.aborted ? abort.signal.reason : error;
  } finally {
    bar.clear();
    ebs.close();
    process.off("SIGINT", stop).off("SIGTERM", stop);
  }
}
