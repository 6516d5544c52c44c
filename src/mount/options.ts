/** The -o options of a mount, the same on the command line and in fstab. */

import { UserError } from "../errors.js";

export interface MountOptions {
  readonly readOnly: boolean;
  readonly allowOther: boolean;
  readonly writeback: boolean;
  /** bytes of the engine's sector cache */
  readonly cacheBytes: number;
  readonly mlock: "try" | "require";
  readonly debug: boolean;
  /** what mount(8) is given besides, without "ro" and "rw" */
  readonly kernelFlags: readonly string[];
}

const MIN_CACHE = 1024 ** 2;
const MAX_CACHE = 1024 ** 4;

/** Flags of the kernel, in families of which the last one given counts. */
const FAMILIES: readonly (readonly string[])[] = [
  ["nosuid", "suid"],
  ["nodev", "dev"],
  ["exec", "noexec"],
  ["atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime"],
  ["diratime", "nodiratime"],
  ["async", "sync"],
  ["dirsync"],
  ["nosymfollow", "symfollow"],
];

/** For fstab's other readers, or what holds anyhow. */
const IGNORED = new Set([
  "_netdev",
  "auto",
  "default_permissions",
  "defaults",
  "group",
  "noauto",
  "nofail",
  "nogroup",
  "noowner",
  "nouser",
  "nousers",
  "owner",
  "user",
  "users",
]);

const SETTERS: Readonly<Record<string, Partial<MountOptions>>> = {
  ro: { readOnly: true },
  rw: { readOnly: false },
  allow_other: { allowOther: true },
  writeback: { writeback: true },
  nowriteback: { writeback: false },
  debug: { debug: true },
};

/** Options from `-o` lists, commas between them; the last one of a kind counts. Throws UserError (Usage). */
export function parseMountOptions(lists: readonly string[]): MountOptions {
  let options: MountOptions = {
    readOnly: false,
    allowOther: false,
    writeback: true,
    cacheBytes: 64 * 1024 ** 2,
    mlock: "try",
    debug: false,
    kernelFlags: [],
  };
  const families = new Map<readonly string[], string>();
  for (const flag of ["nosuid", "nodev"]) families.set(familyOf(flag) ?? [], flag);
  for (const option of lists.flatMap((list) => list.split(",")).filter((option) => option !== "")) {
    const family = familyOf(option);
    if (family !== undefined) families.set(family, option);
    else options = { ...options, ...oneOption(option) };
  }
  return { ...options, kernelFlags: [...families.values()] };
}

function familyOf(option: string): readonly string[] | undefined {
  return FAMILIES.find((family) => family.includes(option));
}

function oneOption(option: string): Partial<MountOptions> {
  if (IGNORED.has(option) || /^(x-|X-|comment=)/.test(option)) return {};
  if (Object.hasOwn(SETTERS, option)) return SETTERS[option] ?? {};
  const [name, value] = splitOnce(option);
  if (name === "cache") return { cacheBytes: parseCache(value) };
  if (name === "mlock" && (value === "try" || value === "require")) return { mlock: value };
  if (name === "mlock") throw bad(option, "mlock is try or require");
  throw bad(option, "see kmsfs mount --help for those that there are");
}

function splitOnce(option: string): [string, string] {
  const at = option.indexOf("=");
  return at < 0 ? [option, ""] : [option.slice(0, at), option.slice(at + 1)];
}

/** Bytes: a number, with K, M or G for powers of 1024. */
function parseCache(value: string): number {
  const match = /^(\d{1,13})([KMG]?)$/i.exec(value);
  const power = ["", "K", "M", "G"].indexOf((match?.[2] ?? "").toUpperCase());
  const bytes = Number(match?.[1] ?? Number.NaN) * 1024 ** power;
  if (!(bytes >= MIN_CACHE && bytes <= MAX_CACHE)) {
    throw bad(`cache=${value}`, "give a size from 1M to 1024G, such as cache=256M");
  }
  return bytes;
}

function bad(option: string, hint: string): UserError {
  return new UserError("Usage", `bad mount option "${option}"`, hint);
}
