/** rsyslogd appends to a log on the mount while logrotate renames or truncates it under its feet. */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import { APPLICATION, cannotRun, run, start } from "../support/programs.js";
import { until } from "../support/until.js";
import { AppVolume } from "./app-volume.js";

const SENDERS = 3;
/** Lines that a sender sends at a time. */
const BATCH = 200;

/** rsyslogd in the foreground, with a configuration, socket and process number of its own; logrotate beside it. */
class Logging {
  #daemon: ChildProcess | undefined;
  #complaints = "";

  constructor(
    /** On the mount. */
    readonly logs: string,
    /** Not on the mount. */
    readonly dir: string,
  ) {}

  get log(): string {
    return `${this.logs}/app.log`;
  }

  get #socket(): string {
    return `${this.dir}/socket`;
  }

  get #pidfile(): string {
    return `${this.dir}/pid`;
  }

  async start(): Promise<void> {
    const configuration = `
      global(workDirectory="${this.dir}")
      module(load="imuxsock" SysSock.Use="off")
      input(type="imuxsock" Socket="${this.#socket}" RateLimit.Interval="0" ParseTrusted="off")
      template(name="message" type="string" string="%msg%\\n")
      action(type="omfile" file="${this.log}" template="message" fileCreateMode="0640")`;
    writeFileSync(`${this.dir}/rsyslog.conf`, configuration);
    const argv = ["rsyslogd", "-n", "-f", `${this.dir}/rsyslog.conf`, "-i", this.#pidfile];
    const daemon = start(argv, { cwd: this.dir, who: APPLICATION });
    daemon.stderr.on("data", (chunk: Buffer) => {
      this.#complaints += chunk.toString();
    });
    this.#daemon = daemon;
    await until("rsyslogd listens", () => {
      if (daemon.exitCode !== null) throw new Error(`rsyslogd does not start: ${this.#complaints}`);
      return exists(this.#socket) && exists(this.#pidfile);
    });
  }

  /** Waits until the last line of each sender is written: what is still in its socket, rsyslogd leaves there at its end. */
  async settled(counts: readonly number[]): Promise<void> {
    await until("the last lines are written", () => {
      const tail = [this.log, `${this.log}.1`].filter(exists).map((path) => readFileSync(path, "utf8"));
      return counts.every((count, sender) => tail.some((text) => text.includes(line(sender, count - 1))));
    });
  }

  async stop(): Promise<void> {
    const ended = this.#daemon && once(this.#daemon, "close");
    this.#daemon?.kill("SIGTERM");
    await ended;
  }

  /** Sends numbered lines over the socket, in order. */
  async send(sender: number, from: number, to: number): Promise<void> {
    const lines = Array.from({ length: to - from }, (_, k) => `${line(sender, from + k)}\n`).join("");
    // Like a program's own messages, each is one datagram; the sender waits while the daemon is behind.
    await run(["logger", "--socket", this.#socket, "--socket-errors=on", "-d"], {
      cwd: this.dir,
      who: APPLICATION,
      input: lines,
    });
  }

  async rotate(...directives: string[]): Promise<void> {
    const configuration = `"${this.log}" {\n${["rotate 50", "compress", "delaycompress", ...directives].join("\n")}\n}\n`;
    const path = `${this.dir}/logrotate.conf`;
    writeFileSync(path, configuration, { mode: 0o644 });
    const argv = ["logrotate", "--force", "--state", `${this.dir}/logrotate.state`, path];
    await run(argv, { cwd: this.dir, who: APPLICATION });
  }

  /** Has rsyslogd close its files, so that it opens the new one. */
  get reopen(): string[] {
    return ["create 0640", "postrotate", `kill -HUP $(cat "${this.#pidfile}")`, "endscript"];
  }

  /** All that is in the log and what was rotated away, oldest first; which files that is. */
  async lines(): Promise<{ lines: string[]; files: string[] }> {
    const age = (name: string): number => Number(/\.(\d+)/.exec(name)?.[1] ?? 0);
    const files = readdirSync(this.logs).sort((a, b) => age(b) - age(a));
    const text = await run(["zcat", "-f", "--", ...files], { cwd: this.logs, who: APPLICATION });
    return { lines: text.split("\n").filter((text) => text !== ""), files };
  }
}

function line(sender: number, n: number): string {
  return `sender ${sender} line ${n} ${"x".repeat(1 + ((sender * 31 + n * 7) % 300))}`;
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** What a sender's lines should be: each once and in order. rsyslog keeps the blank before a message. */
function missing(lines: readonly string[], sender: number, count: number): string[] {
  const found = lines.map((text) => text.trim()).filter((text) => text.startsWith(`sender ${sender} `));
  const expected = Array.from({ length: count }, (_, n) => line(sender, n));
  return expected.length === found.length && expected.every((text, n) => text === found[n])
    ? []
    : [
        `${found.length} of ${expected.length}`,
        ...expected.filter((text) => !found.includes(text)).slice(0, 3),
      ];
}

/** Appends with all senders at once until the log has been rotated so often; how many lines each of them sent. */
async function appendAndRotate(
  logging: Logging,
  rotations: number,
  ...directives: string[]
): Promise<number[]> {
  let rotating = true;
  const senders = Array.from({ length: SENDERS }, async (_, sender) => {
    let sent = 0;
    for (; rotating; sent += BATCH) await logging.send(sender, sent, sent + BATCH);
    return sent;
  });
  const rotated = (async () => {
    for (let k = 0; k < rotations; k++) {
      // So that each finds something to rotate.
      await until("the log has grown", () => exists(logging.log) && statSync(logging.log).size > 10_000);
      await logging.rotate(...directives);
    }
  })().finally(() => {
    rotating = false;
  });
  const [counts] = await Promise.all([Promise.all(senders), rotated]);
  return counts;
}

const skip = cannotRun("rsyslogd", "logrotate", "logger");

async function daemon(t: Test, name: string): Promise<{ app: AppVolume; logging: Logging }> {
  const app = await AppVolume.make(t, APPLICATION);
  const logging = new Logging(app.dir, app.plain);
  await logging.start();
  t.pass(name);
  return { app, logging };
}

t.test("rotation by renaming and reopening loses and doubles nothing", { skip }, async (t) => {
  const { app, logging } = await daemon(t, "rsyslogd appends");
  const counts = await appendAndRotate(logging, 5, ...logging.reopen);
  await logging.settled(counts);
  await logging.stop();
  const { lines, files } = await logging.lines();
  t.equal(files.length, 6, files.join(" "));
  for (const [sender, count] of counts.entries()) {
    t.same(missing(lines, sender, count), [], `all ${count} lines of sender ${sender}, once and in order`);
  }
  await app.endClean(t);
});

t.test("copytruncate: the log goes on at its new end", { skip }, async (t) => {
  const { app, logging } = await daemon(t, "rsyslogd appends");
  const count = 300;
  // What is appended between the copy and the truncation is lost on any file system: nobody writes meanwhile.
  for (let round = 0; round < 4; round++) {
    const senders = Array.from({ length: SENDERS }, (_, sender) =>
      logging.send(sender, round * count, (round + 1) * count),
    );
    await Promise.all(senders);
    await until(
      "all of it is in the log",
      () => occurrences(readFileSync(logging.log), "\n") === SENDERS * count,
    );
    await logging.rotate("copytruncate");
    t.equal(statSync(logging.log).size, 0);
  }
  await logging.stop();
  const { lines, files } = await logging.lines();
  t.equal(files.length, 5, files.join(" "));
  for (let sender = 0; sender < SENDERS; sender++) {
    t.same(missing(lines, sender, 4 * count), [], `every line of sender ${sender}, once and in order`);
  }
  await app.endClean(t);
});

t.test("copytruncate under load: no line is doubled, no hole is left", { skip }, async (t) => {
  const { app, logging } = await daemon(t, "rsyslogd appends");
  const counts = await appendAndRotate(logging, 3, "copytruncate");
  await logging.stop();
  const { lines, files } = await logging.lines();
  t.equal(files.length, 4, files.join(" "));
  const whole = new Set(
    counts.flatMap((count, sender) => Array.from({ length: count }, (_, n) => line(sender, n))),
  );
  const found = lines.map((text) => text.trim());
  // A copy may end within what is being appended, on ext4 too.
  const torn = found.filter((text) => !whole.has(text));
  t.ok(
    torn.length <= 3,
    `${found.length} of ${whole.size} lines are kept, at the ends of copies torn: ${torn.join()}`,
  );
  t.equal(new Set(found).size, found.length, "none twice");
  await app.endClean(t);
});

function occurrences(bytes: Buffer, text: string): number {
  return bytes.toString("latin1").split(text).length - 1;
}
