/** Puts the planned files in place and takes them away again, and nothing that somebody else wrote. */

import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { errnoOf, messageOf, UserError } from "../errors.js";
import type { PlannedFile } from "./plan.js";

export interface Change {
  readonly kind: "write" | "keep" | "remove" | "leave";
  readonly path: string;
}

/** What an earlier set-up wrote. */
interface Manifest {
  /** Paths, and the SHA-256 of their contents or where they link to */
  readonly files: Readonly<Record<string, string>>;
  /** Those it had to make, outer before inner */
  readonly directories: readonly string[];
}

/** `root` stands before every path, for staging; the manifest is a file of the running system's paths below it. */
export class SystemFiles {
  readonly #made: string[] = [];

  constructor(
    readonly root: string,
    readonly manifestPath: string,
    readonly dryRun: boolean,
  ) {}

  /**
   * Writes what is missing or differs and removes what an earlier version wrote and this one has no more. Throws
   * UserError: Usage, before anything is written, for a file of somebody else; Privilege.
   */
  install(files: readonly PlannedFile[]): Change[] {
    const before = this.#manifest();
    const foreign = files.find((file) => {
      const found = this.#stateOf(file.path);
      return found !== undefined && found !== wantedState(file) && found !== before.files[file.path];
    });
    if (foreign !== undefined) {
      const hint = "move it away, or remove it";
      throw new UserError("Usage", `${foreign.path} is there, and not as kmsfs setup wrote it`, hint);
    }
    const changes = files.map((file): Change => {
      if (this.#stateOf(file.path) === wantedState(file)) return { kind: "keep", path: file.path };
      this.#write(file);
      return { kind: "write", path: file.path };
    });
    const wanted = new Set(files.map(({ path }) => path));
    const gone = Object.keys(before.files).filter((path) => !wanted.has(path));
    changes.push(...this.#remove(gone, before));
    // Made first, to be in the list that is written there.
    this.#asRoot(this.manifestPath, () => this.#makeDirectories(dirname(this.#at(this.manifestPath))));
    const manifest: Manifest = {
      files: Object.fromEntries(files.map((file) => [file.path, wantedState(file)])),
      directories: [...before.directories, ...this.#made],
    };
    const content = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
    this.#write({ path: this.manifestPath, content, mode: 0o644 });
    return changes;
  }

  /** Removes what `install` wrote, unless it was changed since. */
  uninstall(): Change[] {
    const before = this.#manifest();
    const changes = this.#remove(Object.keys(before.files), before);
    if (!this.dryRun) {
      rmSync(this.#at(this.manifestPath), { force: true });
      for (const directory of before.directories.toReversed()) removeEmpty(this.#at(directory));
    }
    return changes;
  }

  #remove(paths: readonly string[], manifest: Manifest): Change[] {
    return paths.flatMap((path): Change[] => {
      const found = this.#stateOf(path);
      if (found === undefined) return [];
      if (found !== manifest.files[path]) return [{ kind: "leave", path }];
      if (!this.dryRun) this.#asRoot(path, () => rmSync(this.#at(path)));
      return [{ kind: "remove", path }];
    });
  }

  #write(file: PlannedFile): void {
    if (this.dryRun) return;
    const at = this.#at(file.path);
    const fresh = `${at}.kmsfs-new`;
    this.#asRoot(file.path, () => {
      this.#makeDirectories(dirname(at));
      rmSync(fresh, { force: true });
      if ("link" in file) symlinkSync(file.link, fresh);
      else writeFileSync(fresh, file.content, { mode: file.mode, flush: true });
      // Whoever runs the old one meanwhile reads it to its end.
      renameSync(fresh, at);
    });
  }

  /** `path` is below `root` already. */
  #makeDirectories(path: string): void {
    if (this.dryRun) return;
    const first = mkdirSync(path, { recursive: true, mode: 0o755 });
    if (first === undefined) return;
    const made: string[] = [];
    for (let each = path; each.length >= first.length; each = dirname(each)) made.unshift(each);
    this.#made.push(...made.map((each) => join("/", relative(this.root, each))));
  }

  #asRoot(path: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      const [code, hint] = ["EACCES", "EPERM"].includes(errnoOf(error) ?? "")
        ? (["Privilege", "run kmsfs setup as root"] as const)
        : (["Unexpected", "see what is there"] as const);
      throw new UserError(code, `${path} cannot be changed: ${messageOf(error)}`, hint);
    }
  }

  #stateOf(path: string): string | undefined {
    const at = this.#at(path);
    const found = lstatSync(at, { throwIfNoEntry: false });
    if (found === undefined) return undefined;
    if (found.isSymbolicLink()) return linkState(readlinkSync(at));
    return found.isFile() ? hash(readFileSync(at)) : "no file";
  }

  #manifest(): Manifest {
    const at = this.#at(this.manifestPath);
    try {
      return JSON.parse(readFileSync(at, "utf8")) as Manifest;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return { files: {}, directories: [] };
      throw new UserError(
        "Unexpected",
        `${at} cannot be read: ${messageOf(error)}`,
        "remove it and run this again",
      );
    }
  }

  #at(path: string): string {
    return join(this.root, path);
  }
}

function wantedState(file: PlannedFile): string {
  return "link" in file ? linkState(file.link) : hash(file.content);
}

function linkState(target: string): string {
  return `-> ${target}`;
}

function hash(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Not empty, or never there.
  }
}
