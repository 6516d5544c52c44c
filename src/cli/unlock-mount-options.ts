/** The unlock options as mount options: what is --keyfile F on the command line is keyfile=F in fstab. */

import { UserError } from "../errors.js";
import { type ListedOption, listedOptions } from "../mount/option-list.js";
import { UNLOCK_OPTIONS, type UnlockArguments } from "./unlock-options.js";

export interface SplitOptions {
  /** Each one a mount option, as it was written */
  readonly mount: readonly string[];
  readonly unlock: UnlockArguments;
}

interface Definition {
  readonly type: "string" | "number" | "boolean";
  readonly array?: boolean;
  readonly default?: unknown;
  readonly conflicts?: string | readonly string[];
}

const DEFINITIONS: Readonly<Record<string, Definition>> = UNLOCK_OPTIONS;

/** What the unlock options are when nothing is said. */
export function unlockDefaults(): UnlockArguments {
  const set = Object.entries(DEFINITIONS).flatMap(([name, { default: value }]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  return Object.fromEntries(set) as UnlockArguments;
}

/**
 * Takes the unlock options out of `-o` lists. They win over `given`, which came as flags; those that may be given
 * several times are added to it. Throws UserError (Usage).
 */
export function splitUnlockOptions(lists: readonly string[], given: UnlockArguments): SplitOptions {
  const mount: string[] = [];
  const unlock: Record<string, unknown> = { ...given };
  for (const option of lists.flatMap(listedOptions)) {
    const definition = Object.hasOwn(DEFINITIONS, option.name) ? DEFINITIONS[option.name] : undefined;
    if (definition === undefined) mount.push(option.text);
    else {
      const value = optionValue(option, definition);
      unlock[option.name] = definition.array
        ? [...((unlock[option.name] as unknown[] | undefined) ?? []), value]
        : value;
    }
  }
  refuseConflicts(unlock);
  return { mount, unlock: unlock as UnlockArguments };
}

function optionValue({ name, text, value }: ListedOption, definition: Definition): string | number | boolean {
  if (definition.type === "boolean") {
    if (value === undefined) return true;
    throw new UserError("Usage", `bad mount option "${text}"`, `${name} takes no value`);
  }
  if (value === undefined || value === "") {
    throw new UserError("Usage", `bad mount option "${text}"`, `write ${name}=VALUE`);
  }
  return definition.type === "number" ? Number(value) : value;
}

function refuseConflicts(unlock: Readonly<Record<string, unknown>>): void {
  for (const [name, { conflicts = [] }] of Object.entries(DEFINITIONS)) {
    const other = [conflicts].flat().find((candidate) => unlock[candidate] !== undefined);
    if (unlock[name] === undefined || other === undefined) continue;
    throw new UserError("Usage", `${name} and ${other} exclude one another`, "give one of them");
  }
}
