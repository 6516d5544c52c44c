/** Puts the planned files in place and takes them away again, and nothing that somebody else wrote. */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { errnoOf, messageOf, UserError } from "../errors.js";
import type { PlannedFile } from "./plan.js";

export interface Change {
  readonly kind: "write" | "keep" | "remove" | "leave";
  readonly path: string;
}

/** What an earlier set-up wrote: paths and the SHA-256 of their contents. */
type Manifest = Readonly<Record<string, string>>;

/** `root` stands before every path, for staging; the manifest is a file of the running system's paths below it. */
export class SystemFiles {
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
    const foreign = files.find(({ path, content }) => {
      const found = this.#hashOf(path);
      return found !== undefined && found !== hash(content) && found !== before[path];
    });
    if (foreign !== undefined) {
      const hint = "move it away, or remove it";
      throw new UserError("Usage", `${foreign.path} is there, and not as kmsfs setup wrote it`, hint);
    }
    const changes = files.map((file): Change => {
      if (this.#hashOf(file.path) === hash(file.content)) return { kind: "keep", path: file.path };
      this.#write(file);
      return { kind: "write", path: file.path };
    });
    const wanted = new Set(files.map(({ path }) => path));
    const gone = Object.keys(before).filter((path) => !wanted.has(path));
    changes.push(...this.#remove(gone, before));
    const manifest = Object.fromEntries(files.map(({ path, content }) => [path, hash(content)]));
    const content = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
    this.#write({ path: this.manifestPath, content, mode: 0o644 });
    return changes;
  }

  /** Removes what `install` wrote, unless it was changed since. */
  uninstall(): Change[] {
    const before = this.#manifest();
    const changes = this.#remove(Object.keys(before), before);
    if (!this.dryRun) {
      rmSync(this.#at(this.manifestPath), { force: true });
      removeEmpty(dirname(this.#at(this.manifestPath)));
    }
    return changes;
  }

  #remove(paths: readonly string[], manifest: Manifest): Change[] {
    return paths.flatMap((path): Change[] => {
      const found = this.#hashOf(path);
      if (found === undefined) return [];
      if (found !== manifest[path]) return [{ kind: "leave", path }];
      if (!this.dryRun) this.#asRoot(path, () => rmSync(this.#at(path)));
      return [{ kind: "remove", path }];
    });
  }

  #write({ path, content, mode }: PlannedFile): void {
    if (this.dryRun) return;
    const at = this.#at(path);
    this.#asRoot(path, () => {
      mkdirSync(dirname(at), { recursive: true, mode: 0o755 });
      // Whoever runs the old one meanwhile reads it to its end.
      writeFileSync(`${at}.kmsfs-new`, content, { mode, flush: true });
      renameSync(`${at}.kmsfs-new`, at);
    });
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

  #hashOf(path: string): string | undefined {
    const at = this.#at(path);
    return existsSync(at) ? hash(readFileSync(at)) : undefined;
  }

  #manifest(): Manifest {
    const at = this.#at(this.manifestPath);
    if (!existsSync(at)) return {};
    try {
      return JSON.parse(readFileSync(at, "utf8")) as Manifest;
    } catch (error) {
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
