/**
 * The daemon of one mount: keeps /dev/fuse, starts the engine and watches it, answers the control socket. It never
 * sees a key but that of its own lines in the audit chain. Once the mount is up, nothing that goes wrong here may end it: only the engine's end or a stop does.
 */

import { closeSync } from "node:fs";
import { Auditor } from "../audit/auditor.js";
import { AuditSession } from "../audit/line.js";
import type { AuditSettings } from "../audit/settings.js";
import { messageOf, UserError } from "../errors.js";
import { expose, type Format } from "../metrics/exposition.js";
import { usersOf } from "./busy.js";
import {
  ControlServer,
  type Ended,
  type FlushReply,
  type LiveStatus,
  type RemountReply,
  type ScrubRequest,
  type StopReply,
} from "./control.js";
import { DaemonAudit } from "./daemon-audit.js";
import { Engine } from "./engine.js";
import { mountFuse, openFuse, raiseReadAhead, remountFuse, unmountFuse } from "./fuse-mount.js";
import { log } from "./log.js";
import { type MountEntry, mountAt } from "./mountinfo.js";
import type { MountOptions } from "./options.js";
import { controlSocket } from "./places.js";
import { type ProcessId, processId } from "./process-id.js";
import type { OpenedMessage, TamperMessage } from "./protocol.js";
import { ScrubKeeper, type ScrubStatus } from "./scrub.js";
import { type MountState, makeRunDirectory, removeRunDirectory, writeState } from "./state.js";
import { mountStatus } from "./status.js";

/** What the CLI tells the daemon; nothing in it is secret. */
export interface DaemonConfig {
  /** absolute and resolved, as are `dir` and `engine` */
  readonly backing: string;
  readonly dir: string;
  readonly uuid: string;
  readonly engine: string;
  readonly options: MountOptions;
  readonly optionNames: readonly string[];
  readonly log: string | null;
  /** Its chain, and the id of the session whose key comes over a channel of its own */
  readonly audit: { readonly settings: AuditSettings; readonly session: string };
}

const WARNINGS_KEPT = 20;

export class Daemon {
  readonly #config: DaemonConfig;
  #fuseFd: number | undefined;
  #control: ControlServer | undefined;
  #engine: Engine | undefined;
  #scrub: ScrubKeeper | undefined;
  #entry: MountEntry | undefined;
  #state: MountState | undefined;
  #recovery: OpenedMessage["recovery"] = { commits: 0, files: 0, gone: 0, droppedTail: false };
  #tamperEvents = 0;
  #warnings: string[] = [];
  #stopRefused: string | null = null;
  /** of the kernel, once they were changed by a remount */
  #flags: readonly string[] | undefined;
  readonly #audit: DaemonAudit;

