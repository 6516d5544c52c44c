/** What is done to volume.json and its copy by somebody who can write them and has no key of the volume. */

import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import type { Slot } from "../../src/keys/slots.js";
import type { VolumeHeader } from "../../src/volume/header.js";
import { editHeader, headerPath } from "../support/headers.js";
import { flip, program } from "./backing.js";

/** What an attack has to work with. */
export interface HeaderScene {
  /** The backing directory to change */
  readonly backing: string;
  /** The bytes that volume.json once had, by generation */
  readonly former: ReadonlyMap<number, Buffer>;
  /** Backing directories: of another volume, and of a clone whose slots were changed elsewhere */
  readonly foreign: string;
  readonly clone: string;
  /** Slots that wrap a key of the attacker's for this volume: by a key file, by a KMS key of another account */
  readonly attackers: { readonly keyfile: Slot; readonly kms: Slot };
}

export interface HeaderAttack {
  readonly does: string;
  act(scene: HeaderScene): void;
  /** Which hosts take the volume all the same: none, those that do not know it, all */
  readonly taken: "by none" | "by strangers" | "by all";
  /** Why it is taken */
  readonly why?: string;
  /** What the attack does not change is what opens: it is no harm */
  readonly harmless?: true;
  /** volume.json is whole and another's: what a mount of it comes to is looked at */
  readonly mounts?: true;
}

/** volume.json with members changed, canonical, under the MAC that it had. */
function edit(change: (header: VolumeHeader) => object): (scene: HeaderScene) => void {
  return ({ backing }) => {
    const { header, write } = editHeader(backing);
    write({ ...header, ...change(header) });
  };
}

/** The same of one slot. */
function editSlot(provider: Slot["provider"], change: (slot: Slot, all: readonly Slot[]) => object) {
  return edit(({ slots }) => {
    const index = slots.findIndex((slot) => slot.provider === provider);
    return { slots: slots.map((slot, at) => (at === index ? { ...slot, ...change(slot, slots) } : slot)) };
  });
}

const rewrite = (change: (text: string) => string) => (scene: HeaderScene) => {
  const path = headerPath(scene.backing);
  writeFileSync(path, change(readFileSync(path, "utf8")));
};

const former = (generation: number) => (scene: HeaderScene) =>
  writeFileSync(headerPath(scene.backing), scene.former.get(generation) ?? "");

/** volume.json is gone and something else stands there. */
const instead = (make: (path: string, aside: string) => void) => (scene: HeaderScene) => {
  const path = headerPath(scene.backing);
  renameSync(path, `${path}.aside`);
  make(path, `${path}.aside`);
};

const OTHER = Buffer.alloc(32, 7).toString("base64");
const caught = (does: string, act: HeaderAttack["act"]): HeaderAttack => ({ does, act, taken: "by none" });

const PARAMETERS: readonly HeaderAttack[] = [
  caught(
    "format: 2",
    edit(() => ({ format: 2 })),
  ),
  caught(
    "format: 0",
    edit(() => ({ format: 0 })),
  ),
  caught(
    "kind: device",
    edit(() => ({ kind: "device" })),
  ),
  caught(
    "uuid changed",
    edit(({ uuid }) => ({ uuid: uuid.replace(/^./, (digit) => (digit === "0" ? "1" : "0")) })),
  ),
  caught(
    "blockSize changed",
    edit(() => ({ blockSize: 65536 })),
  ),
  caught(
    "a feature removed",
    edit(() => ({ features: [] })),
  ),
  caught(
    "an unknown feature added",
    edit(({ features }) => ({ features: [...features, "zz"] })),
  ),
  caught(
    "log.segmentSize changed",
    edit(({ log }) => ({ log: { ...log, segmentSize: 2 ** 25 } })),
  ),
  caught(
    "log.segments changed",
    edit(({ log }) => ({ log: { ...log, segments: 5 } })),
  ),
  caught(
    "generation raised",
    edit(({ generation }) => ({ generation: generation + 1 })),
  ),
  caught(
    "generation lowered",
    edit(({ generation }) => ({ generation: generation - 1 })),
  ),
  caught(
    "created changed",
    edit(() => ({ created: "2020-01-01T00:00:00.000Z" })),
  ),
  caught(
    "commitment changed",
    edit(() => ({ commitment: OTHER })),
  ),
  caught(
    "mac changed",
    edit(() => ({ mac: OTHER })),
  ),
  caught(
    "a member removed",
    edit(() => ({ created: undefined })),
  ),
  caught(
    "a member added",
    edit(() => ({ extra: 1 })),
  ),
];

