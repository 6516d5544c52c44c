/** What is found in a damaged volume of a corpus. */

import type { Test } from "tap";
import type { TestVolume } from "../support/test-volume.js";
import { differences, observe, type Seen } from "../tamper/observe.js";
import { chainOf } from "../tamper/stage.js";
import { type Findings, mount, readWhole } from "./corpus.js";

/** `names` beside what is listed, for what a damage has made unlisted. */
export function observed(volume: TestVolume, names: readonly string[] = []): Seen {
  return observe(volume.dir, names);
}

/** Every name that was looked at. */
function namesIn(seen: Seen): string[] {
  return [...seen.keys()].filter((key) => key.endsWith(" listed")).map((key) => key.replace(/ listed$/, ""));
}

/** By reader and engine; `before`: what programs see of the undamaged volume. */
export async function findings(t: Test, volume: TestVolume, before: Seen): Promise<Findings> {
  const problems = await readWhole(volume);
  const { code } = await mount(volume);
  if (code !== "Ok") return { mount: code, seen: {}, told: [], problems };
  const seen = Object.fromEntries(differences(before, observed(volume, namesIn(before))));
  await volume.down(t);
  const told = chainOf(volume)
    .filter(({ event }) => event === "tamper")
    .map(({ detail }) => String((detail as { what?: string }).what));
  // Under how many of its names a linked file is told of depends on what the kernel has in its cache.
  return { mount: code, seen, told: [...new Set(told)].sort(), problems };
}
