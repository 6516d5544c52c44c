/** A volume whose key the strict stand-in keeps, for one test file. */

import { existsSync } from "node:fs";
import type { Test } from "tap";
import type { StandinKey } from "./kms-keys.js";
import { KmsStandin } from "./kms-standin.js";
import { type Outcome, runKmsfs, Scratch, showsKey } from "./run-kmsfs.js";

export interface KmsFixture {
  readonly scratch: Scratch;
  readonly kms: KmsStandin;
  readonly key: StandinKey;
  readonly other: StandinKey;
  readonly env: Record<string, string>;
  /** The backing directory */
  readonly volume: string;
  /** What init said */
  readonly made: Outcome;
  check(more?: string[], env?: Record<string, string>): Promise<Outcome>;
  /** Into "fresh" */
  init(more?: string[], env?: Record<string, string>): Promise<Outcome>;
  /** One line that names the action, the key and the place; no stack, no key; nothing made. */
  refusedWith(t: Test, outcome: Outcome, code: string, what: RegExp): void;
}

/** Stopped and removed when `t` ends; before each of its subtests everything is well again. */
export async function kmsFixture(t: Test): Promise<KmsFixture> {
  const scratch = new Scratch();
  t.teardown(() => scratch.remove());
  const kms = await KmsStandin.start();
  t.teardown(() => kms.stop());
  const key = kms.keys.add("phi");
  const other = kms.keys.add("other");
  const env = { ...scratch.environment(), ...kms.environment() };
  const volume = scratch.file("volume");
  const made = await runKmsfs(["init", volume, "--kms-key", "alias/phi", "--context", "team=billing"], env);
  t.equal(made.code, "Ok", made.stderr);

  t.beforeEach(() => {
    kms.behaviour = { kind: "normal" };
    key.state = "Enabled";
    kms.keys.denied.clear();
  });

  return {
    scratch,
    kms,
    key,
    other,
    env,
    volume,
    made,
    check: (more = [], changed = {}) => runKmsfs(["key", "check", volume, ...more], { ...env, ...changed }),
    init: (more = [], changed = {}) =>
      runKmsfs(["init", scratch.file("fresh"), "--kms-key", "alias/phi", ...more], { ...env, ...changed }),
    refusedWith(t, outcome, code, what) {
      t.equal(outcome.code, code, outcome.stderr);
      t.match(outcome.stderr, /^kmsfs: [^\n]+; [^\n]+\n$/, "one line: what happened, and what to do");
      t.match(outcome.stderr, what);
      t.equal(outcome.stdout, "");
      t.notOk(showsKey(outcome.stderr, kms.keys.handedOut), "no key in it");
      t.notOk(existsSync(scratch.file("fresh")), "nothing was left behind");
    },
  };
}
