/** What a service tells systemd: sd_notify(3). */

import { spawn } from "node:child_process";

/**
 * The service manager that started this process. Node has no datagram sockets of the local family: systemd-notify(1), which
 * is where systemd is, sends for us and in our name (it gives its parent's pid, so NotifyAccess=main is enough).
 */
export class ServiceManager {
  readonly #socket: string;
  #sent: Promise<void> = Promise.resolve();

  private constructor(socket: string) {
    this.#socket = socket;
  }

  /** Undefined when no manager wants to hear. Takes the variable out of the environment: it is not our children's. */
  static fromEnvironment(): ServiceManager | undefined {
    const socket = process.env.NOTIFY_SOCKET;
    delete process.env.NOTIFY_SOCKET;
    return socket ? new ServiceManager(socket) : undefined;
  }

  /** Sends assignments such as "READY=1" as one message, after those before it. Failures are nobody's concern. */
  say(...assignments: readonly string[]): void {
    const lines = assignments.map((assignment) => assignment.replaceAll("\n", " "));
    this.#sent = this.#sent.then(() => this.#send(lines));
  }

  /** Resolves when all that was said is sent. */
  async flushed(): Promise<void> {
    await this.#sent;
  }

  #send(assignments: readonly string[]): Promise<void> {
    return new Promise((done) => {
      const child = spawn("systemd-notify", [...assignments], {
        stdio: "ignore",
        cwd: "/",
        env: { PATH: "/usr/bin:/bin:/usr/local/bin", NOTIFY_SOCKET: this.#socket },
      });
      child.once("error", () => done());
      child.once("close", () => done());
    });
  }
}
