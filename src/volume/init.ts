/** Makes a volume: all of it, or nothing is left behind. */

import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, open, rename, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { Auditor } from "../audit/auditor.js";
import { AuditSession } from "../audit/line.js";
import { auditSettings } from "../audit/settings.js";
import { forbidCoreDumps } from "../core-dumps.js";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { commitmentOf } from "../keys/domain.js";
import type { DomainIdentity } from "../keys/provider.js";
import { chooseLog, prepareBacking, probeBacking, UNFINISHED } from "./backing.js";
import { FORMAT, type HeaderBody, type LogParameters, sealHeader } from "./header.js";
import { type KeySource, keyfileFor, type NewKey, newKey } from "./key-source.js";
import { CONTROL, controlPaths } from "./paths.js";
import { pinOf, pinPath, pinsClaiming, writePin } from "./pin.js";
import { syncDirectory, writeFirstHeader } from "./store.js";

export interface InitOptions {
  readonly backing: string;
  readonly key: KeySource;
  readonly blockSize: HeaderBody["blockSize"];
  readonly label: string;
  readonly log: Partial<LogParameters>;
}

export interface NewVolume {
  readonly backing: string;
  readonly header: HeaderBody;
  /** The key file, when it did not exist and was made */
  readonly madeKeyfile: string | undefined;
  /** For the operator, one line each */
  readonly warnings: readonly string[];
}

type Undo = () => Promise<unknown>;

/** Throws UserError; whatever it made is gone again then. SIGINT and SIGTERM stop it: UserError (Interrupted). */
export async function initVolume(options: InitOptions): Promise<NewVolume> {
  if (process.geteuid?.() !== 0) {
    throw new UserError(
      "Privilege",
      "kmsfs init needs root (records of links are trusted xattrs)",
      "run it as root",
    );
  }
  forbidCoreDumps();
  const undo: Undo[] = [];
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  try {
    return await make(options, undo, stop.signal);
  } catch (error) {
    for (const step of undo.reverse()) await step().catch(() => undefined);
    // Ctrl-C also ends the programs that are run on the way: what they say then is not the reason.
    if (stop.signal.aborted) throw interrupted(options.backing);
    if (error instanceof UserError) throw error;
    throw new UserError(
      errnoOf(error) === "ENOSPC" ? "NoSpace" : "Backing",
      `no volume was made in ${options.backing}: ${messageOf(error)}`,
      "nothing was left behind; check the directory and its file system",
    );
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

function interrupted(backing: string): UserError {
  return new UserError(
    "Interrupted",
    `interrupted: no volume was made in ${backing}`,
    "nothing was left behind; run it again",
  );
}

/** `stop` is heeded between steps, until the volume is there; the rest is of milliseconds. */
async function make(options: InitOptions, undo: Undo[], stop: AbortSignal): Promise<NewVolume> {
  const backing = await prepareBacking(options.backing);
  if (backing.made) undo.push(() => rmdir(backing.path));
  stop.throwIfAborted();
  await probeBacking(backing.path);
  stop.throwIfAborted();
  const log = await chooseLog(backing.path, options.log);
  const madeKeyfile = await keyfileFor(options.key, backing.path, undo);
  stop.throwIfAborted();

  const identity: DomainIdentity = { uuid: randomUUID(), domain: "volume" };
  const problems: string[] = [];
  const audit = new Auditor(auditSettings(), identity.uuid, (line) => problems.push(line));
  const { slot, domainKey, requestId } = await newKeyUnless(stop, options.key, identity);
  const created = new Date().toISOString();
  let bytes: Buffer;
  let body: HeaderBody;
  try {
    body = {
      format: FORMAT,
      kind: "files",
      uuid: identity.uuid,
      blockSize: options.blockSize,
      features: ["trusted-records"],
      log,
      generation: 1,
      created,
      commitment: commitmentOf(domainKey, identity.uuid),
      slots: [{ ...slot, id: 1, label: options.label, created }],
    };
    bytes = sealHeader(body, domainKey);
    audit.sign(AuditSession.of(domainKey, identity.uuid));
  } finally {
    domainKey.fill(0);
  }

  await writeControl(backing.path, bytes, undo, stop);
  const keyArn = slot.provider === "aws-kms" ? slot.keyArn : undefined;
  const detail = { backing: backing.path, provider: slot.provider };
  await audit.record({ event: "init", outcome: "ok", slot: 1, keyArn, requestId, detail });
  await audit.close();
  const warnings = [...problems, ...(await pinNew(body, backing.path))];
  return { backing: backing.path, header: body, madeKeyfile, warnings };
}

/** KMS may take its time, and a passphrase is waited for on standard input: neither holds up Ctrl-C. */
async function newKeyUnless(stop: AbortSignal, source: KeySource, identity: DomainIdentity): Promise<NewKey> {
  let onAbort: (() => void) | undefined;
  const stopped = new Promise<never>((_, failed) => {
    onAbort = () => failed(stop.reason);
    stop.addEventListener("abort", onAbort);
  });
  const made = newKey(source, identity).then((made) => {
    if (stop.aborted) made.domainKey.fill(0);
    stop.throwIfAborted();
    return made;
  });
  // Whichever comes second has nobody who waits for it.
  made.catch(() => undefined);
  try {
    return await Promise.race([made, stopped]);
  } finally {
    if (onAbort !== undefined) stop.removeEventListener("abort", onAbort);
  }
}

/** Builds the control directory under a temporary name and renames it: it is there whole or not at all. */
async function writeControl(backing: string, header: Buffer, undo: Undo[], stop: AbortSignal): Promise<void> {
  const unfinished = await mkdtemp(join(backing, UNFINISHED));
  undo.push(() => rm(unfinished, { recursive: true, force: true }));
  const paths = controlPaths(unfinished);
  await mkdir(paths.log, { mode: 0o700 });
  await mkdir(paths.links, { mode: 0o700 });
  await (await open(paths.lock, "wx", 0o600)).close();
  await writeFirstHeader(paths, header);
  const control = join(backing, CONTROL);
  try {
    stop.throwIfAborted();
    await rename(unfinished, control);
  } catch (error) {
    if (errnoOf(error) !== "ENOTEMPTY" && errnoOf(error) !== "EEXIST") throw error;
    throw new UserError(
      "Backing",
      `another kmsfs init made a volume in ${backing} meanwhile`,
      "mount that one",
    );
  }
  undo.push(() => rm(control, { recursive: true, force: true }));
  await syncDirectory(backing);
}

/** Pins the new volume, and lets go of what was pinned at this path before: the operator asked for a new one here. */
async function pinNew(body: HeaderBody, backing: string): Promise<string[]> {
  try {
    for (const old of await pinsClaiming(backing, body.uuid)) await writePin({ ...old, backing: null });
    await writePin(pinOf(body, backing));
    return [];
  } catch (error) {
    return [
      `the volume is not pinned on this host: ${pinPath(body.uuid)} cannot be written: ${messageOf(error)}`,
    ];
  }
}
