import { spawnSync } from "node:child_process";
import { closeSync, constants, lstatSync, lutimesSync, mkdirSync, openSync, renameSync } from "node:fs";
import { messageOf, UserError } from "../errors.js";
import { systemCode } from "./errors.js";
import type { Xattr } from "./names.js";

/** Files without damage are finished in batches of this many: a child process for each would take a millisecond. */
const BATCH = 500;
const MAX_NAME = 255;
const DAMAGED = Buffer.from(".damaged");

/** Something made in an output directory, and what is set on it once its contents stand. */
export interface Made {
  readonly name: Buffer;
  readonly damaged: boolean;
  /** Nanoseconds since the epoch. */
  readonly atime: bigint;
  readonly mtime: bigint;
  readonly xattrs: readonly Xattr[];
}

/** A directory of the output, reached through its descriptor: neither a path too long nor a symlink on the way matters. */
export class OutDirectory {
  readonly #fd: number;
  #pending: Made[] = [];
  /** These get their names when all others have theirs, so that none takes a name that another has. */
  readonly #damaged: Made[] = [];

  private constructor(
    path: string | Buffer,
    private readonly warn: (line: string) => void,
  ) {
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  }

  static open(path: string, warn: (line: string) => void): OutDirectory {
    return writing(() => new OutDirectory(path, warn));
  }

  /** Makes the directory `name`, closed to others until it is finished. */
  make(name: Buffer): OutDirectory {
    return writing(() => {
      mkdirSync(this.at(name), 0o700);
      return new OutDirectory(this.at(name), this.warn);
    });
  }

  get fd(): number {
    return this.#fd;
  }

  at(name: Buffer): Buffer {
    return Buffer.concat([Buffer.from(`/proc/self/fd/${this.#fd}/`), name]);
  }

  /** Takes a finished entry on: its attributes and times follow, at the latest when the directory is closed. */
  add(made: Made): void {
    (made.damaged ? this.#damaged : this.#pending).push(made);
    if (this.#pending.length < BATCH) return;
    this.#finish(this.#pending);
    this.#pending = [];
  }

  /** Finishes what is pending; `self` holds the times of the directory, where no directory above does it. */
  close(self?: Omit<Made, "name" | "damaged">): void {
    this.#finish(this.#pending);
    this.#finish(this.#damaged.map((made) => ({ ...made, name: this.#mark(made.name) })));
    if (self) this.#finish([{ ...self, name: Buffer.from("."), damaged: false }]);
    closeSync(this.#fd);
  }

  /** Closes it and leaves what is pending undone. */
  abandon(): void {
    closeSync(this.#fd);
  }

  #mark(name: Buffer): Buffer {
    for (let n = 0; ; n++) {
      const suffix = n === 0 ? DAMAGED : Buffer.from(`.${n}.damaged`);
      const marked = Buffer.concat([name.subarray(0, MAX_NAME - suffix.length), suffix]);
      if (exists(this.at(marked))) continue;
      writing(() => renameSync(this.at(name), this.at(marked)));
      return marked;
    }
  }

  #finish(all: readonly Made[]): void {
    const restore = all.filter(({ xattrs }) => xattrs.length > 0).map(restoreText);
    if (restore.length > 0) this.run("setfattr", ["-h", "--restore=-"], Buffer.concat(restore));
    for (const { name, atime, mtime } of all) {
      writing(() => lutimesSync(this.at(name), Number(atime) / 1e9, Number(mtime) / 1e9));
    }
    // Node takes times as floating-point seconds; touch sets the modification time to the nanosecond.
    const inexact = all.filter(({ mtime }) => mtime % 1_000_000_000n !== 0n || mtime < 0n);
    if (inexact.length > 0) this.shell(inexact.map(touchLine));
  }

  /** Runs lines of shell in this directory. */
  shell(lines: readonly Buffer[]): void {
    this.run("sh", [], Buffer.concat(lines));
  }

  run(tool: string, args: readonly string[], input: Buffer): void {
    const cwd = `/proc/${process.pid}/fd/${this.#fd}`;
    const env = { ...process.env, LC_ALL: "C" };
    const { error, stderr } = spawnSync(tool, args, { cwd, env, input, maxBuffer: 2 ** 26 });
    if (systemCode(error) === "ENOENT")
      throw new UserError("Backing", `${tool} is not installed`, "install the package attr");
    if (error)
      throw new UserError("Unexpected", `${tool} failed: ${messageOf(error)}`, undefined, { cause: error });
    for (const line of stderr.toString("latin1").split("\n")) if (line !== "") this.warn(line);
  }
}

/** Runs `write`; errors of the system become one line about the output. */
export function writing<T>(write: () => T): T {
  try {
    return write();
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    const name =
      code === "ENOSPC" || code === "EDQUOT"
        ? "NoSpace"
        : code === "EACCES" || code === "EPERM"
          ? "Privilege"
          : "Unexpected";
    throw new UserError(name, `the output cannot be written: ${messageOf(error)}`, undefined, {
      cause: error,
    });
  }
}

function exists(path: Buffer): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** One word of shell, whatever its bytes. */
export function quote(word: Buffer): Buffer {
  return Buffer.from(`'${word.toString("latin1").replaceAll("'", "'\\''")}'`, "latin1");
}

function touchLine({ name, mtime }: Made): Buffer {
  const whole = mtime < 0n ? -mtime : mtime;
  const fraction = `${whole % 1_000_000_000n}`.padStart(9, "0");
  const time = `@${mtime < 0n ? "-" : ""}${whole / 1_000_000_000n}.${fraction}`;
  return Buffer.concat([Buffer.from(`touch -h -c -m -d ${time} -- `), quote(name), Buffer.from("\n")]);
}

/** An entry in the form of getfattr --dump, which setfattr --restore takes. */
function restoreText({ name, xattrs }: Made): Buffer {
  const lines = xattrs.map((xattr) => `${escapeOctal(xattr.name)}=0x${xattr.value.toString("hex")}\n`);
  return Buffer.from(`# file: ./${escapeOctal(name)}\n${lines.join("")}\n`, "latin1");
}

function escapeOctal(bytes: Buffer): string {
  return bytes.toString("latin1").replace(/[^!-<>-[\]-~]/g, (character) => {
    return `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`;
  });
}
