/** The arguments that mount(8) and umount(8) give to their helpers; the section EXTERNAL HELPERS of their manuals. */

import { parseArgs } from "node:util";
import { messageOf, UserError } from "../errors.js";

export interface MountHelperArguments {
  readonly source: string;
  readonly dir: string;
  readonly options: readonly string[];
  /** -s: options that nobody knows are left out */
  readonly sloppy: boolean;
  /** -f: everything but the mount */
  readonly fake: boolean;
  readonly verbose: boolean;
  readonly namespace: string | undefined;
}

export interface UmountHelperArguments {
  readonly dir: string;
  readonly force: boolean;
  readonly lazy: boolean;
  /** -r: read-only where it is in use */
  readonly readOnly: boolean;
  readonly verbose: boolean;
  readonly namespace: string | undefined;
}

const FLAG = { type: "boolean" } as const;
const COMMON = {
  n: { ...FLAG, short: "n" },
  v: { ...FLAG, short: "v" },
  N: { type: "string", short: "N" },
  t: { type: "string", short: "t" },
} as const;

/** `spec dir [-sfnv] [-N namespace] [-o options] [-t type]`. Throws UserError (Usage). */
export function mountHelperArguments(args: readonly string[]): MountHelperArguments {
  const { values, positionals } = usage("SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS]", () =>
    parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        ...COMMON,
        s: { ...FLAG, short: "s" },
        f: { ...FLAG, short: "f" },
        o: { type: "string", short: "o", multiple: true },
      },
    }),
  );
  const [source, dir] = exactly(2, positionals, "SOURCE DIR") as [string, string];
  return {
    source,
    dir,
    options: values.o ?? [],
    sloppy: values.s === true,
    fake: values.f === true,
    verbose: values.v === true,
    namespace: values.N,
  };
}

/** `dir [-flnrv] [-N namespace] [-t type]`. Throws UserError (Usage). */
export function umountHelperArguments(args: readonly string[]): UmountHelperArguments {
  const { values, positionals } = usage("DIR [-flnrv] [-N NAMESPACE]", () =>
    parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        ...COMMON,
        f: { ...FLAG, short: "f" },
        l: { ...FLAG, short: "l" },
        r: { ...FLAG, short: "r" },
      },
    }),
  );
  const [dir] = exactly(1, positionals, "DIR") as [string];
  return {
    dir,
    force: values.f === true,
    lazy: values.l === true,
    readOnly: values.r === true,
    verbose: values.v === true,
    namespace: values.N,
  };
}

function usage<T>(synopsis: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new UserError("Usage", messageOf(error), `the arguments are ${synopsis}`);
  }
}

function exactly(count: number, positionals: readonly string[], what: string): readonly string[] {
  if (positionals.length === count && positionals.every((text) => text !== "")) return positionals;
  throw new UserError("Usage", `wants ${what}, got ${positionals.length} of them`, "see mount(8)");
}
