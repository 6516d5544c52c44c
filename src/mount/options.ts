/** The -o options of a mount, the same on the command line and in fstab. */

import { UserError } from "../errors.js";
import { type ListedOption, listedOptions } from "./option-list.js";

export interface MountOptions {
  readonly readOnly: boolean;
  readonly allowOther: boolean;
  readonly writeback: boolean;
  /** bytes of the engine's sector cache */
  readonly cacheBytes: number;
  readonly mlock: "try" | "require";
  readonly debug: boolean;
  /** mount(8) records _netdev: systemd then unmounts before the network goes */
  readonly netdev: boolean;
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
  ["lazytime", "nolazytime"],
];

/** What these mean for the flags, as mount(8) has it: who mounts may not gain by it. */
const IMPLIED: Readonly<Record<string, readonly string[]>> = {
  user: ["noexec", "nosuid", "nodev"],
  users: ["noexec", "nosuid", "nodev"],
  owner: ["nosuid", "nodev"],
  group: ["nosuid", "nodev"],
};

/** For fstab's other readers, or what holds anyhow. */
const IGNORED = new Set([
  "auto",
  "default_permissions",
  "defaults",
  "noauto",
  "nofail",
  "nogroup",
  "noowner",
  "nouser",
  "nousers",
]);

const SETTERS: Readonly<Record<string, Partial<MountOptions>>> = {
  ro: { readOnly: true },
  rw: { readOnly: false },
  allow_other: { allowOther: true },
  writeback: { writeback: true },
  nowriteback: { writeback: false },
  debug: { debug: true },
  _netdev: { netdev: true },
};

/** Options from `-o` lists; the last one of a kind counts. Throws UserError (Usage). */
export function parseMountOptions(lists: readonly string[]): MountOptions {
  let options: MountOptions = {
    readOnly: false,
    allowOther: false,
    writeback: true,
    cacheBytes: 64 * 1024 ** 2,
    mlock: "try",
    debug: false,
    netdev: false,
    kernelFlags: [],
  };
  const families = new Map<readonly string[], string>();
  const setFlag = (flag: string): void => void families.set(familyOf(flag) ?? [], flag);
  for (const flag of ["nosuid", "nodev"]) setFlag(flag);
  for (const option of lists.flatMap(listedOptions)) {
    if (familyOf(option.text) !== undefined) setFlag(option.text);
    else if (isUserOption(option)) for (const flag of IMPLIED[option.name] ?? []) setFlag(flag);
    else options = { ...options, ...oneOption(option) };
  }
  return { ...options, kernelFlags: [...families.values()] };
}

/** The same lists without what `parseMountOptions` does not know: mount(8)'s -s. */
export function knownOptions(lists: readonly string[]): string[] {
  return lists
    .flatMap(listedOptions)
    .filter((option) => isKnown(option))
    .map((option) => option.text);
}

function isKnown(option: ListedOption): boolean {
  const { text, name } = option;
  return (
    familyOf(text) !== undefined ||
    isUserOption(option) ||
    isIgnored(text) ||
    Object.hasOwn(SETTERS, text) ||
    name === "cache" ||
    name === "mlock"
  );
}

function familyOf(option: string): readonly string[] | undefined {
  return FAMILIES.find((family) => family.includes(option));
}

/** Also "user=NAME", by which libmount remembers who mounted. */
function isUserOption({ name, value }: ListedOption): boolean {
  return Object.hasOwn(IMPLIED, name) && (value === undefined || name === "user");
}

function isIgnored(option: string): boolean {
  return IGNORED.has(option) || /^(x-|X-|comment=|uhelper=|helper=)/.test(option);
}

function oneOption({ text, name, value }: ListedOption): Partial<MountOptions> {
  if (isIgnored(text)) return {};
  if (Object.hasOwn(SETTERS, text)) return SETTERS[text] ?? {};
  if (name === "cache") return { cacheBytes: parseCache(value ?? "") };
  if (name === "mlock" && (value === "try" || value === "require")) return { mlock: value };
  if (name === "mlock") throw bad(text, "mlock is try or require");
  throw bad(text, "see kmsfs mount --help for those that there are");
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
