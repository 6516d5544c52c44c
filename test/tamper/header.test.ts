/**
 * The row of the threat table about volume.json: each attack on a real volume, opened by a host that has pinned it and by
 * one that has not, and under a mount. docs/threat-model.md has the results.
 */

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import type { AuditLine } from "../../src/audit/event.js";
import { UserError } from "../../src/errors.js";
import { newDomainKey } from "../../src/keys/domain.js";
import type { Slot } from "../../src/keys/slots.js";
import { remount } from "../../src/mount/remount.js";
import { parseHeader } from "../../src/volume/header.js";
import { wrapKey } from "../../src/volume/key-source.js";
import { openVolume } from "../../src/volume/open.js";
import { addSlot, removeSlot } from "../../src/volume/slots.js";
import { headerPath } from "../support/headers.js";
import { KmsStandin } from "../support/kms-standin.js";
import { runKmsfs } from "../support/run-kmsfs.js";
import { TestVolume } from "../support/test-volume.js";
import { copy } from "./backing.js";
import { sectionIs } from "./document.js";
import { HEADER_ATTACKS, type HeaderAttack, type HeaderScene } from "./header-attacks.js";

const ROW = "volume parameters, key slots changed";
const OPEN = { kmsTimeoutMs: 60_000 };

class Host {
  constructor(
    readonly volume: TestVolume,
    readonly scene: HeaderScene,
    readonly kms: KmsStandin,
    readonly key: Buffer,
  ) {}

  /** As this host has it, or as one that has never seen the volume. */
  as(known: boolean): void {
    const { scratch } = this.volume;
    const etc = scratch.file(known ? "etc" : "etc-of-a-stranger");
    rmSync(etc, { recursive: true, force: true });
    if (known) cpSync(scratch.file("etc-pristine"), etc, { recursive: true });
    else mkdirSync(etc);
    this.kms.requests.length = 0;
    process.env.KMSFS_ETC = etc;
  }

  undo(): void {
    const control = `${this.volume.backing}/.kmsfs`;
    for (const name of readdirSync(control).filter((name) => name.startsWith("volume.json"))) {
      rmSync(`${control}/${name}`, { recursive: true });
    }
    for (const name of ["volume.json", "volume.json.bak"]) {
      copy(this.volume.scratch.file(`control-pristine/${name}`), `${control}/${name}`);
    }
    this.as(true);
  }

  /** "opens", or what it is refused as. */
  async open(): Promise<string> {
    return outcomeOf(async () => {
      const { dk, audit } = await openVolume(this.volume.backing, { ...OPEN, purpose: "mount" });
      const own = dk.equals(this.key);
      dk.fill(0);
      await audit.close();
      return own ? "opens" : "opens with another key";
    });
  }

  /** The same of `kmsfs key add`. */
  async addKey(): Promise<string> {
    const path = this.volume.scratch.file("added-key");
    rmSync(path, { force: true });
    return outcomeOf(async () => {
      await addSlot({
        ...OPEN,
        backing: this.volume.backing,
        source: { provider: "keyfile", path },
        label: "",
      });
      return "done";
    });
  }

  /** Whether KMS was asked for the attacker's key since the last host was set up. */
  get attackersKeyAsked(): boolean {
    const { kms: slot } = this.scene.attackers;
    return this.kms.requests.some(({ input }) => slot.provider === "aws-kms" && input.KeyId === slot.keyArn);
  }

  /** Events in the chain of the volume. */
  chain(): AuditLine[] {
    const { uuid } = parseHeader(readFileSync(this.volume.scratch.file("control-pristine/volume.json")));
    const lines = readFileSync(this.volume.scratch.file(`log/${uuid}.audit`), "utf8")
      .trimEnd()
      .split("\n");
    return lines.map((line) => JSON.parse(line) as AuditLine);
  }
}

async function outcomeOf(work: () => Promise<string>): Promise<string> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UserError) return `exit ${error.exitCode} (${error.code})`;
    throw error;
  }
}

function told({ event, outcome, code, detail }: AuditLine): string {
  const header = (detail as { header?: string } | undefined)?.header;
  if (event === "tamper")
    return `tamper: ${(header ?? "").replace(/^.*volume\.json is damaged: /, "").replace(/\S*\.json$/, "the pin")}`;
  return `${event} ${outcome}${code === undefined ? "" : `: ${code}`}`;
}