const SLOTS: readonly HeaderAttack[] = [
  caught(
    "a slot removed",
    edit(({ slots }) => ({ slots: slots.slice(1) })),
  ),
  caught(
    "all slots removed",
    edit(() => ({ slots: [] })),
  ),
  caught(
    "slots in another order",
    edit(({ slots }) => ({ slots: [...slots].reverse() })),
  ),
  caught(
    "two slots exchange their ids",
    edit(({ slots: [one, two, ...others] }) => ({
      slots: [{ ...one, id: two?.id }, { ...two, id: one?.id }, ...others],
    })),
  ),
  caught(
    "a slot twice",
    edit(({ slots }) => ({ slots: [...slots, slots[0]] })),
  ),
  caught("a removed slot put in again", (scene) => {
    const old = JSON.parse(String(scene.former.get(3))) as VolumeHeader;
    edit(({ slots }) => ({ slots: [...slots, old.slots.at(-1)] }))(scene);
  }),
  caught("a slot of the attacker's added", (scene) =>
    edit(({ slots }) => ({ slots: [...slots, { ...scene.attackers.keyfile, id: 9 }] }))(scene),
  ),
  caught("a slot of the attacker's added before the others", (scene) =>
    edit(({ slots }) => ({ slots: [{ ...scene.attackers.keyfile, id: 9 }, ...slots] }))(scene),
  ),
  caught("all slots exchanged for one of the attacker's key file", (scene) =>
    edit(() => ({ slots: [scene.attackers.keyfile] }))(scene),
  ),
  caught("all slots exchanged for one of the attacker's KMS key", (scene) =>
    edit(() => ({ slots: [scene.attackers.kms] }))(scene),
  ),
  caught(
    "the wrapped key of another slot",
    editSlot("keyfile", (_, all) => pick(all.at(-1), "nonce", "blob")),
  ),
  caught(
    "a bit of a wrapped key changed",
    editSlot("keyfile", (slot) => ({ blob: flipped(slot.blob) })),
  ),
  caught(
    "another key file named",
    editSlot("keyfile", () => ({ path: "/etc/hostname" })),
  ),
  caught(
    "another label",
    editSlot("keyfile", () => ({ label: "safe" })),
  ),
  caught("another KMS key named", (scene) => {
    const { kms } = scene.attackers;
    editSlot("aws-kms", () => pick(kms, "keyArn", "region"))(scene);
  }),
  caught(
    "another encryption context",
    editSlot("aws-kms", () => ({ context: { team: "other" } })),
  ),
];

function pick(slot: Slot | undefined, ...names: string[]): object {
  return Object.fromEntries(Object.entries(slot ?? {}).filter(([name]) => names.includes(name)));
}

function flipped(base64: string): string {
  const bytes = Buffer.from(base64, "base64");
  bytes[3] = (bytes[3] ?? 0) ^ 1;
  return bytes.toString("base64");
}

const FILE: readonly HeaderAttack[] = [
  caught(
    "a space added",
    rewrite((text) => text.replace(":", ": ")),
  ),
  caught("a line end added", ({ backing }) => appendFileSync(headerPath(backing), "\n")),
  caught(
    "members in another order",
    rewrite((text) => reordered(text)),
  ),
  caught(
    "a member twice",
    rewrite((text) => text.replace("{", '{"blockSize":4096,')),
  ),
  caught("cut in the middle", ({ backing }) => truncateSync(headerPath(backing), 200)),
  caught("cut to nothing", ({ backing }) => truncateSync(headerPath(backing), 0)),
  caught("a bit changed, in a member's name", ({ backing }) => flip(headerPath(backing), 2)),
  caught("two MiB long", ({ backing }) => truncateSync(headerPath(backing), 2 ** 21)),
  caught("deleted", ({ backing }) => rmSync(headerPath(backing))),
  caught(
    "a symlink to it",
    instead((path, aside) => symlinkSync(aside, path)),
  ),
  caught(
    "a directory",
    instead((path) => mkdirSync(path)),
  ),
  caught(
    "a fifo",
    instead((path) => program("mkfifo", path)),
  ),
  caught(
    "a device",
    instead((path) => program("mknod", path, "c", "1", "5")),
  ),
];

const STATES: readonly HeaderAttack[] = [
  {
    does: "an older generation",
    act: former(2),
    taken: "by strangers",
    why: "it is as the volume's key made it; only a host that has seen a later one can tell",
  },
  {
    does: "the generation that had a slot that was removed",
    act: former(3),
    taken: "by strangers",
    why: "as above: who has a former slot's key and a former volume.json has the volume's key",
  },
  {
    does: "volume.json.bak in its place",
    act: ({ backing }) => copyFileSync(`${headerPath(backing)}.bak`, headerPath(backing)),
    taken: "by strangers",
    why: "as above: it is the generation before",
  },
  {
    does: "that of a clone whose slots were changed since",
    act: ({ backing, clone }) => copyFileSync(headerPath(clone), headerPath(backing)),
    taken: "by all",
    why: "a clone has the volume's key, and its generations go on counting",
  },
  {
    does: "that of another volume",
    act: ({ backing, foreign }) => copyFileSync(headerPath(foreign), headerPath(backing)),
    taken: "by strangers",
    mounts: true,
    why: "",
  },
  {
    does: "volume.json.bak changed",
    act: ({ backing }) => flip(`${headerPath(backing)}.bak`, 40),
    taken: "by all",
    harmless: true,
  },
  {
    does: "volume.json.bak deleted",
    act: ({ backing }) => rmSync(`${headerPath(backing)}.bak`),
    taken: "by all",
    harmless: true,
  },
  {
    does: "volume.json.new a symlink to a file outside",
    act: ({ backing }) => symlinkSync(`${backing}.outside`, `${headerPath(backing)}.new`),
    taken: "by all",
    harmless: true,
  },
];

export const HEADER_ATTACKS: readonly HeaderAttack[] = [...PARAMETERS, ...SLOTS, ...FILE, ...STATES];

function reordered(text: string): string {
  const entries = Object.entries(JSON.parse(text) as object).reverse();
  return JSON.stringify(Object.fromEntries(entries));
}
