/** The CLI's side of a mount: opens the volume, starts the daemon, hands the key to the engine. */

import { AuditSession } from "../audit/line.js";
import { auditSettings } from "../audit/settings.js";
import { isExitCodeName } from "../cli/exit-codes.js";
import { messageOf, UserError } from "../errors.js";
import type { VolumeHeader } from "../volume/header.js";
import { type OpenedVolume, type OpenOptions, openVolume } from "../volume/open.js";
import { checkPlaces, type MountPlaces, requireRoot, requireWritable } from "./checks.js";
import type { DaemonConfig } from "./daemon.js";
import { DaemonProcess } from "./daemon-process.js";
import { engineBinary } from "./engine-binary.js";
import { encodeFrame } from "./frames.js";
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
  // Started while the key is asked for: neither waits for the other's start.
  let daemon: DaemonProcess | undefined;
  let noDaemon: unknown;
  const onHeader = ({ uuid }: VolumeHeader): void => {
    try {
      daemon = new DaemonProcess(places, request.logToStderr ? null : logFile(uuid));
    } catch (error) {
      // What the opening has to say, and the audit chain's lines, come first.
      noDaemon = error;
    }
  };
  let volume: OpenedVolume | undefined;
  try {
    volume = await openVolume(places.backing, { ...request.open, onWaiting, onHeader });
    request.onProgress("opening the volume, recovering what a crash left");
    const { audit, dk, header } = volume;
    const session = AuditSession.keyFor(dk, header.uuid);
    try {
      const config: DaemonConfig = {
        ...places,
        uuid: header.uuid,
        engine,
        options,
        optionNames: request.options.flatMap(listedOptions).map((option) => option.text),
        log: request.logToStderr ? null : logFile(header.uuid),
        audit: { settings: audit.settings, session: session.id },
      };
      if (daemon === undefined) throw noDaemon;
      await bringUp(daemon, config, volume, session.key);
      return volume.warnings;
    } catch (error) {
      const { code, message } =
        error instanceof UserError ? error : { code: undefined, message: messageOf(error) };
      const detail = { ...places, message };
      await audit.tell({ event: "mount", outcome: "failed", code, detail });
      throw error;
    } finally {
      session.key.fill(0);
    }
  } finally {
    daemon?.leave();
    volume?.dk.fill(0);
    await volume?.audit.close();
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
  daemon: DaemonProcess,
  config: DaemonConfig,
  volume: OpenedVolume,
  auditKey: Buffer,
): Promise<void> {
  const answer = daemon.configure(config);
  await daemon.sendAuditKey(auditKey);
  await daemon.sendKey(encodeFrame(unlockMessage(volume)), volume.dk);
  volume.dk.fill(0);
  const outcome = await answer;
  if ("error" in outcome) throw reported(outcome.error, config.log);
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

function reported(
  error: { code: string; message: string; hint?: string | undefined },
  log: string | null,
): UserError {
  const code = isExitCodeName(error.code) ? error.code : "Unexpected";
  const hint = error.hint ?? (log === null ? undefined : `the log is ${log}`);
  return new UserError(code, error.message, hint);
}
