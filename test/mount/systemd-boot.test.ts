/** The unit under a real systemd, with a KMS that is not there, throttles, refuses, and goes. */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import { ExitCode } from "../../src/cli/exit-codes.js";
import type { StandinKey } from "../support/kms-keys.js";
import { KmsStandin } from "../support/kms-standin.js";
import { cannotRunSystemd, PrivateSystemd } from "../support/private-systemd.js";
import type { Ended } from "../support/programs.js";
import { until } from "../support/until.js";

const UNIT = "kmsfs@srv-phi.service";

interface Host {
  readonly systemd: PrivateSystemd;
  readonly kms: KmsStandin;
  readonly key: StandinKey;
  readonly environment: Readonly<Record<string, string>>;
  kmsfs(...args: string[]): Promise<Ended>;
  /** A property of the unit */
  shows(name: string): Promise<string>;
}

/** A volume in /data/phi with a KMS slot, and the unit as it is, but for a shorter pause and a log in a file. */
async function makeHost(t: Test): Promise<Host> {
  const kms = await KmsStandin.start();
  t.teardown(() => kms.stop());
  const key = kms.keys.add("phi");
  const systemd = await PrivateSystemd.start(t);
  const environment = { ...kms.environment(), KMSFS_SYSLOG: "" };
  const kmsfs = (...args: string[]) => systemd.run(environment, "kmsfs", ...args);
  const made = await kmsfs("init", "/data/phi", "--kms-key", "alias/phi");
  t.equal(made.status, 0, made.stderr);
  mkdirSync(systemd.path("/srv/phi"));
  mkdirSync(systemd.path("/opt/units/kmsfs@.service.d"));
  systemd.write(
    "/opt/units/kmsfs@.service.d/test.conf",
    "[Service]\nRestartSec=1\nStandardOutput=append:/var/log/unit\nStandardError=append:/var/log/unit\n",
  );
  t.equal((await systemd.systemctl("daemon-reload")).status, 0);
  const shows = (name: string) => systemd.property(UNIT, name);
  return { systemd, kms, key, environment, kmsfs, shows };
}

function configure({ systemd, environment }: Host, options: string): void {
  const settings = Object.entries(environment).map(([name, value]) => `${name}=${value}\n`);
  const text = `KMSFS_BACKING=/data/phi\nKMSFS_OPTIONS=${options}\n${settings.join("")}`;
  systemd.write("/etc/kmsfs/volumes/srv-phi.conf", text);
}

const begin = ({ systemd }: Host) => systemd.systemctl("start", "--no-block", UNIT);

/** Until the unit has ended once more, with that code, and systemd is about to start it again. */
async function endsAndIsTriedAgain(t: Test, host: Host, code: number): Promise<void> {
  const before = Number(await host.shows("NRestarts"));
  let shown = "";
  await until("it ends and is tried again", async () => {
    shown = (await host.systemd.systemctl("show", "-p", "SubState,ExecMainStatus,NRestarts", UNIT)).stdout;
    return shown.includes("SubState=auto-restart") && !shown.includes(`NRestarts=${before}\n`);
  });
  t.match(shown, `ExecMainStatus=${code}\n`);
}

async function mounted(t: Test, host: Host): Promise<void> {
  await until("it is mounted", async () => (await host.shows("ActiveState")) === "active");
  t.equal(await host.shows("StatusText"), "serving /data/phi on /srv/phi");
}

async function stopped(t: Test, host: Host): Promise<void> {
  t.equal((await host.systemd.systemctl("stop", UNIT)).status, 0);
  t.equal(await host.shows("ActiveState"), "inactive");
  t.equal(await host.shows("Result"), "success");
  t.equal((await host.systemd.run({}, "findmnt", "/srv/phi")).status, 1, "nothing is mounted there");
}

t.test("the unit and its KMS", { skip: cannotRunSystemd(), timeout: 120_000 }, async (t) => {
  const host = await makeHost(t);
  const { systemd, kms, key } = host;

  await t.test("a KMS that nobody can reach at boot is waited for; a mount outlives its KMS", async (t) => {
    configure(host, "kms-timeout=3");
    let comeBack = await kms.goDown();
    t.equal((await begin(host)).status, 0);
    await until("it says what it waits for", async () =>
      /^waiting: .*KMS/.test(await host.shows("StatusText")),
    );
    await endsAndIsTriedAgain(t, host, ExitCode.KmsUnreachable);
    await comeBack();
    await mounted(t, host);

    comeBack = await kms.goDown();
    t.equal(
      (await host.kmsfs("key", "check", "/data/phi", "--kms-timeout", "1")).status,
      ExitCode.KmsUnreachable,
    );
    const script = "echo written without KMS >/srv/phi/file && sync /srv/phi/file && cat /srv/phi/file";
    t.equal((await systemd.run({}, "sh", "-c", script)).stdout, "written without KMS\n");
    t.equal((await host.kmsfs("status", "/srv/phi")).status, 0);
    await stopped(t, host);
    await comeBack();
    t.equal((await host.kmsfs("verify", "/data/phi")).status, 0, "it was written out without KMS");
  });

  await t.test("a KMS that throttles is asked again later", async (t) => {
    configure(host, "kms-timeout=3");
    kms.behaviour = { kind: "throttle", times: Number.POSITIVE_INFINITY };
    t.equal((await begin(host)).status, 0);
    await endsAndIsTriedAgain(t, host, ExitCode.KmsThrottled);
    kms.behaviour = { kind: "normal" };
    await mounted(t, host);
    t.equal(readFileSync(systemd.path("/srv/phi/file"), "utf8"), "written without KMS\n");
    await stopped(t, host);
  });

  await t.test("what only a person can cure is said once, and not tried again", async (t) => {
    const fails = async (code: number): Promise<void> => {
      t.not((await systemd.systemctl("start", UNIT)).status, 0);
      t.equal(await host.shows("ActiveState"), "failed");
      t.equal(await host.shows("NRestarts"), "0");
      t.equal(await host.shows("ExecMainStatus"), String(code));
      await systemd.systemctl("reset-failed", UNIT);
    };
    key.state = "Disabled";
    configure(host, "kms-timeout=3");
    await fails(ExitCode.KmsKeyDisabled);
    key.state = "Enabled";
    const other = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-0000-0000-000000000000";
    configure(host, `kms-timeout=3,kms-key=${other}`);
    await fails(ExitCode.PinMismatch);
    configure(host, "kms-timeout=3,keyfile=/nowhere");
    await fails(ExitCode.Usage);
    writeFileSync(systemd.path("/data/phi/.kmsfs/volume.json"), "{}");
    configure(host, "kms-timeout=3");
    await fails(ExitCode.Damaged);
  });
});
