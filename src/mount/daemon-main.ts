/**
 * Entry of the daemon's process: fd 3 is the CLI's report channel, fd 4 the key channel, passed on unread, fd 5 brings the
 * key of the daemon's lines in the audit chain.
 */

import { Socket } from "node:net";
import { SESSION_KEY_BYTES } from "../audit/line.js";
import { ExitCode } from "../cli/exit-codes.js";
import { messageOf, UserError } from "../errors.js";
import { Daemon, type DaemonConfig } from "./daemon.js";
import { LineReader } from "./lines.js";
import { log } from "./log.js";

const REPORT_FD = 3;
const KEY_FD = 4;
const AUDIT_FD = 5;

export type Report =
  | { mounted: true }
  | { error: { code: string; message: string; hint?: string | undefined } };

/** The one line that the CLI sends first. Undefined when the CLI is gone before: there was no key for the volume. */
function readConfig(report: Socket): Promise<DaemonConfig | undefined> {
  return new Promise((done) => {
    const lines = new LineReader();
    report.on("data", (chunk: Buffer) => {
      const [line] = lines.push(chunk);
      if (line !== undefined) done(JSON.parse(line) as DaemonConfig);
    });
    report.once("close", () => done(undefined));
  });
}

/** The 32 bytes of the audit session's key. Rejects when the CLI is gone before. */
function readAuditKey(): Promise<Buffer> {
  const channel = new Socket({ fd: AUDIT_FD, readable: true, writable: false });
  const key = Buffer.alloc(SESSION_KEY_BYTES);
  let length = 0;
  return new Promise((done, failed) => {
    channel.on("data", (chunk: Buffer) => {
      length += chunk.copy(key, length);
      chunk.fill(0);
      if (length < key.length) return;
      channel.destroy();
      done(key);
    });
    channel.on("error", () => undefined);
    channel.once("close", () => failed(new Error("the command that started this daemon is gone")));
  });
}

async function main(): Promise<number> {
  process.title = "kmsfs-daemon";
  process.umask(0o077);
  const report = new Socket({ fd: REPORT_FD, readable: true, writable: true });
  report.on("error", () => undefined);
  const send = (message: Report): Promise<void> =>
    new Promise((done) => {
      report.once("close", () => done());
      report.end(`${JSON.stringify(message)}\n`, () => done());
    });
  const config = await readConfig(report);
  if (config === undefined) return ExitCode.Ok;
  const daemon = new Daemon(config, await readAuditKey());
  // Nobody waits for this mount any more: it must not come up unasked.
  const abandoned = (): void => void daemon.abort();
  report.once("close", abandoned);
  stopOnSignals(daemon);
  try {
    await daemon.start(KEY_FD);
  } catch (error) {
    report.off("close", abandoned);
    const { code, message, hint } =
      error instanceof UserError ? error : new UserError("Unexpected", messageOf(error));
    log(`not mounted: ${message}`, "error");
    await send({ error: { code, message, hint } });
    return ExitCode[code];
  }
  report.off("close", abandoned);
  const ended = daemon.ended();
  await send({ mounted: true });
  return ExitCode[(await ended).code];
}

/** The first signal unmounts, and is refused while the mount is in use; the next one detaches it lazily. */
function stopOnSignals(daemon: Daemon): void {
  let refused = false;
  const stop = async (): Promise<void> => {
    const reply = await daemon.stop(refused);
    if (reply.stop === "done") return;
    refused = true;
    log(
      "the next signal detaches the mount: what is open stays usable, and the mount ends with its last user",
    );
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => void stop().catch((error: unknown) => log(messageOf(error))));
  }
  process.on("SIGHUP", () => undefined);
}

// A fault in here is not a reason to take a mount away from its users.
process.on("uncaughtException", (error) =>
  log(`unexpected failure: ${error.stack ?? error.message}`, "error"),
);
process.on("unhandledRejection", (error) => log(`unexpected failure: ${messageOf(error)}`, "error"));

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    log(messageOf(error));
    process.exit(ExitCode.Unexpected);
  },
);