  /** `auditKey`: the first key of the audit session, which becomes the daemon's. */
  constructor(config: DaemonConfig, auditKey: Buffer) {
    this.#config = config;
    const auditor = new Auditor(config.audit.settings, config.uuid, (line) => this.#warn(line));
    auditor.sign(new AuditSession(config.audit.session, auditKey));
    this.#audit = new DaemonAudit(auditor);
  }

  /**
   * Brings the mount up; `keyFd` is handed to the engine unread and closed. Throws UserError, and leaves nothing
   * mounted then.
   */
  async start(keyFd: number): Promise<void> {
    const { backing, dir, options } = this.#config;
    const runDir = makeRunDirectory(dir);
    this.#control = await ControlServer.listen(controlSocket(runDir), {
      status: () => this.#status(),
      metrics: (format) => this.#metrics(format),
      scrub: (request) => this.#requestScrub(request),
      stop: (lazy) => this.stop(lazy),
      flush: () => this.#flush(),
      remount: (readOnly, flags) => this.#remount(readOnly, flags),
    });
    try {
      this.#fuseFd = openFuse();
      const engine = this.#startEngine(keyFd, this.#fuseFd);
      engine.start({
        backing,
        readOnly: options.readOnly,
        cacheBytes: options.cacheBytes,
        writeback: options.writeback,
        mlock: options.mlock,
        debug: options.debug,
      });
      this.#recovery = (await engine.opened()).recovery;
      const serving = engine.serving();
      // Awaited below: until then its failure is nobody's, and Node would end the process for it.
      serving.catch(() => undefined);
      this.#entry = await mountFuse(this.#fuseFd, backing, dir, options);
      await serving;
      this.#record(engine);
      await this.#audit.mounted({ ...this.#config, enginePid: engine.pid }, this.#recovery);
    } catch (error) {
      await this.abort();
      throw error;
    }
    const { commits, files, gone, droppedTail } = this.#recovery;
    log(`mounted ${backing} on ${dir}, volume ${this.#config.uuid}`);
    if (commits > 0 || droppedTail) log(`recovered ${commits} commits of ${files} files, ${gone} gone`);
    await raiseReadAhead(this.#entry).catch((error: unknown) =>
      this.#warn(`read-ahead: ${messageOf(error)}`),
    );
  }

  /** Takes down what `start` has made so far. */
  async abort(): Promise<void> {
    this.#engine?.kill();
    this.#closeFuse();
    if (this.#isMounted()) await unmountFuse(this.#config.dir, true);
    await this.#engine?.gone;
    removeRunDirectory(this.#config.dir);
    await this.#control?.close({ code: "EngineFailed", message: "the mount did not come up" });
  }

  /** Waits for the end of a mount that is up, and cleans up behind it. */
  async ended(): Promise<Ended> {
    const engine = this.#engine;
    if (engine === undefined) throw new Error("not started");
    const { status, signal } = await engine.gone;
    const wasMounted = this.#isMounted();
    // The last descriptor of the connection: who waits for an answer now gets an error instead of waiting for ever.
    this.#closeFuse();
    if (wasMounted) await unmountFuse(this.#config.dir, true);
    const how = signal === null ? `ended with status ${status}` : `was killed by ${signal}`;
    const ended: Ended =
      status === 0 && !wasMounted
        ? { code: "Ok", message: "unmounted" }
        : {
            code: engine.failure?.code ?? "EngineFailed",
            message:
              engine.failure?.line ?? `the engine ${how}; what was committed is recovered by the next mount`,
          };
    if (ended.code === "Ok") log(`unmounted ${this.#config.dir}`);
    else log(ended.message, "error");
    await this.#audit.ended(ended, this.#config.dir);
    removeRunDirectory(this.#config.dir);
    await this.#control?.close(ended);
    return ended;
  }

  /** Unmounts. Resolves when umount(8) has answered; `ended` does when everything is written. */
  async stop(lazy: boolean): Promise<StopReply> {
    const { dir } = this.#config;
    if (this.#state === undefined) {
      await this.abort();
      return { stop: "done", detail: "the mount was not up yet" };
    }
    if (!this.#isMounted()) return { stop: "done", detail: "already unmounted, still being written" };
    const result = await unmountFuse(dir, lazy);
    if (result === "done") return { stop: "done", detail: "" };
    const users = result === "busy" ? usersOf(dir) : [];
    const detail =
      result === "busy"
        ? `${dir} is in use${users.length > 0 ? ` by ${users.join(", ")}` : ""}`
        : `umount(8): ${result.failed}`;
    this.#stopRefused = detail;
    log(`not unmounted: ${detail}`, "warning");
    return { stop: result === "busy" ? "busy" : "failed", detail };
  }

  async #flush(): Promise<FlushReply> {
    const failure = (await this.#engine?.flush()) ?? null;
    return failure === null ? { flush: "done", detail: "" } : { flush: "failed", detail: failure };
  }

  async #remount(readOnly: boolean, flags: readonly string[] | undefined): Promise<RemountReply> {
    const { dir } = this.#config;
    if (this.#state === undefined || this.#engine === undefined || !this.#isMounted()) {
      return { remount: "failed", detail: `${dir} is not mounted` };
    }
    const reply = await this.#changeAccess(this.#state, this.#engine, readOnly, flags);
    this.#audit.remounted(dir, readOnly, reply);
    return reply;
  }

  /**
   * The kernel first, which refuses it while files are open for writing, and then the engine, which writes everything
   * home; the other way round for read-write.
   */
  async #changeAccess(
    state: MountState,
    engine: Engine,
    readOnly: boolean,
    flags: readonly string[] | undefined,
  ): Promise<RemountReply> {
    const { dir, options } = this.#config;
    const before = {
      netdev: options.netdev,
      readOnly: state.readOnly,
      kernelFlags: this.#flags ?? options.kernelFlags,
    };
    const wanted = { ...before, readOnly, kernelFlags: flags ?? before.kernelFlags };
    const refused = readOnly ? null : await engine.remount(false);
    if (refused !== null) return { remount: "failed", detail: refused };
    const result = await remountFuse(dir, wanted);
    let failure = result === "done" || result === "busy" ? undefined : result.failed;
    if (result === "done" && readOnly) failure = (await engine.remount(true)) ?? undefined;
    if (result !== "done" || failure !== undefined) {
      if (result === "done") await remountFuse(dir, before);
      else if (!readOnly && before.readOnly) await engine.remount(true);
      if (result !== "busy") return { remount: "failed", detail: failure ?? "" };
      return { remount: "busy", detail: `${dir} is written to by ${usersOf(dir).join(", ") || "somebody"}` };
    }
    this.#flags = wanted.kernelFlags;
    this.#state = { ...state, readOnly, options: withAccess(state.options, readOnly) };
    writeState(this.#state);
    log(`remounted ${dir} ${readOnly ? "read-only, everything is home" : "read-write"}`);
    return { remount: "done", detail: "" };
  }

  #startEngine(keyFd: number, fuseFd: number): Engine {
    const engine = new Engine(this.#config.engine, keyFd, fuseFd);
    closeSync(keyFd);
    engine.on("warning", (message) => this.#warn(message));
    engine.on("tamper", (event) => {
      this.#tamperEvents += 1;
      log(tamperLine(event), "error");
      this.#audit.tampered(event);
    });
    const scrub = new ScrubKeeper(this.#config.uuid, (message) => engine.scrub(message), {
      started: (status) => {
        const { rate } = status;
        log(`scrub: begins, ${rate === 0 ? "as fast as it can" : `${rate} bytes a second`}`);
        this.#audit.scrubbed(status);
      },
      ended: (status) => {
        const { state, counts, findingCount } = status;
        log(`scrub: ${state}, ${counts.files} files and ${counts.bytes} bytes, problems: ${findingCount}`);
        this.#audit.scrubbed(status);
      },
    });
    engine.on("scrub", (message) => scrub.progressed(message));
    engine.on("finding", (message) => scrub.found(message));
    this.#scrub = scrub;
    this.#engine = engine;
    return engine;
  }

  #record(engine: Engine): void {
    const { backing, dir, uuid, optionNames } = this.#config;
    this.#state = {
      version: 1,
      backing,
      dir,
      uuid,
      since: new Date().toISOString(),
      options: optionNames,
      readOnly: this.#config.options.readOnly,
      daemon: identity(process.pid),
      engine: identity(engine.pid),
      log: this.#config.log,
    };
    writeState(this.#state);
  }

  async #status(): Promise<LiveStatus> {
    if (this.#state === undefined) throw new UserError("NotMounted", "the mount is not up yet");
    return {
      mount: this.#state,
      engine: (await this.#engine?.status()) ?? null,
      recovery: this.#recovery,
      tamperEvents: this.#tamperEvents,
      warnings: this.#warnings,
      scrub: this.#scrub?.status ?? null,
      stopRefused: this.#stopRefused,
    };
  }

  #requestScrub({ action, rate, restart }: ScrubRequest): ScrubStatus | null {
    if (this.#state === undefined || this.#scrub === undefined) {
      throw new UserError("NotMounted", "the mount is not up yet");
    }
    if (action === "start") return this.#scrub.start(rate, restart);
    return this.#scrub.end(action === "pause" ? "paused" : "stopped");
  }

  async #metrics(format: Format): Promise<string> {
    const live = await this.#status();
    return expose([mountStatus(live.mount, this.#isMounted(), live)], format);
  }

  /** Whether our own file system, and not a later one, is what is mounted there. */
  #isMounted(): boolean {
    return this.#entry !== undefined && mountAt(this.#config.dir)?.device === this.#entry.device;
  }

  #closeFuse(): void {
    if (this.#fuseFd !== undefined) closeSync(this.#fuseFd);
    this.#fuseFd = undefined;
  }

  #warn(message: string): void {
    log(`warning: ${message}`, "warning");
    this.#warnings = [...this.#warnings, message].slice(-WARNINGS_KEPT);
  }
}

function tamperLine({ event, file, place, detail }: TamperMessage): string {
  return `${event}: file ${file ?? "?"}, ${place ?? "in an unknown place"}: ${detail ?? ""}`;
}

/** What the mount's options are after a remount. */
function withAccess(options: readonly string[], readOnly: boolean): string[] {
  return [...options.filter((option) => option !== "ro" && option !== "rw"), readOnly ? "ro" : "rw"];
}

function identity(pid: number | undefined): ProcessId {
  const id = pid === undefined ? undefined : processId(pid);
  if (id === undefined) throw new UserError("EngineFailed", "the engine ended while the mount came up");
  return id;
}
