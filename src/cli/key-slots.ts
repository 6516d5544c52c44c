/** How slots are shown, and the volume that a key command is about. */

import { resolve } from "node:path";
import type { Argv } from "yargs";
import { UserError } from "../errors.js";
import type { Slot } from "../keys/slots.js";
import { FS_TYPE, mountAt } from "../mount/mountinfo.js";

/** Adds the positional that every key command begins with. */
export function withBacking<T>(argv: Argv<T>): Argv<T & { backing: string }> {
  return argv.positional("backing", {
    type: "string",
    demandOption: true,
    describe: "the backing directory, or where it is mounted",
  });
}

/** The backing directory: as given, or that of the mount there. */
export function backingOf(path: string): string {
  const entry = mountAt(resolve(path));
  return entry?.fsType === FS_TYPE ? entry.source : path;
}

/** A slot's number from an argument. Throws UserError (Usage). */
export function slotId(value: unknown): number {
  const id = Number(value);
  if (Number.isSafeInteger(id) && id > 0) return id;
  throw new UserError("Usage", `${String(value)} is not the number of a slot`, "see kmsfs key list");
}

export function describeSlot(slot: Slot): string {
  switch (slot.provider) {
    case "aws-kms": {
      const pairs = Object.entries(slot.context).map(([name, value]) => `${name}=${value}`);
      const context = pairs.length === 0 ? "" : `, context ${pairs.join(" ")}`;
      return `${slot.keyArn}, region ${slot.region}${context}`;
    }
    case "keyfile":
      return `file ${slot.path}; not KMS`;
    case "passphrase":
      return `scrypt n=${slot.n} r=${slot.r} p=${slot.p}; not KMS`;
  }
}

/** `slot 2 "dr": aws-kms, ...` */
export function slotLine(slot: Slot): string {
  const name = slot.label === "" ? "" : ` "${slot.label}"`;
  return `slot ${slot.id}${name}: ${slot.provider}, ${describeSlot(slot)}`;
}

/** What a slot says of itself. The wrapped key stays out: nobody who lists slots needs it. */
export function publicSlot(slot: Slot): object {
  const base = { id: slot.id, provider: slot.provider, label: slot.label, created: slot.created };
  switch (slot.provider) {
    case "aws-kms":
      return { ...base, keyArn: slot.keyArn, region: slot.region, context: slot.context };
    case "keyfile":
      return { ...base, path: slot.path };
    case "passphrase":
      return { ...base, n: slot.n, r: slot.r, p: slot.p };
  }
}
