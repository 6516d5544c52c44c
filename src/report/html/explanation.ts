/** What holds for every volume, and what this report rests on. From SECURITY.md, docs/format.md and docs/audit.md. */

import type { Report } from "../facts.js";
import { type Html, html } from "./markup.js";
import { list, table } from "./parts.js";

const CRYPTOGRAPHY: readonly (readonly [string, string, string])[] = [
  [
    "Content of files",
    "AES-256-GCM",
    "each block of its own, with its position in the tag; a key for each file and epoch",
  ],
  ["Names", "AES-256-SIV (RFC 5297)", "bound to the directory"],
  ["Link targets and extended attributes", "AES-256-SIV (RFC 5297)", "bound to the file"],
  ["Type, mode, owner, ACL, place in the tree", "HMAC-SHA-256", "in clear, and authenticated"],
  ["Commit log", "AES-256-GCM", "a key for each segment"],
  ["Header with the key slots", "HMAC-SHA-256", "and a commitment to the key, pinned on each host"],
  ["Derivation of all keys", "HKDF-SHA-512 (RFC 5869)", "from the volume's key of 256 random bits"],
  [
    "Key slots of KMS",
    "AWS KMS Encrypt, Decrypt, ReEncrypt",
    "with the volume's uuid in the encryption context",
  ],
  [
    "Key slots of key files and passphrases",
    "AES-256-GCM; scrypt for passphrases",
    "bound to the volume's uuid",
  ],
  [
    "Audit chain",
    "SHA-256 and HMAC-SHA-256",
    "another signing key for each line; keys that were used are wiped",
  ],
];

export function protection(): Html {
  return html`<section id="protection" aria-labelledby="protection-title">
<h2 id="protection-title">What is protected, and what is not</h2>
<h3>Protected</h3>
${list([
  "Who can read the disk, its snapshots or the backing directory, as often as they like, learns no content, no name, no link target and no extended attribute.",
  "Who can change them cannot make a file return content that was never written to it, nor move or exchange files unnoticed: reading fails, and a tamper event is recorded.",
  "Nothing but a volume's key opens it. Keys are in memory alone, locked and kept out of core dumps, and wiped when the volume is unmounted.",
  "Each opening of a key, each mount, each change of a key slot and each tampering is a line of the audit chain.",
])}
<h3>Not protected</h3>
${list([
  "Sizes, times, modes, owners and the shape of the directory tree can be seen, and which blocks change.",
  "Root on a host where a volume is mounted reads everything in it, and can act as any of its users.",
  "Who can write the backing store can destroy data, delete files, and put back an older state of a file, or of the volume, as a whole.",
  "Who is root and cuts off the end of an audit chain, together with the head that is noted beside it, is found out only by a head that is kept elsewhere.",
  "A slot with a key file or a passphrase is as safe as that file or passphrase.",
])}
${table({
  caption: "Cryptography of format 1",
  columns: ["What", "How", "Remarks"],
  rows: CRYPTOGRAPHY,
})}
</section>`;
}

export function method({ limits, auditing }: Report): Html {
  return html`<section id="method" aria-labelledby="method-title">
<h2 id="method-title">How this was found</h2>
${list([
  "Slots, format and dates are from each volume's header. Without the volume's key they are what stands there; with it (kmsfs report --verify) the header's MAC has been verified.",
  html`Openings, mounts, checks and tamper events are from the audit chains in <code>${auditing.directory}</code>, of this host alone. Other hosts that mount the same volume have chains of their own. Numbers of lines are those of kmsfs audit show.`,
  "KMS request ids stand in AWS CloudTrail too, with the identity that asked: compare them. An opening in CloudTrail without a line here was done elsewhere, or without kmsfs.",
  "The age of a slot is the time since the volume's key was wrapped in it. When KMS made new key material, AWS tells (kms ListKeyRotations).",
  `Warnings begin ${limits.keyDays} days after a key was wrapped, and ${limits.checkDays} days after the last complete check.`,
  "The report holds no key, no content and no file name in clear.",
])}
<p>To verify it yourself: <code>kmsfs key check</code>, <code>kmsfs audit verify</code>, <code>kmsfs verify</code>.</p>
</section>`;
}
