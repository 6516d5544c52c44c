import { type BigIntStats, constants, lstatSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/**
 * A directory of the backing store, reached from its root name by name: through no symlink, and through no mount. Entries
 * are reached through its descriptor.
 */
export class BackingDirectory {
  private constructor(private readonly handle: FileHandle) {}

  /** `path`: stored names, one character a byte. Rejects with the system's errors; ENOENT for another file system. */
  static async open(backing: string, path: readonly string[]): Promise<BackingDirectory> {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY;
    let handle = await open(backing, flags);
    try {
      const { dev } = await handle.stat({ bigint: true });
      for (const name of path) {
        const next = await open(entry(handle, name), flags | constants.O_NOFOLLOW);
        await handle.close();
        handle = next;
        if ((await handle.stat({ bigint: true })).dev !== dev) {
          throw Object.assign(new Error("a file system is mounted there"), { code: "ENOENT" });
        }
      }
    } catch (error) {
      await handle.close();
      throw error;
    }
    return new BackingDirectory(handle);
  }

  /** Path of the entry `name`; of the directory itself without one. */
  at(name: string | undefined): Buffer {
    return entry(this.handle, name ?? ".");
  }

  entry(name: string | undefined): BigIntStats {
    return lstatSync(this.at(name), { bigint: true });
  }

  has(name: string): boolean {
    return lstatSync(this.at(name), { throwIfNoEntry: false }) !== undefined;
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

/** Through this process's own directory in /proc, where its children find it too. */
function entry(handle: FileHandle, name: string): Buffer {
  return Buffer.from(`/proc/${process.pid}/fd/${handle.fd}/${name}`, "latin1");
}
