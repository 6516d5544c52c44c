/** A volume of scenes, one for each attack, and what the chain, the log and `verify` say of each. */

import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import type { AuditLine } from "../../src/audit/event.js";
import type { Problem } from "../../src/reader/verify.js";
import { TestVolume } from "../support/test-volume.js";
import { ATTACKS, idIn, linksDir, type Scene } from "./attacks.js";
import { byInode, copy } from "./backing.js";
import { SMALL_LOG } from "./crash.js";
import { differences, observe, type Seen } from "./observe.js";
import { buildClone, buildNew, buildOld } from "./scene.js";

export const sceneName = (index: number): string => `scene ${index}`;

/** What one attack came to. */
export interface Result {
  /** As `differences` says it */
  readonly seen: Map<string, string>;
  /** One text for each tamper event in the audit chain: file and block, what */
  readonly told: readonly string[];
}

/** The audit chain of the only volume in a test's scratch directory. */
export function chainOf(volume: TestVolume): AuditLine[] {
  const log = volume.scratch.file("log");
  const file = readdirSync(log).find((name) => name.endsWith(".audit")) ?? "";
  const lines = readFileSync(join(log, file), "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as AuditLine);
}

/** What a stretch of the chain says is wrong: what was tampered with, and what was refused. */
export function wrongIn(lines: readonly AuditLine[]): string[] {
  return lines.flatMap(({ event, outcome, code, detail }) => {
    if (event === "tamper") return [String((detail as { what?: string }).what)];
    return outcome === "failed" ? [`${event} failed: ${code}`] : [];
  });
}

type Places = Map<string, string>;

export class Stage {
  readonly volume: TestVolume;
  readonly #old: string;
  readonly #clone: string;
  readonly #pristine: string;
  /** Plaintext place -> stored place, when the older state was taken, and now */
  #formerly: Places = new Map();
  #places: Places = new Map();
  #before: Seen[] = [];

  private constructor(volume: TestVolume) {
    this.volume = volume;
    this.#old = volume.scratch.file("old");
    this.#clone = volume.scratch.file("clone");
    this.#pristine = volume.scratch.file("pristine");
  }

  static async build(t: Test): Promise<Stage> {
    const stage = new Stage(await TestVolume.make(t, SMALL_LOG));
    const { volume } = stage;
    const scenes = ATTACKS.map((_, index) => volume.at(sceneName(index)));
    await volume.up(t);
    scenes.forEach(buildOld);
    stage.#formerly = stage.#placesNow();
    await volume.down(t);
    copy(volume.backing, stage.#old);
    copy(volume.backing, stage.#clone);
    const mounted = await volume.run("mount", stage.#clone, volume.dir);
    t.equal(mounted.code, "Ok", mounted.stderr);
    scenes.filter((_, index) => ATTACKS[index]?.withClone).forEach(buildClone);
    await volume.down(t);
    await volume.up(t);
    scenes.forEach(buildNew);
    stage.#places = stage.#placesNow();
    await volume.down(t);
    copy(volume.backing, stage.#pristine);
    await volume.up(t);
    stage.#before = ATTACKS.map((_, index) => stage.#observe(index));
    await volume.down(t);
    return stage;
  }

  /** The inode number of a mounted file is that of its backing file. */
  #placesNow(): Places {
    const stored = byInode(this.volume.backing);
    return new Map([...byInode(this.volume.dir)].map(([ino, name]) => [name, stored.get(ino) ?? ""]));
  }

  scene(index: number): Scene {
    const { backing } = this.volume;
    const find = (places: Places, name: string) => {
      const place = places.get(`${sceneName(index)}/${name}`);
      if (place === undefined) throw new Error(`there is no ${name}`);
      return place;
    };
    return {
      dir: join(backing, this.#places.get(sceneName(index)) ?? ""),
      at: (name) => join(backing, find(this.#places, name)),
      was: (name) => join(this.#old, find(this.#formerly, name)),
      cloned: (name) => join(this.#clone, find(this.#formerly, name)),
      stood: (name) => join(backing, find(this.#formerly, name)),
      sidecar: (name) => join(linksDir(backing), idIn(join(backing, find(this.#places, name)))),
    };
  }

  /** Names looked up whether listed or not: those of now and of the older state. */
  #observe(index: number): Seen {
    const prefix = `${sceneName(index)}/`;
    const names = [...this.#places.keys(), ...this.#formerly.keys()].filter((name) =>
      name.startsWith(prefix),
    );
    const unique = [...new Set(names.map((name) => name.slice(prefix.length)))];
    return observe(this.volume.at(sceneName(index)), unique);
  }

  attack(): void {
    for (const [index, { act }] of ATTACKS.entries()) act(this.scene(index));
  }

  /** What applications see of the mounted volume, and what is told of it until it is unmounted. */
  async results(t: Test): Promise<{ results: Result[]; counted: number; elsewhere: string[] }> {
    const lines = chainOf(this.volume).length;
    const seen = ATTACKS.map((_, index) =>
      differences(this.#before[index] ?? new Map(), this.#observe(index)),
    );
    const counted = (await this.volume.status()).tamperEvents ?? 0;
    await this.volume.down(t);
    const told: string[][] = ATTACKS.map(() => []);
    const elsewhere: string[] = [];
    for (const { event, detail } of chainOf(this.volume).slice(lines)) {
      if (event !== "tamper") continue;
      const { index, text } = this.#locate(detail);
      (told[index] ?? elsewhere).push(text);
    }
    const results = seen.map((found, index) => ({ seen: found, told: told[index] ?? [] }));
    return { results, counted, elsewhere };
  }

  #locate(detail: AuditLine["detail"]): { index: number; text: string } {
    const { place, block, what } = (detail ?? {}) as { place?: string; block?: number; what?: string };
    const stored = (place ?? "").replace(`${this.volume.backing}/`, "");
    const scene = ATTACKS.findIndex(
      (_, index) => stored.split("/")[0] === this.#places.get(sceneName(index)),
    );
    const names = [...this.#places, ...this.#formerly]
      .filter(([, at]) => at === stored)
      .map(([name]) => name);
    const name = names[0]?.replace(/^scene \d+\/?/, "") ?? "another name";
    const where = block === undefined || block === null ? "" : ` block ${block}`;
    return { index: scene, text: `${name}${where}: ${what}` };
  }

  /** The problems of each scene, and the others. */
  async verify(): Promise<{ problems: Problem[][]; elsewhere: Problem[]; code: string }> {
    const { stdout, stderr, code } = await this.volume.run("verify", this.volume.backing, "--json");
    if (stdout === "") throw new Error(`verify: ${stderr}`);
    const problems: Problem[][] = ATTACKS.map(() => []);
    const elsewhere: Problem[] = [];
    for (const problem of (JSON.parse(stdout) as { problems: Problem[] }).problems) {
      const index = Number(/^\/?scene (\d+)(\/|$)/.exec(problem.place)?.[1] ?? -1);
      (problems[index] ?? elsewhere).push(problem);
    }
    return { problems, elsewhere, code };
  }

  /** Undoes what was done to the unmounted volume: its files as they were. The log is left as it is. */
  undo(): void {
    const { backing } = this.volume;
    const put = (place: string) => {
      rmSync(join(backing, place), { recursive: true, force: true });
      copy(join(this.#pristine, place), join(backing, place));
    };
    for (const index of ATTACKS.keys()) put(this.#places.get(sceneName(index)) ?? "");
    put(".kmsfs/links");
  }

  /** What an application sees of each scene that differs from what it was. */
  changes(): Map<string, string>[] {
    return ATTACKS.map((_, index) => differences(this.#before[index] ?? new Map(), this.#observe(index)));
  }
}
