/** The `passphrase` provider: scrypt (RFC 7914) and AES-256-GCM. Meant for an offline recovery key. */

import { randomBytes, scrypt } from "node:crypto";
import { constants, open } from "node:fs/promises";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { KEY_BYTES, newDomainKey } from "./domain.js";
import type { KeyProvider } from "./provider.js";
import { canonicalRecoveryKey } from "./recovery-key.js";
import { openBlob, sealBlob } from "./sealed-blob.js";
import { type PassphraseSlot, SCRYPT_BOUNDS } from "./slots.js";

export interface PassphraseOptions {
  /** Its first line, without the line end, is the passphrase; `-` is standard input. */
  readonly path?: string;
  /** The passphrase itself, as one that was generated here; wiped when it was used */
  readonly passphrase?: Buffer;
}

/** 128 MiB and about half a second: what a stolen header costs for each guess. */
const NEW_SLOT = { n: 2 ** 17, r: 8, p: 1 } as const;
const MAX_PASSPHRASE_BYTES = 1024;

/** The first line of a file, a pipe or standard input, in bytes. The caller wipes it. Throws UserError. */
export async function readPassphrase(path: string): Promise<Buffer> {
  // Room for one byte too many and for CR LF.
  const buffer = Buffer.alloc(MAX_PASSPHRASE_BYTES + 3);
  try {
    const length = path === "-" ? await fillFromStdin(buffer) : await fillFromFile(buffer, path);
    const line = firstLine(buffer.subarray(0, length));
    if (line.length === 0) {
      throw new UserError(
        "KeyFile",
        `passphrase file ${path} has an empty first line`,
        "put the passphrase there",
      );
    }
    if (line.length > MAX_PASSPHRASE_BYTES) {
      line.fill(0);
      throw new UserError(
        "KeyFile",
        `the passphrase in ${path} is longer than ${MAX_PASSPHRASE_BYTES} bytes`,
        "use --keyfile for a binary key",
      );
    }
    return line;
  } catch (error) {
    if (error instanceof UserError) throw error;
    const why = errnoOf(error) === "ENOENT" ? "does not exist" : `cannot be read: ${messageOf(error)}`;
    throw new UserError("KeyFile", `passphrase file ${path} ${why}`, "name it with --passphrase-file");
  } finally {
    buffer.fill(0);
  }
}

function isComplete(bytes: Buffer): boolean {
  return bytes.includes(0x0a);
}

/** Reads until a line end, the buffer's or the file's end; the count of bytes. */
async function fillFromFile(buffer: Buffer, path: string): Promise<number> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    const stat = await handle.stat();
    // A pipe (<(...) of the shell) has no mode of its own to judge.
    if (stat.isFile() && (stat.mode & 0o077) !== 0) {
      throw new UserError(
        "KeyFile",
        `passphrase file ${path} is open to group or others`,
        `close it: chmod 600 ${path}`,
      );
    }
    let length = 0;
    while (length < buffer.length && !isComplete(buffer.subarray(0, length))) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return length;
  } finally {
    await handle.close();
  }
}

async function fillFromStdin(buffer: Buffer): Promise<number> {
  let length = 0;
  for await (const chunk of process.stdin) {
    if (!Buffer.isBuffer(chunk)) continue;
    length += chunk.copy(buffer, length);
    chunk.fill(0);
    if (length === buffer.length || isComplete(buffer.subarray(0, length))) break;
  }
  return length;
}

/** A copy of the bytes before the first line end (LF or CR LF). */
function firstLine(bytes: Buffer): Buffer {
  const lf = bytes.indexOf(0x0a);
  let end = lf === -1 ? bytes.length : lf;
  if (end > 0 && lf !== -1 && bytes[end - 1] === 0x0d) end -= 1;
  const line = Buffer.alloc(end);
  bytes.copy(line, 0, 0, end);
  return line;
}

function derive(
  passphrase: Buffer,
  salt: Buffer,
  cost: { n: number; r: number; p: number },
): Promise<Buffer> {
  // OpenSSL counts a little more than 128 N r; the slot's parameters were bounded when it was parsed.
  const options = { N: cost.n, r: cost.r, p: cost.p, maxmem: SCRYPT_BOUNDS.maxMemory + 2 ** 20 };
  return new Promise((done, failed) => {
    scrypt(passphrase, salt, KEY_BYTES, options, (error, key) =>
      error === null ? done(key) : failed(error),
    );
  });
}

async function wrappingKey(
  { path, passphrase: given }: PassphraseOptions,
  salt: Buffer,
  cost: { n: number; r: number; p: number },
) {
  if (given === undefined && path === undefined) {
    throw new UserError("Usage", "no passphrase file named", "give --passphrase-file FILE");
  }
  const passphrase = canonicalRecoveryKey(given ?? (await readPassphrase(path ?? "")));
  try {
    return await derive(passphrase, salt, cost);
  } finally {
    passphrase.fill(0);
  }
}

export const passphraseProvider: KeyProvider<PassphraseSlot, PassphraseOptions> = {
  async create(identity, options) {
    const domainKey = newDomainKey();
    try {
      return { ...(await passphraseProvider.wrap(domainKey, identity, options)), domainKey };
    } catch (error) {
      domainKey.fill(0);
      throw error;
    }
  },

  async wrap(domainKey, { uuid }, options) {
    const salt = randomBytes(16);
    const key = await wrappingKey(options, salt, NEW_SLOT);
    const sealed = sealBlob(key, domainKey, uuid, "passphrase");
    key.fill(0);
    return { slot: { provider: "passphrase", salt: salt.toString("base64"), ...NEW_SLOT, ...sealed } };
  },

  async unwrap(slot, { uuid }, options) {
    const key = await wrappingKey(options, Buffer.from(slot.salt, "base64"), slot);
    const domainKey = openBlob(key, slot, uuid, "passphrase");
    key.fill(0);
    if (domainKey !== undefined) return { domainKey };
    throw new UserError(
      "WrongKey",
      `the passphrase in ${options.path} does not open slot ${slot.id}: it is wrong, or volume.json was changed`,
      "give the right one with --passphrase-file",
    );
  },
};
