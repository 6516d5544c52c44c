/**
 * Recovery keys: passphrases that are generated, printed once and kept in a safe. 256 random bits in modhex, letters
 * that stand in the same place on most keyboards, in eight groups of eight: as systemd-cryptenroll(1) does.
 */

import { randomFillSync } from "node:crypto";

const LETTERS = Buffer.from("cbdefghijklnrtuv");
const GROUPS = 8;
const GROUP = 8;
const DASH = 0x2d;

/** A new recovery key in ASCII. The caller wipes it. */
export function newRecoveryKey(): Buffer {
  const random = randomFillSync(Buffer.alloc((GROUPS * GROUP) / 2));
  const letters = Buffer.alloc(GROUPS * GROUP);
  random.forEach((byte, i) => {
    letters[2 * i] = LETTERS[byte >> 4] ?? 0;
    letters[2 * i + 1] = LETTERS[byte & 15] ?? 0;
  });
  random.fill(0);
  return grouped(letters);
}

/**
 * What was typed, in the spelling of `newRecoveryKey` when it is a recovery key: capitals, blanks and missing dashes do
 * not count. Any other passphrase as it is. `typed` is wiped when the result is another buffer.
 */
export function canonicalRecoveryKey(typed: Buffer): Buffer {
  const letters = Buffer.alloc(GROUPS * GROUP);
  let count = 0;
  try {
    for (const byte of typed) {
      if (byte === DASH || byte === 0x20) continue;
      const letter = byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
      if (!LETTERS.includes(letter) || count === letters.length) return typed;
      letters[count] = letter;
      count += 1;
    }
    if (count < letters.length) return typed;
    typed.fill(0);
    return grouped(letters);
  } finally {
    letters.fill(0);
  }
}

/** The letters with dashes between the groups; `letters` is wiped. */
function grouped(letters: Buffer): Buffer {
  const text = Buffer.alloc(GROUPS * (GROUP + 1) - 1, DASH);
  for (let group = 0; group < GROUPS; group += 1) {
    letters.copy(text, group * (GROUP + 1), group * GROUP, (group + 1) * GROUP);
  }
  letters.fill(0);
  return text;
}
