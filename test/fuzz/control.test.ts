// The control socket of a daemon, which hears anything: each line is answered by one line, and the next by the next.
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { type ControlHandlers, ControlServer } from "../../src/mount/control.js";
import { LineReader } from "../../src/mount/lines.js";
import { damaged, damages, fuzz } from "./damage.js";

const done = { detail: "" };
const asked: string[] = [];
const handlers: ControlHandlers = {
  status: async () => ({
    mount: {} as never,
    engine: null,
    recovery: { commits: 0, files: 0, gone: 0, droppedTail: false },
    tamperEvents: 0,
    warnings: [],
    scrub: null,
    stopRefused: "x".repeat(2000),
  }),
  metrics: async () => "# EOF\n",
  scrub: ({ rate }) => {
    if (!Number.isSafeInteger(rate)) throw new Error("rate");
    return null;
  },
  stop: async () => ({ stop: "busy", ...done }),
  flush: async () => ({ flush: "done", ...done }),
  remount: async (_, flags) => {
    asked.push(...(flags ?? []).map((flag) => flag.toLowerCase()));
    return { remount: "done", ...done };
  },
};

const directory = mkdtempSync("/var/tmp/kmsfs-fuzz-");
const path = join(directory, "control");
const server = await ControlServer.listen(path, handlers);
t.teardown(async () => {
  await server.close({ code: "Ok", message: "" });
  rmSync(directory, { recursive: true, force: true });
});

function opened(): Promise<Socket> {
  return new Promise((open, failed) => {
    const socket = connect(path, () => open(socket));
    socket.once("error", failed);
  });
}

/** All lines that come until the server has answered `last`, or hung up. */
async function answers(sent: Buffer, last: string): Promise<string[]> {
  const socket = await opened();
  const reader = new LineReader();
  const lines: string[] = [];
  const over = new Promise<void>((done) => {
    socket.on("data", (chunk) => {
      lines.push(...reader.push(chunk as Buffer));
      if (lines.some((line) => line.includes(last))) done();
    });
    socket.once("close", () => done());
    socket.once("error", () => done());
  });
  socket.write(Buffer.concat([sent, Buffer.from(`\n{"request":"${last}"}\n`)]));
  await over;
  socket.destroy();
  return lines;
}

async function serves(): Promise<boolean> {
  const lines = await answers(Buffer.from('{"request":"flush"}'), "metrics");
  return lines.some((line) => line.includes('"flush":"done"'));
}

const sound = [
  '{"request":"status"}',
  '{"request":"stop","lazy":true}',
  '{"request":"remount","readOnly":true,"flags":["nosuid","relatime"]}',
  '{"request":"scrub","action":"start","rate":0,"restart":false}',
  '{"request":"watch"}',
];
const message = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.stringify(value)),
  fc.constantFrom(...sound, "null", '{"request":"remount","flags":5}', '{"request":"remount","flags":[1]}'),
  fc.tuple(fc.constantFrom(...sound), damages()).map(([text, damage]) =>
    damaged(Buffer.from(text), damage, Buffer.from(sound[2] ?? ""))
      .toString("latin1")
      .replaceAll("\n", " "),
  ),
);

t.test("any lines are answered, one by one", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 8 }), async (messages) => {
      // What begins so is a scraper's, and the rest of the stream with it.
      const lines = messages.filter((line) => !/^(GET|HEAD) /.test(line));
      const got = await answers(Buffer.from(`x\n${lines.join("\n")}`), "metrics");
      const silent = lines.filter((line) => isWatch(line)).length;
      if (got.length !== lines.length + 2 - silent)
        throw new Error(`${got.length} answers to ${lines.length} lines`);
      for (const line of got) JSON.parse(line);
      if (!(await serves())) throw new Error("it serves no more");
    }),
    fuzz(60),
  );
});

function isWatch(line: string): boolean {
  try {
    return (JSON.parse(line) as { request?: unknown } | null)?.request === "watch";
  } catch {
    return false;
  }
}

t.test("a scraper may say anything", async () => {
  await fc.assert(
    fc.asyncProperty(damages([[4, 1]]), async (damage) => {
      const request = Buffer.from("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      const socket = await opened();
      socket.on("error", () => undefined);
      socket.resume();
      socket.end(damaged(request, damage, Buffer.alloc(100, 0x0d)));
      await new Promise<void>((closed) => socket.once("close", () => closed()));
      if (!(await serves())) throw new Error("it serves no more");
    }),
    fuzz(20),
  );
});

t.test(
  "who reads no answers holds no more of them than the sockets and two chunks of requests bring",
  async (t) => {
    const socket = await opened();
    socket.pause();
    const flood = Buffer.from('{"request":"status"}\n'.repeat(20_000));
    const before = process.memoryUsage().rss;
    let taken = 0;
    const write = (): void => {
      // 20 MiB of requests that would be answered by 2 GiB.
      while (taken < 50) {
        taken += 1;
        if (!socket.write(flood)) return void socket.once("drain", write);
      }
    };
    write();
    // Others are served meanwhile, many times over.
    for (let i = 0; i < 50; i++) t.ok(await serves());
    t.ok(socket.bytesWritten < flood.length * 20, `${socket.bytesWritten} bytes of requests were taken`);
    t.ok(process.memoryUsage().rss - before < 512 * 2 ** 20, "and their answers do not pile up");
    socket.destroy();
  },
);

t.test("flags of a remount are text", async (t) => {
  const got = await answers(
    Buffer.from('{"request":"remount","flags":5}\n{"request":"remount","flags":[null]}'),
    "metrics",
  );
  t.match(got.slice(0, 2), [/bad remount request/, /bad remount request/]);
});
