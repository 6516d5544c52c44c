import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { UserError } from "../errors.js";
import { systemCode } from "./errors.js";

/** Extended attributes of one inode, raw: name to value. */
export type RawXattrs = ReadonlyMap<string, Buffer>;

const NONE: RawXattrs = new Map();

/**
 * The extended attributes of many inodes below a directory, fetched at once. Node cannot read them, so getfattr(1)
 * does. Paths and names are held as latin1 text, one character a byte.
 */
export class XattrTree {
  /** Path below the directory ("." is itself) to its lines of `name=0xvalue`. */
  readonly #lines = new Map<string, string[]>();

  /**
   * Those of everything below `directory`, a path that a child process can enter too. Rejects with a UserError where
   * getfattr is missing.
   */
  static load(directory: string): Promise<XattrTree> {
    return XattrTree.#fetch(directory, ["-R", "-P"], ["."]);
  }

  /** Those of the entries `names` of `directory` alone ("." is itself). */
  static of(directory: string, names: readonly string[]): Promise<XattrTree> {
    // A backing name is ASCII; one in front of which "./" stands is no option.
    const paths = names.map((name) => (name === "." ? name : `./${name}`));
    return XattrTree.#fetch(directory, [], paths);
  }

  static async #fetch(directory: string, how: readonly string[], paths: readonly string[]) {
    const tree = new XattrTree();
    const options = [...how, "-h", "-d", "-e", "hex", "-m", "-", "--", ...paths];
    const child = spawn("getfattr", options, {
      cwd: directory,
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, LC_ALL: "C" },
    });
    // An exit code says nothing: getfattr fails for one inode that went away, or a path too long for it. An inode
    // without attributes fails its own check.
    const ended = new Promise<void>((resolve, reject) => {
      child.once("error", (error) => reject(systemCode(error) === "ENOENT" ? missingTool() : error));
      child.once("close", (_, signal) => (signal === null ? resolve() : reject(killed(signal))));
    });
    child.stdout.setEncoding("latin1");
    let current: string[] = [];
    const lines = createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY });
    lines.on("line", (line) => {
      if (line.startsWith("# file: ")) {
        current = [];
        tree.#lines.set(unescapeOctal(line.slice(8)).replace(/^\.\/+/, ""), current);
      } else if (line !== "") {
        current.push(line);
      }
    });
    await ended;
    return tree;
  }

  /** The attributes of the inode at `path`; none for a path unknown here. */
  get(path: string): RawXattrs {
    const lines = this.#lines.get(path);
    if (lines === undefined) return NONE;
    const attributes = new Map<string, Buffer>();
    for (const line of lines) {
      const equals = line.indexOf("=");
      const name = unescapeOctal(equals < 0 ? line : line.slice(0, equals));
      attributes.set(name, equals < 0 ? Buffer.alloc(0) : Buffer.from(line.slice(equals + 3), "hex"));
    }
    return attributes;
  }
}

/** getfattr writes a backslash, "=", and line ends within names as `\ooo`. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

function missingTool(): UserError {
  return new UserError("Backing", "getfattr is not installed", "install the package attr");
}

function killed(signal: string): UserError {
  return new UserError("Unexpected", `getfattr was ended by ${signal}`, "run the command again");
}