/** A volume with slots of two kinds, of which one was removed, and what an attacker may have of it. */
async function build(t: Test): Promise<Host> {
  const volume = await TestVolume.make(t);
  const { scratch, backing } = volume;
  const kms = await KmsStandin.start();
  t.teardown(() => kms.stop());
  kms.keys.add("phi");
  const { arn } = kms.keys.add("attacker", "999988887777");
  Object.assign(process.env, { ...volume.env, ...kms.environment() });
  const read = () => readFileSync(headerPath(backing));
  const former = new Map([[1, read()]]);
  const options = { ...OPEN, backing, label: "" };
  const keyfile = (name: string) => ({ provider: "keyfile", path: scratch.file(name) }) as const;
  await addSlot({
    ...options,
    source: { provider: "aws-kms", keyId: "alias/phi", context: { team: "billing" }, timeoutMs: 60_000 },
  });
  former.set(2, read());
  const { slot } = await addSlot({ ...options, source: keyfile("key-lost") });
  former.set(3, read());
  await removeSlot({ ...options, id: slot.id });
  cpSync(backing, scratch.file("clone"), { recursive: true });
  await addSlot({ ...options, source: keyfile("key-of-now") });

  await volume.up(t);
  writeFileSync(volume.at("file"), "content");
  await volume.down(t);
  cpSync(`${backing}/.kmsfs`, scratch.file("control-pristine"), { recursive: true });
  cpSync(scratch.file("etc"), scratch.file("etc-pristine"), { recursive: true });

  const { uuid } = parseHeader(read());
  const evil = newDomainKey();
  const made = { id: 1, label: "", created: new Date().toISOString() };
  const wrapped = async (source: Parameters<typeof wrapKey>[0]) =>
    ({ ...(await wrapKey(source, evil, { uuid, domain: "volume" })).slot, ...made }) as Slot;
  writeFileSync(scratch.file("key-of-attacker"), Buffer.alloc(32, 9), { mode: 0o600 });
  const attackers = {
    keyfile: await wrapped(keyfile("key-of-attacker")),
    kms: await wrapped({ provider: "aws-kms", keyId: arn, context: {}, timeoutMs: 60_000 }),
  };
  // Elsewhere: the clone's slots are changed twice, another volume is made with a key file that is at hand.
  process.env.KMSFS_ETC = scratch.file("etc-elsewhere");
  for (const name of ["key-elsewhere-1", "key-elsewhere-2"]) {
    await addSlot({ ...options, backing: scratch.file("clone"), source: keyfile(name) });
  }
  const foreign = scratch.file("foreign");
  const other = await volume.run("init", foreign, "--keyfile", volume.keyfile);
  if (other.code !== "Ok") throw new Error(other.stderr);
  rmSync(scratch.file(`etc/${parseHeader(readFileSync(headerPath(foreign))).uuid}.json`));
  process.env.KMSFS_ETC = scratch.file("etc");
  const opened = await openVolume(backing, { ...OPEN, purpose: "read" });
  const key = Buffer.from(opened.dk);
  await opened.audit.close();
  writeFileSync(`${backing}.outside`, "outside");
  return new Host(volume, { backing, former, foreign, clone: scratch.file("clone"), attackers }, kms, key);
}

t.test("attacks on volume.json", async (t) => {
  const host = await build(t);
  host.undo();
  const { volume } = host;
  const lines: string[][] = [];
  for (const attack of HEADER_ATTACKS) {
    const line = host.chain().length;
    attack.act(host.scene);
    const known = await host.open();
    t.notOk(host.attackersKeyAsked, `${attack.does}: the attacker's KMS key is not asked`);
    const events = host.chain().slice(line).map(told);
    host.as(false);
    const unknown = await host.open();
    const mounted = attack.mounts ? await mountedBy(host) : "";
    host.undo();
    judge(t, attack, known, unknown, events);
    lines.push([attack.does, known, events.join("; "), `${unknown}${mounted}`, verdictOf(attack)]);
  }

  await volume.up(t);
  const under: string[] = [];
  for (const attack of HEADER_ATTACKS) {
    attack.act(host.scene);
    t.equal(readFileSync(volume.at("file"), "utf8"), "content", `${attack.does}: the mount goes on`);
    writeFileSync(volume.at("written"), attack.does);
    const added = await host.addKey();
    t.equal(added === "done", attack.taken === "by all", `${attack.does}: key add: ${added}`);
    under.push(added);
    host.undo();
  }
  HEADER_ATTACKS[0]?.act(host.scene);
  t.equal((await volume.status()).tamperEvents, 0, "the mount itself does not need volume.json");
  for (const readOnly of [true, false]) await remount(volume.dir, { readOnly, kernelFlags: undefined });
  await volume.down(t);
  host.undo();
  t.equal(await host.open(), "opens", "and all is as it was");
  t.equal(readFileSync(`${volume.backing}.outside`, "utf8"), "outside", "nothing outside was written");

  const head = [
    "what was done",
    "a host that has it pinned",
    "events",
    "another host",
    "mounted: `key add`",
    "",
  ];
  sectionIs(
    t,
    "header",
    head,
    lines.map((cells, index) => ({
      row: ROW,
      cells: [...cells.slice(0, 4), under[index] ?? "", cells[4] ?? ""],
    })),
  );
});

function judge(
  t: Test,
  { does, taken, harmless }: HeaderAttack,
  known: string,
  unknown: string,
  events: string[],
): void {
  t.equal(known === "opens", taken === "by all", `${does}: where it is known: ${known}`);
  t.equal(unknown.startsWith("opens"), taken !== "by none", `${does}: where it is not: ${unknown}`);
  if (harmless) return;
  if (taken === "by all") t.same(events, ["unlock ok"], does);
  else {
    // Each slot that did not open has a line of its own before it.
    const whole = events.filter((event, index) => index === events.length - 1 || event.startsWith("tamper"));
    t.equal(whole.length, 1, `${does}: one event: ${events}`);
    t.notOk(events.includes("unlock ok"), does);
  }
}

function verdictOf({ taken, why, harmless }: HeaderAttack): string {
  if (harmless) return "no effect";
  if (taken === "by none") return "D";
  return taken === "by strangers" ? `D with the host's pin${why ? `: ${why}` : ""}` : `U: ${why}`;
}

/** What a mount comes to where volume.json opens and is another's. */
async function mountedBy({ volume }: Host): Promise<string> {
  const env = { ...volume.env, KMSFS_ETC: process.env.KMSFS_ETC ?? "" };
  const { status, code } = await runKmsfs(["mount", volume.backing, volume.dir], env);
  return `; the mount: exit ${status} (${code})`;
}
