/** The CLI's side of a mount: opens the volume, starts the daemon, hands the key to the engine. */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { AuditSession } from "../audit/line.js";
import { auditSettings } from "../audit/settings.js";
import { isExitCodeName } from "../cli/exit-codes.js";
import { messageOf, UserError } from "../errors.js";
import { logDirectory } from "../host-directories.js";
import { type OpenedVolume, type OpenOptions, openVolume } from "../volume/open.js";
import { checkPlaces, type MountPlaces, requireRoot, requireWritable } from "./checks.js";
import type { DaemonConfig } from "./daemon.js";
import type { Report } from "./daemon-main.js";
import { engineBinary } from "./engine-binary.js";
import { encodeFrame } from "./frames.js";
import { LineReader } from "./lines.js";
import { isAutomountedByUs } from "./mountinfo.js";
import { listedOptions } from "./option-list.js";
import { parseMountOptions } from "./options.js";
import { isWithin, logFile, resolveExisting } from "./places.js";
import type { UnlockMessage } from "./protocol.js";
import { checkUnlock } from "./schema.js";

export interface MountRequest {
  readonly backing: string;
  readonly dir: string;
  /** each one a `-o` list */
  readonly options: readonly string[];
  readonly open: OpenOptions;
  /** the daemon writes its log to this process's standard error */
  readonly logToStderr: boolean;
  /** Told what is being done, for a service manager's status line */
  readonly onProgress: (what: string) => void;
}

/** Mounts a volume; resolves with warnings for the operator when the mount is up. Throws UserError. */
export async function startMount(request: MountRequest): Promise<readonly string[]> {
  requireRoot("mount");
  const options = parseMountOptions(request.options);
  const places = await checkPlaces(request.backing, request.dir);
  if (!options.readOnly) requireWritable(places.backing);
  const engine = engineBinary();
  refuseAnchorInside(places);
  request.onProgress("asking for the key");
  const onWaiting = (line: string): void => {
    request.onProgress(`waiting: ${line}`);
    request.open.onWaiting?.(line);
  };
  const volume = await openVolume(places.backing, { ...request.open, onWaiting });
  request.onProgress("opening the volume, recovering what a crash left");
  const { audit, header, dk } = volume;
  const session = AuditSession.keyFor(dk, header.uuid);
  try {
    const log = request.logToStderr ? null : logFile(volume.header.uuid);
    const config: DaemonConfig = {
      ...places,
      uuid: volume.header.uuid,
      engine,
      options,
      optionNames: request.options.flatMap(listedOptions).map((option) => option.text),
      log,
      audit: { settings: audit.settings, session: session.id },
    };
    await bringUp(config, volume, places, session.key);
    return volume.warnings;
  } catch (error) {
    const { code, message } =
      error instanceof UserError ? error : { code: undefined, message: messageOf(error) };
    const detail = { ...places, message };
    await audit.tell({ event: "mount", outcome: "failed", code, detail });
    throw error;
  } finally {
    dk.fill(0);
    session.key.fill(0);
    await audit.close();
  }
}

/** The anchor is to outlive the volume. */
function refuseAnchorInside({ backing, dir }: MountPlaces): void {
  const { anchor } = auditSettings();
  if (anchor === undefined) return;
  const place = resolveExisting(anchor);
  if (!isWithin(place, dir) && !isWithin(place, backing)) return;
  throw new UserError(
    "MountPoint",
    `the audit anchor ${anchor} would lie inside the mount`,
    "move it (audit.json)",
  );
}

async function bringUp(
  config: DaemonConfig,
  volume: OpenedVolume,
  places: MountPlaces,
  auditKey: Buffer,
): Promise<void> {
  const daemon = spawnDaemon(config, places);
  const [report, key, audit] = [3, 4, 5].map((fd) => daemon.stdio[fd] as Duplex) as [Duplex, Duplex, Duplex];
  const answer = readReport(daemon, report);
  // The engine's answer on the key channel is in the daemon's report too, and so is why a channel breaks.
  key.on("error", () => undefined).resume();
  audit.on("error", () => undefined).resume();
  report.write(`${JSON.stringify(config)}\n`);
  await new Promise<void>((done) => audit.write(auditKey, () => done()));
  key.write(encodeFrame(unlockMessage(volume)));
  await new Promise<void>((done) => key.write(volume.dk, () => done()));
  volume.dk.fill(0);
  try {
    const outcome = await answer;
    if ("error" in outcome) throw reported(outcome.error, config.log);
  } finally {
    report.destroy();
    key.destroy();
    audit.destroy();
    daemon.unref();
  }
}

function spawnDaemon(config: DaemonConfig, { backing, dir }: MountPlaces): ChildProcess {
  const main = join(dirname(fileURLToPath(import.meta.url)), "daemon-main.js");
  const logFd = config.log === null ? undefined : openLog(config.log);
  try {
    return spawn(process.execPath, [main, backing, dir], {
      // A session of its own, unless the kernel lets none but the group of systemd's mount command reach the mount point.
      detached: !isAutomountedByUs(dir),
      cwd: "/",
      env: daemonEnvironment(),
      stdio: ["ignore", logFd ?? 2, logFd ?? 2, "pipe", "pipe", "pipe"],
    });
  } finally {
    if (logFd !== undefined) closeSync(logFd);
  }
}

/** Credentials and the rest of the operator's environment are none of the daemon's business. */
function daemonEnvironment(): NodeJS.ProcessEnv {
  const kept = ["KMSFS_RUN", "KMSFS_LOG", "KMSFS_SYSLOG", "TZ", "JOURNAL_STREAM"].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  });
  return { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...Object.fromEntries(kept) };
}

function openLog(path: string): number {
  try {
    mkdirSync(logDirectory(), { recursive: true, mode: 0o700 });
    return openSync(path, "a", 0o600);
  } catch (error) {
    throw new UserError(
      "Unexpected",
      `the log ${path}: ${messageOf(error)}`,
      "set KMSFS_LOG to another directory",
    );
  }
}

function unlockMessage({ header }: OpenedVolume): UnlockMessage {
  const { uuid, blockSize, generation, features, log, commitment } = header;
  const message: UnlockMessage = {
    type: "unlock",
    version: 1,
    uuid,
    blockSize,
    generation,
    features: [...features],
    log: { segmentSize: log.segmentSize, segments: log.segments },
    commitment,
  };
  checkUnlock(message);
  return message;
}

/** The daemon's one line; an error of our own when it ends without. */
function readReport(daemon: ChildProcess, report: Duplex): Promise<Report> {
  return new Promise((done) => {
    const lines = new LineReader();
    const silent = (why: string): void =>
      done({ error: { code: "EngineFailed", message: `the daemon ended before the mount was up${why}` } });
    report.on("data", (chunk: Buffer) => {
      const [line] = lines.push(chunk);
      if (line !== undefined) done(JSON.parse(line) as Report);
    });
    report.on("error", () => undefined);
    report.on("close", () => silent(""));
    daemon.on("error", (error) => silent(`: ${messageOf(error)}`));
  });
}

function reported(
  error: { code: string; message: string; hint?: string | undefined },
  log: string | null,
): UserError {
  const code = isExitCodeName(error.code) ? error.code : "Unexpected";
  const hint = error.hint ?? (log === null ? undefined : `the log is ${log}`);
  return new UserError(code, error.message, hint);
}
