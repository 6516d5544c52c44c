/** Findings about who can open a volume, and whether enough can. */

import type { HeaderFacts, Limits, SlotFacts, VolumeFacts } from "./facts.js";
import { plural, type Said } from "./said.js";

export function custodyFindings(facts: VolumeFacts, limits: Limits): Said[] {
  const { header, mounts } = facts;
  const findings = header === null ? [] : [...slotFindings(header), ...ages(header, limits)];
  for (const { dir, memoryLocked, condition, readOnly } of mounts) {
    if (memoryLocked === false) {
      findings.push({
        severity: "warning",
        id: "memory-not-locked",
        what: `Not all memory of the engine that serves ${dir} is locked: cached content could be swapped to disk. Keys are locked.`,
        advice: "Raise RLIMIT_MEMLOCK, or mount with -o mlock=require.",
      });
    }
    if (condition !== "mounted") {
      findings.push({
        severity: "warning",
        id: "mount-condition",
        what: `The mount on ${dir} is ${condition}: nothing watches it and writes its events down.`,
        advice: "See kmsfs status; unmount it and mount it again.",
      });
    }
    if (readOnly !== null && readOnly !== "mounted read-only") {
      findings.push({
        severity: "warning",
        id: "mount-failed",
        what: `Nothing is written any more on ${dir}: ${readOnly}.`,
        advice: "Unmount it, look at the disk, mount it again.",
      });
    }
  }
  return findings;
}

function slotFindings({ slots }: HeaderFacts): Said[] {
  const findings: Said[] = [];
  const keyfiles = slots.filter(({ provider }) => provider === "keyfile");
  if (slots.every(({ provider }) => provider !== "aws-kms")) {
    findings.push({
      severity: "warning",
      id: "no-kms",
      what: "The key of this volume is not in AWS KMS. Who has the key file or the passphrase opens it, and nobody else keeps a record of it.",
      advice: "Add a KMS key: kmsfs key add --new-kms-key, then remove the other slot.",
    });
  } else if (keyfiles.length > 0) {
    findings.push({
      severity: "warning",
      id: "keyfile-beside-kms",
      what: `Beside KMS, ${plural(keyfiles.length, "key file")} can open this volume without AWS and its log.`,
      advice: "Remove the slot, or keep the file where a recovery key would be kept.",
    });
  }
  if (new Set(slots.map(custodian)).size < 2) {
    findings.push({
      severity: "warning",
      id: "no-recovery",
      what: "There is no recovery slot: everything that opens this volume can be lost together.",
      advice: "Add a KMS key of another region or account, or a recovery key: kmsfs key add --recovery.",
    });
  }
  return findings;
}

/** What is lost at one time with this slot. */
function custodian({ provider, account, region, path }: SlotFacts): string {
  return provider === "aws-kms"
    ? `kms ${account} ${region}`
    : provider === "keyfile"
      ? `file ${path}`
      : provider;
}

function ages({ slots }: HeaderFacts, { keyDays }: Limits): Said[] {
  const old = slots.filter(({ days }) => days > keyDays);
  return old.map(({ id, days }) => ({
    severity: "warning",
    id: "key-age",
    what: `The key in slot ${id} was wrapped ${days} days ago; the limit of this report is ${keyDays}.`,
    advice: `kmsfs key rotate wraps it anew, under the newest key material of KMS.`,
  }));
}
