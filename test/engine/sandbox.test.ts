/** What the engine has given up, as the kernel tells it: in every thread, since most of it is a thread's own. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import t from "tap";
import { TestVolume } from "../support/test-volume.js";

/** Bits of capabilities(7) that a file server has no use for */
const USELESS = {
  CAP_KILL: 5,
  CAP_SETGID: 6,
  CAP_SETUID: 7,
  CAP_SETPCAP: 8,
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
  CAP_SYS_MODULE: 16,
  CAP_SYS_RAWIO: 17,
  CAP_SYS_CHROOT: 18,
  CAP_SYS_PTRACE: 19,
  CAP_SYS_BOOT: 22,
  CAP_SYS_TIME: 25,
  CAP_SYSLOG: 34,
  CAP_BPF: 39,
};

function fields(path: string): Map<string, string> {
  const lines = readFileSync(path, "utf8").split("\n");
  return new Map(lines.map((line) => line.split(":\t") as [string, string]));
}

t.test("no network, no new privileges, no needless capabilities, a seccomp filter, no dumps", async (t) => {
  const volume = await TestVolume.make(t);
  await volume.up(t);
  const proc = `/proc/${(await volume.status()).enginePid}`;
  const threads = readdirSync(`${proc}/task`);
  t.ok(threads.length > 1);
  for (const thread of threads) {
    const status = fields(`${proc}/task/${thread}/status`);
    t.equal(status.get("NoNewPrivs"), "1");
    t.equal(status.get("Seccomp"), "2", "filtering");
    for (const set of ["CapEff", "CapPrm", "CapBnd"]) {
      const bits = BigInt(`0x${status.get(set)}`);
      const held = Object.entries(USELESS).filter(([, bit]) => (bits >> BigInt(bit)) & 1n);
      t.strictSame(held, [], set);
    }
    t.match(status.get("CapInh"), /^0+$/);
    t.not(readlinkSync(`${proc}/task/${thread}/ns/net`), readlinkSync("/proc/self/ns/net"));
  }
  t.match(readFileSync(`${proc}/limits`, "utf8"), /^Max core file size +0 +0 /m);
  const devices = readFileSync(`${proc}/net/dev`, "utf8").match(/^ *\w+:/gm);
  t.strictSame(
    devices?.map((name) => name.trim()),
    ["lo:"],
    "an empty network namespace",
  );
  t.notMatch((await volume.status()).warnings.join("\n"), /sandbox/);
  await volume.down(t);
});
