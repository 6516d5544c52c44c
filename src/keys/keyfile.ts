/** The `keyfile` provider: 32 raw bytes in a file of mode 0600. For trials, tests and air-gapped hosts. */

import { randomFillSync } from "node:crypto";
import { constants, type FileHandle, open, unlink } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { errnoOf, messageOf, UserError } from "../errors.js";
import { KEY_BYTES, newDomainKey } from "./domain.js";
import type { KeyProvider } from "./provider.js";
import { openBlob, sealBlob } from "./sealed-blob.js";
import type { KeyfileSlot } from "./slots.js";

export interface KeyfileOptions {
  /** Overrides the path that the slot remembers. */
  readonly path?: string;
}

/**
 * The key in a file: exactly 32 bytes, regular, closed to group and others. The caller wipes it.
 * O_NONBLOCK: the path may come from a hostile header and name a fifo.
 */
async function readKeyfile(path: string): Promise<Buffer> {
  const handle = await openKeyfile(path);
  try {
    const stat = await handle.stat();
    if (!stat.isFile())
      throw new UserError("KeyFile", `${path} is not a regular file`, "name a file of 32 bytes");
    if ((stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
      throw new UserError(
        "KeyFile",
        `key file ${path} is open to group or others (mode ${mode})`,
        `close it: chmod 600 ${path}`,
      );
    }
    if (stat.size !== KEY_BYTES) {
      throw new UserError(
        "KeyFile",
        `key file ${path} has ${stat.size} bytes and not ${KEY_BYTES}`,
        "name the file that holds the raw key",
      );
    }
    const key = Buffer.alloc(KEY_BYTES);
    const { bytesRead } = await handle.read(key, 0, KEY_BYTES, 0);
    if (bytesRead !== KEY_BYTES) throw new UserError("KeyFile", `key file ${path} changed while it was read`);
    return key;
  } finally {
    await handle.close();
  }
}

async function openKeyfile(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") {
      throw new UserError("KeyFile", `key file ${path} does not exist`, "name it with --keyfile");
    }
    throw new UserError(
      "KeyFile",
      `key file ${path} cannot be read: ${messageOf(error)}`,
      "name it with --keyfile",
    );
  }
}

/**
 * Makes a key file, mode 0600, flushed with its directory; false when there is one already.
 * Throws UserError when it cannot be made, and leaves none behind then.
 */
export async function makeKeyfile(path: string): Promise<boolean> {
  let handle: FileHandle;
  try {
    handle = await open(path, "wx", 0o600);
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw new UserError(
      "KeyFile",
      `key file ${path} cannot be made: ${messageOf(error)}`,
      "name another place",
    );
  }
  const key = randomFillSync(Buffer.alloc(KEY_BYTES));
  try {
    await handle.writeFile(key);
    await handle.sync();
    await handle.close();
    const directory = await open(dirname(path), "r");
    await directory.sync().finally(() => directory.close());
    return true;
  } catch (error) {
    await handle.close().catch(() => undefined);
    await unlink(path).catch(() => undefined);
    throw new UserError(
      "KeyFile",
      `key file ${path} cannot be written: ${messageOf(error)}`,
      "name another place",
    );
  } finally {
    key.fill(0);
  }
}

export const keyfileProvider: KeyProvider<KeyfileSlot, KeyfileOptions> = {
  async create(identity, options) {
    const domainKey = newDomainKey();
    try {
      return { ...(await keyfileProvider.wrap(domainKey, identity, options)), domainKey };
    } catch (error) {
      domainKey.fill(0);
      throw error;
    }
  },

  async wrap(domainKey, { uuid }, options) {
    if (options.path === undefined) throw new UserError("Usage", "no key file named", "give --keyfile FILE");
    const path = resolve(options.path);
    const wrappingKey = await readKeyfile(path);
    try {
      return { slot: { provider: "keyfile", path, ...sealBlob(wrappingKey, domainKey, uuid, "keyfile") } };
    } finally {
      wrappingKey.fill(0);
    }
  },

  async unwrap(slot, { uuid }, options) {
    const path = options.path === undefined ? slot.path : resolve(options.path);
    const wrappingKey = await readKeyfile(path);
    try {
      const domainKey = openBlob(wrappingKey, slot, uuid, "keyfile");
      if (domainKey !== undefined) return { domainKey };
    } finally {
      wrappingKey.fill(0);
    }
    throw new UserError(
      "WrongKey",
      `key file ${path} does not open slot ${slot.id}: it is another volume's, or volume.json was changed`,
      "name the right file with --keyfile",
    );
  },
};
