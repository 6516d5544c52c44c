/** Asks the daemon of a mount over its control socket. */

import { connect, type Socket } from "node:net";
import type { Ended, FlushReply, LiveStatus, RemountReply, ScrubRequest, StopReply } from "./control.js";
import { LineReader } from "./lines.js";
import { controlSocket, runDirectory } from "./places.js";
import type { ScrubStatus } from "./scrub.js";

const ANSWER_TIMEOUT_MS = 5000;

/** A connection to the daemon of the mount at this mount point; undefined when none listens. */
async function connectTo(mountPoint: string): Promise<Socket | undefined> {
  return new Promise((done) => {
    const socket = connect(controlSocket(runDirectory(mountPoint)));
    socket.once("connect", () => done(socket));
    socket.once("error", () => done(undefined));
  });
}

/** The first line of the answer, parsed; undefined when the stream ends or `timeoutMs` pass before it. */
function firstLine(socket: Socket, timeoutMs: number | undefined): Promise<unknown> {
  return new Promise((done) => {
    const lines = new LineReader();
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => finish(undefined), timeoutMs);
    const finish = (value: unknown): void => {
      clearTimeout(timer);
      socket.destroy();
      done(value);
    };
    socket.on("data", (chunk: Buffer) => {
      const [line] = lines.push(chunk);
      if (line !== undefined) finish(JSON.parse(line));
    });
    socket.on("error", () => finish(undefined));
    socket.on("close", () => finish(undefined));
  });
}

async function ask(mountPoint: string, request: object, timeoutMs?: number): Promise<unknown> {
  const socket = await connectTo(mountPoint);
  if (socket === undefined) return undefined;
  socket.write(`${JSON.stringify(request)}\n`);
  return firstLine(socket, timeoutMs);
}

/** What the daemon says of its mount; undefined when there is no daemon, or none that answers. */
export async function liveStatus(mountPoint: string): Promise<LiveStatus | undefined> {
  const answer = await ask(mountPoint, { request: "status" }, ANSWER_TIMEOUT_MS);
  return (answer as { status?: LiveStatus } | undefined)?.status;
}

/** Starts, pauses or stops the scrub of a mount; undefined when there is no daemon, or none that answers. */
export async function requestScrub(
  mountPoint: string,
  request: ScrubRequest,
): Promise<ScrubStatus | null | undefined> {
  const answer = await ask(mountPoint, { request: "scrub", ...request }, ANSWER_TIMEOUT_MS);
  return (answer as { scrub?: ScrubStatus | null } | undefined)?.scrub;
}

/** Asks the daemon to unmount; undefined when there is no daemon. */
export async function requestStop(mountPoint: string, lazy: boolean): Promise<StopReply | undefined> {
  return (await ask(mountPoint, { request: "stop", lazy })) as StopReply | undefined;
}

/** Has everything that the engine was given made durable; undefined when there is no daemon. */
export async function requestFlush(mountPoint: string): Promise<FlushReply | undefined> {
  return (await ask(mountPoint, { request: "flush" })) as FlushReply | undefined;
}

/** Asks the daemon to remount; undefined when there is no daemon. */
export async function requestRemount(
  mountPoint: string,
  readOnly: boolean,
  flags: readonly string[] | undefined,
): Promise<RemountReply | undefined> {
  return (await ask(mountPoint, { request: "remount", readOnly, flags })) as RemountReply | undefined;
}

export interface Watch {
  /** How the mount ended; undefined when the daemon was killed before it could say */
  readonly ended: Promise<Ended | undefined>;
  cancel(): void;
}

/** Watches a mount until nothing of it is left; undefined when there is no daemon. */
export async function watchMount(mountPoint: string): Promise<Watch | undefined> {
  const socket = await connectTo(mountPoint);
  if (socket === undefined) return undefined;
  socket.write('{"request":"watch"}\n');
  const ended = firstLine(socket, undefined).then(
    (answer) => (answer as { ended?: Ended } | undefined)?.ended,
  );
  return { ended, cancel: () => socket.destroy() };
}
