/** The daemon's end of the engine: its process and the control channel of docs/engine-protocol.md. */

import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";
import { messageOf, UserError } from "../errors.js";
import { encodeFrame, FrameReader } from "./frames.js";
import type {
  EngineStatus,
  FailedMessage,
  FromEngine,
  OpenedMessage,
  ScrubFindingMessage,
  ScrubMessage,
  StartMessage,
  TamperMessage,
  ToEngine,
} from "./protocol.js";
import { EXIT_OF_FAILURE, HINT_OF_FAILURE } from "./protocol.js";
import { checkFromEngine, checkToEngine } from "./schema.js";

interface EngineEvents {
  opened: [OpenedMessage];
  serving: [];
  warning: [string];
  tamper: [TamperMessage];
  scrub: [ScrubMessage];
  finding: [ScrubFindingMessage];
}

export interface Exit {
  /** null when a signal ended it */
  readonly status: number | null;
  readonly signal: string | null;
}

const STATUS_TIMEOUT_MS = 2000;

export class Engine extends EventEmitter<EngineEvents> {
  readonly #child: ChildProcess;
  readonly #control: Duplex;
  readonly #reader = new FrameReader();
  readonly #statusReplies = new Map<number, (status: EngineStatus | undefined) => void>();
  /** to `remount` and `flush` */
  readonly #replies = new Map<number, (error: string | null) => void>();
  #nextId = 1;
  #failure: FailedMessage | undefined;
  #isGone = false;
  #end: (exit: Exit) => void = () => undefined;
  /** Resolves when the process is gone. */
  readonly gone = new Promise<Exit>((done) => {
    this.#end = done;
  });

  /** Starts the engine with its control channel, the key channel and the FUSE descriptor as fds 3, 4 and 5. */
  constructor(binary: string, keyFd: number, fuseFd: number) {
    super();
    this.#child = spawn(binary, [], {
      cwd: "/",
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      stdio: ["ignore", 2, 2, "pipe", keyFd, fuseFd],
    });
    this.#control = this.#child.stdio[3] as Duplex;
    this.#control.on("data", (chunk: Buffer) => this.#receive(chunk));
    // The end of the process says what there is to say about a broken channel.
    this.#control.on("error", () => undefined);
    this.#child.on("error", (error) => {
      this.#failure ??= { type: "failed", code: "internal", message: `${binary}: ${messageOf(error)}` };
      this.#finish({ status: null, signal: null });
    });
    this.#child.on("close", (status, signal) => this.#finish({ status, signal }));
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What the engine itself gave as the reason of its failure. */
  get failure(): UserError | undefined {
    const failed = this.#failure;
    return (
      failed && new UserError(EXIT_OF_FAILURE[failed.code], failed.message, HINT_OF_FAILURE[failed.code])
    );
  }

  start(message: Omit<StartMessage, "type" | "version">): void {
    this.#send({ type: "start", version: 1, ...message });
  }

  /** Starts or ends a scrub; what comes of it comes as `scrub` and `finding`. */
  scrub(message: ToEngine): void {
    this.#send(message);
  }

  /** Ends an engine that serves nothing yet. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** What the engine says of itself; undefined when it does not answer within two seconds. */
  async status(): Promise<EngineStatus | undefined> {
    if (this.#isGone) return undefined;
    const id = this.#nextId++;
    return new Promise((done) => {
      const timer = setTimeout(() => finish(undefined), STATUS_TIMEOUT_MS);
      const finish = (status: EngineStatus | undefined): void => {
        clearTimeout(timer);
        this.#statusReplies.delete(id);
        done(status);
      };
      this.#statusReplies.set(id, finish);
      this.#send({ type: "status", id });
    });
  }

  /**
   * Read-only: everything is home when this resolves, and nothing is written any more. Resolves with what stood against
   * it, or null.
   */
  async remount(readOnly: boolean): Promise<string | null> {
    return this.#ask((id) => ({ type: "remount", id, readOnly }));
  }

  /** Everything that the engine was given is durable when this resolves. Resolves with what stood against it, or null. */
  async flush(): Promise<string | null> {
    return this.#ask((id) => ({ type: "flush", id }));
  }

  #ask(message: (id: number) => ToEngine): Promise<string | null> {
    if (this.#isGone) return Promise.resolve("the engine is gone");
    const id = this.#nextId++;
    return new Promise((done) => {
      this.#replies.set(id, done);
      this.#send(message(id));
    });
  }

  /** Resolves with the engine's word that the volume is open. Rejects (UserError) when it fails or ends before. */
  opened(): Promise<OpenedMessage> {
    return this.#unlessGone(new Promise((done) => this.once("opened", done)));
  }

  /** Resolves when the kernel and the engine have agreed and requests are served. Rejects (UserError) likewise. */
  serving(): Promise<void> {
    return this.#unlessGone(new Promise((done) => this.once("serving", done)));
  }

  #unlessGone<T>(event: Promise<T>): Promise<T> {
    const ended = this.gone.then((): never => {
      throw this.failure ?? new UserError("EngineFailed", "the engine ended before the mount was up");
    });
    return Promise.race([event, ended]);
  }

  #send(message: ToEngine): void {
    checkToEngine(message);
    this.#control.write(encodeFrame(message));
  }

  #receive(chunk: Buffer): void {
    let messages: FromEngine[];
    try {
      messages = this.#reader.push(chunk).map(checkFromEngine);
    } catch (error) {
      // What follows on a stream out of step means nothing; the mount itself goes on being served.
      this.emit("warning", `the engine's control channel is unusable: ${messageOf(error)}`);
      this.#control.destroy();
      return;
    }
    for (const message of messages) this.#dispatch(message);
  }

  #dispatch(message: FromEngine): void {
    switch (message.type) {
      case "opened":
        this.emit("opened", message);
        break;
      case "serving":
        this.emit("serving");
        break;
      case "status":
        this.#statusReplies.get(message.id)?.(message);
        break;
      case "remounted":
      case "flushed":
        this.#replies.get(message.id)?.(message.error ?? null);
        this.#replies.delete(message.id);
        break;
      case "event":
        this.emit("tamper", message);
        break;
      case "scrub":
        this.emit("scrub", message);
        break;
      case "scrub-finding":
        this.emit("finding", message);
        break;
      case "warning":
        this.emit("warning", message.message);
        break;
      case "failed":
        this.#failure = message;
        break;
    }
  }

  #finish(exit: Exit): void {
    this.#isGone = true;
    for (const finish of this.#statusReplies.values()) finish(undefined);
    for (const finish of this.#replies.values()) finish("the engine ended");
    this.#end(exit);
  }
}
