/**
 * The control socket of a mount's daemon, root's alone: one JSON object a line, either way.
 *
 *   {"request":"status"}             -> {"status":{...}}
 *   {"request":"stop","lazy":bool}   -> {"stop":"done"|"busy"|"failed","detail":"..."}
 *   {"request":"flush"}              -> {"flush":"done"|"failed","detail":"..."}
 *   {"request":"remount","readOnly":bool,"flags":[...]}
 *                                    -> {"remount":"done"|"busy"|"failed","detail":"..."}
 *   {"request":"watch"}              -> {"ended":{...}} once nothing of the mount is left, then the end of the stream
 *   {"request":"metrics"}            -> {"metrics":"..."}, OpenMetrics text
 *   GET /metrics HTTP/1.1            -> the same text for a scraper (curl --unix-socket)
 *   {"request":"scrub","action":"start"|"pause"|"stop","rate":n,"restart":bool}
 *                                    -> {"scrub":{...}}, or null where none is known
 *   anything else                    -> {"error":"..."}
 */

import { chmodSync, rmSync } from "node:fs";
import type { Server as HttpServer } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { ExitCodeName } from "../cli/exit-codes.js";
import { errnoOf, messageOf, UserError } from "../errors.js";
import type { Format } from "../metrics/exposition.js";
import { metricsServer } from "../metrics/http.js";
import { LineReader } from "./lines.js";
import type { EngineStatus, OpenedMessage } from "./protocol.js";
import type { ScrubStatus } from "./scrub.js";
import type { MountState } from "./state.js";

export interface LiveStatus {
  readonly mount: MountState;
  /** null when the engine did not answer */
  readonly engine: EngineStatus | null;
  readonly recovery: OpenedMessage["recovery"];
  readonly tamperEvents: number;
  readonly warnings: readonly string[];
  readonly scrub: ScrubStatus | null;
  /** why the last stop was refused; null when none was */
  readonly stopRefused: string | null;
}

export interface StopReply {
  readonly stop: "done" | "busy" | "failed";
  readonly detail: string;
}

export interface FlushReply {
  readonly flush: "done" | "failed";
  readonly detail: string;
}

export interface RemountReply {
  readonly remount: "done" | "busy" | "failed";
  readonly detail: string;
}

export interface ScrubRequest {
  readonly action: "start" | "pause" | "stop";
  /** bytes a second; 0: no limit */
  readonly rate: number;
  readonly restart: boolean;
}

export interface Ended {
  readonly code: ExitCodeName;
  readonly message: string;
}

export interface ControlHandlers {
  status(): Promise<LiveStatus>;
  metrics(format: Format): Promise<string>;
  scrub(request: ScrubRequest): ScrubStatus | null;
  stop(lazy: boolean): Promise<StopReply>;
  /** `flags`: those of the kernel from now on; undefined leaves them */
  flush(): Promise<FlushReply>;
  remount(readOnly: boolean, flags: readonly string[] | undefined): Promise<RemountReply>;
}

export class ControlServer {
  readonly #server: Server;
  readonly #http: HttpServer;
  readonly #watchers = new Set<Socket>();

  private constructor(server: Server, http: HttpServer) {
    this.#server = server;
    this.#http = http;
  }

  /** Listens at `path`, in a directory that only root may enter. Throws UserError (InUse) when somebody does. */
  static async listen(path: string, handlers: ControlHandlers): Promise<ControlServer> {
    if (await isListening(path)) {
      throw new UserError(
        "InUse",
        `another kmsfs daemon listens on ${path}`,
        "kmsfs status says what is mounted",
      );
    }
    rmSync(path, { force: true });
    const server = createServer();
    const control = new ControlServer(
      server,
      metricsServer((format) => handlers.metrics(format)),
    );
    server.on("connection", (socket) => control.#serve(socket, handlers));
    await new Promise<void>((done, failed) => {
      server.once("error", failed);
      server.listen(path, done);
    });
    chmodSync(path, 0o600);
    return control;
  }

  /** Tells the watchers and closes. */
  async close(ended: Ended): Promise<void> {
    this.#server.close();
    this.#http.closeAllConnections();
    await Promise.all(
      [...this.#watchers].map(
        (socket) =>
          new Promise<void>((done) => {
            socket.once("close", () => done());
            socket.end(`${JSON.stringify({ ended })}\n`);
          }),
      ),
    );
  }

  #serve(socket: Socket, handlers: ControlHandlers): void {
    const lines = new LineReader();
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#watchers.delete(socket));
    const reply = (message: object): void => void socket.write(`${JSON.stringify(message)}\n`);
    const onData = (chunk: Buffer): void => {
      if (/^(GET|HEAD) /.test(chunk.toString("latin1", 0, 5))) {
        socket.off("data", onData);
        socket.pause();
        this.#http.emit("connection", socket);
        // After the server's own listeners are there.
        socket.unshift(chunk);
        process.nextTick(() => socket.resume());
        return;
      }
      let requests: string[];
      try {
        requests = lines.push(chunk);
      } catch {
        socket.destroy();
        return;
      }
      for (const line of requests) {
        this.#answer(socket, line, handlers).then(
          (answer) => answer !== undefined && reply(answer),
          (error: unknown) => reply({ error: messageOf(error) }),
        );
      }
      // Who does not read the answers gets no more of them: they would pile up here.
      if (socket.writableNeedDrain) {
        socket.pause();
        socket.once("drain", () => socket.resume());
      }
    };
    socket.on("data", onData);
  }

  async #answer(socket: Socket, line: string, handlers: ControlHandlers): Promise<object | undefined> {
    const message = JSON.parse(line) as Record<string, unknown>;
    const { request, lazy, readOnly, flags } = message;
    if (request === "status") return { status: await handlers.status() };
    if (request === "scrub") return { scrub: handlers.scrub(scrubRequest(message)) };
    if (request === "metrics") return { metrics: await handlers.metrics("openmetrics") };
    if (request === "stop") return handlers.stop(lazy === true);
    if (request === "flush") return handlers.flush();
    if (request === "remount") return handlers.remount(readOnly === true, flagsOf(flags));
    if (request === "watch") {
      this.#watchers.add(socket);
      return undefined;
    }
    return { error: "unknown request" };
  }
}

/** Throws Error. */
function flagsOf(flags: unknown): readonly string[] | undefined {
  if (flags === undefined) return undefined;
  const known = Array.isArray(flags) && flags.every((flag) => typeof flag === "string");
  if (!known) throw new Error("a bad remount request");
  return flags;
}

/** Throws Error. */
function scrubRequest({ action, rate, restart }: Record<string, unknown>): ScrubRequest {
  const known = action === "start" || action === "pause" || action === "stop";
  if (!known || !Number.isSafeInteger(rate) || (rate as number) < 0) throw new Error("a bad scrub request");
  return { action, rate: rate as number, restart: restart === true };
}

/** Whether a process accepts connections there. */
function isListening(path: string): Promise<boolean> {
  return new Promise((done, failed) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", (error) => {
      if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ECONNREFUSED") done(false);
      else failed(error);
    });
  });
}
