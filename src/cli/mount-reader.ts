/** `kmsfs mount --reader`: a volume read-only in this process, through the reference reader and fuse-native. */

import { spawn } from "node:child_process";
import { UserError } from "../errors.js";
import type { OpenOptions } from "../volume/open.js";
import { splitUnlockOptions } from "./unlock-mount-options.js";
import { openOptions, type UnlockArguments } from "./unlock-options.js";

interface Arguments extends UnlockArguments {
  readonly backing: string;
  readonly dir: string;
  readonly options: string[] | undefined;
  readonly foreground: boolean;
}

interface ReaderOptions {
  readonly allowOther: boolean;
  readonly cacheBytes: number;
  readonly open: OpenOptions;
}

/** Returns when the mount is up; in the foreground, and in the process that serves, when it has ended. */
export async function mountReader(argv: Arguments): Promise<void> {
  const { isBackground, reportUp, runInBackground } = await import("../readonly-fuse/background.js");
  const { READS_AT_ONCE } = await import("../reader/home-reader.js");
  // libuv takes the number of its threads from the environment before anything here could set it.
  const threads = { UV_THREADPOOL_SIZE: String(READS_AT_ONCE) };
  if (!isBackground()) {
    if (!argv.foreground) return runInBackground(threads);
    if (process.env.UV_THREADPOOL_SIZE === undefined) return runInFront(threads);
  }
  try {
    await serveVolume(argv);
  } catch (error) {
    reportUp(error);
    throw error;
  }
  // libfuse's threads would keep the process.
  process.exit(0);
}

async function serveVolume(argv: Arguments): Promise<void> {
  const { allowOther, cacheBytes, open } = await readerOptions(argv);
  const { checkPlaces, requireRoot } = await import("../mount/checks.js");
  requireRoot("mount --reader");
  const { backing, dir } = await checkPlaces(argv.backing, argv.dir);
  const { READER_SUBTYPE } = await import("../mount/mountinfo.js");
  const { logFile } = await import("../mount/places.js");
  const { openLog } = await import("../readonly-fuse/background.js");
  const { MountedTree } = await import("../reader/mounted-tree.js");
  const { withVolume } = await import("../reader/open.js");
  const { runReadOnlyMount } = await import("../readonly-fuse/run.js");
  await withVolume(backing, open, async (volume, uuid, audit) => {
    const log = openLog(logFile(uuid));
    const tree = new MountedTree(volume, { cacheBytes, shared: allowOther, log });
    const detail = { dir, reader: true, options: argv.options ?? [] };
    await audit.record({ event: "mount", outcome: "ok", detail });
    try {
      await runReadOnlyMount(tree, { dir, source: backing, subtype: READER_SUBTYPE, allowOther }, log);
    } finally {
      await tree.close();
      await audit.tell({ event: "unmount", outcome: "ok", detail: { dir, reader: true } });
    }
  });
}

/** Throws UserError (Usage) for what cannot be had without the engine. */
async function readerOptions(argv: Arguments): Promise<ReaderOptions> {
  const { mount, unlock } = splitUnlockOptions(argv.options ?? [], argv);
  const { listedOptions } = await import("../mount/option-list.js");
  if (mount.flatMap(listedOptions).some(({ text }) => text === "rw")) {
    throw new UserError("Usage", "--reader cannot write: rw", "leave rw out, or mount without --reader");
  }
  const { parseMountOptions } = await import("../mount/options.js");
  const { allowOther, cacheBytes, mlock } = parseMountOptions(mount);
  if (mlock === "require") {
    throw new UserError("Usage", "--reader cannot lock its memory: mlock=require", "mount without --reader");
  }
  const { tell } = await import("../readonly-fuse/background.js");
  const open: OpenOptions = {
    ...openOptions(unlock, "read"),
    onWaiting: (line) => tell(`kmsfs: waiting: ${line}`),
    onWarning: (line) => tell(`kmsfs: warning: ${line}`),
  };
  return { allowOther, cacheBytes, open };
}

/** Runs this command again in front, with `env` besides; ends as it does. */
async function runInFront(env: Readonly<Record<string, string>>): Promise<void> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    env: { ...process.env, ...env },
    stdio: "inherit",
  });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  process.exitCode = await new Promise<number>((done, failed) => {
    child.once("error", failed);
    child.once("close", (status) => done(status ?? 1));
  });
}
