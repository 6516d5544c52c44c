/** What is in `.kmsfs`: the header's copy, the commit log, the sidecars of link targets (docs/format.md §1, §3, §7, §9). */

import { type BigIntStats, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.js";
import { HeaderDamage } from "../keys/parse.js";
import { sealedPlace } from "../reader/entry.js";
import { systemCode } from "../reader/errors.js";
import type { Volume } from "../reader/volume.js";
import { authenticatesUnder, type VolumeHeader } from "../volume/header.js";
import { volumePaths } from "../volume/paths.js";
import { readHeader } from "../volume/store.js";
import { type Action, type Finding, type Kind, RESTORE, SET_ASIDE } from "./finding.js";
import { LOST_AND_FOUND } from "./lost-found.js";

/** What the control directory is held against. */
export interface ControlFacts {
  /** Authenticated. */
  readonly header: VolumeHeader;
  /** Why volume.json is not used and `header` is volume.json.bak, as the operator asked. */
  readonly headerDamage: string | undefined;
}

const CONTROL = ".kmsfs";
/** What the engine makes and removes while it mounts. */
const PROBES = [".t-probe", ".t-longest"];
const PARTS = ["volume.json", "volume.json.bak", "lock", "log", "links", LOST_AND_FOUND];

export async function controlFindings(
  volume: Volume,
  facts: ControlFacts,
  symlinks: ReadonlySet<string>,
): Promise<Finding[]> {
  const control = new Control(volume, facts);
  return [
    ...(await control.header()),
    ...control.strays(),
    ...control.log(),
    ...control.segments(),
    ...control.targets(symlinks),
  ];
}

type Named = readonly [name: string, stats: BigIntStats];

class Control {
  constructor(
    private readonly volume: Volume,
    private readonly facts: ControlFacts,
  ) {}

  async header(): Promise<Finding[]> {
    const { header, headerDamage } = this.facts;
    if (headerDamage !== undefined) {
      const what = `${headerDamage}; volume.json.bak is whole, of generation ${header.generation}`;
      const action = { does: "put-header-back" } as const;
      return [
        damage("volume-header", ".kmsfs/volume.json", what, "puts that back as a new generation", action),
      ];
    }
    const why = await this.#copyDamage();
    if (why === undefined) return [];
    const what = `${why}: should volume.json be damaged, there is nothing to take instead`;
    const action = { does: "copy-header" } as const;
    return [damage("header-copy", ".kmsfs/volume.json.bak", what, "makes it a copy of volume.json", action)];
  }

  async #copyDamage(): Promise<string | undefined> {
    const { header } = this.facts;
    try {
      const copy = await readHeader(volumePaths(this.volume.backing).previousHeader);
      if (copy === undefined) return "it is missing";
      const own = copy.uuid === header.uuid && authenticatesUnder(copy, this.volume.keys.header);
      if (!own) return "it does not authenticate";
      return copy.generation > header.generation ? "it is of a later generation than volume.json" : undefined;
    } catch (error) {
      if (error instanceof HeaderDamage) return error.message;
      if (error instanceof UserError && error.code === "NewerFormat") return error.message;
      throw error;
    }
  }

  strays(): Finding[] {
    return this.#names([]).flatMap(([name, stats]) => {
      if (PARTS.includes(name)) {
        const directory = ["log", "links", LOST_AND_FOUND].includes(name);
        if (stats.isDirectory() === directory) return [];
        const what = directory ? "it is no directory" : "it is no regular file";
        return [damage("control", `.kmsfs/${name}`, what, `put it back from a backup, or ${RESTORE}`)];
      }
      if (/^volume\.json(\.bak)?\.new$/.test(name)) {
        const what = "a change of key slots was interrupted here; it is not in force";
        return [expected("header-temporary", name, what, "removed by the next change of key slots")];
      }
      if (PROBES.includes(name))
        return [
          expected(
            "probe",
            name,
            "a mount was ended while it tried the file system",
            "cleaned at the next mount",
          ),
        ];
      return [this.#stray([], name, stats)];
    });
  }

  log(): Finding[] {
    const { log, logDamage } = this.volume;
    if (logDamage) {
      const remedy =
        `none, and no mount opens the volume: ${RESTORE}; kmsfs export has the files as they were before what the log ` +
        "held";
      return [damage("log", "the commit log", logDamage.message, remedy)];
    }
    const found: Finding[] = [];
    const count = log?.commits.length ?? 0;
    if (count > 0) {
      const what = `${count} ${count === 1 ? "commit is" : "commits are"} in it and not yet in the files`;
      found.push(expected("log-recovery", "the commit log", what, "recovered by the next mount"));
    }
    if (log?.droppedTail) {
      const what = "it ends in records of what was never durable, as after a crash";
      found.push(expected("log-tail", "the commit log", what, "dropped by the next mount"));
    }
    return found;
  }

  segments(): Finding[] {
    const { segmentSize, segments } = this.facts.header.log;
    const present = this.#names(["log"]);
    const names = new Set(present.map(([name]) => name));
    const found = present.flatMap(([name, stats]) => {
      const number = /^([0-9]{4})\.seg$/.exec(name)?.[1];
      if (number !== undefined && Number(number) < segments)
        return this.#segment(name, stats, BigInt(segmentSize));
      const fresh = /^([0-9]{4}\.seg)\.new$/.exec(name)?.[1];
      if (fresh !== undefined && !names.has(fresh)) {
        const what = "a segment of the log was being made";
        return [expected("segment-temporary", `log/${name}`, what, "made anew by the next mount")];
      }
      if (fresh !== undefined) return [this.#stray(["log"], name, stats, "leftover")];
      return [this.#stray(["log"], name, stats)];
    });
    if (this.volume.unused || this.volume.logDamage) return found;
    for (let slot = 0; slot < segments; slot++) {
      const name = `${`${slot}`.padStart(4, "0")}.seg`;
      if (names.has(name)) continue;
      const what = "it is missing, and nothing of what counts was in it";
      found.push(expected("segment-missing", `log/${name}`, what, "made anew by the next mount"));
    }
    return found;
  }

  /** The engine takes segments of exactly the right size and no others. */
  #segment(name: string, stats: BigIntStats, size: bigint): Finding[] {
    const place = `.kmsfs/log/${name}`;
    const at = { path: [CONTROL, "log", name], ino: stats.ino };
    if (!stats.isFile()) return [damage("control", place, "it is no regular file", RESTORE)];
    if (stats.size === size) return [];
    const what = `it has ${stats.size} bytes, not ${size}: no mount opens the volume`;
    if (this.volume.logDamage) return [damage("segment-size", place, what, RESTORE)];
    const action = { does: stats.size < size ? "extend" : "cut", at, length: size } as const;
    const remedy =
      action.does === "cut" ? "cuts it there; what is behind goes to lost+found" : "extends it with zeros";
    return [damage("segment-size", place, `${what}; no commit is missing`, remedy, action)];
  }

  /** Sidecars of targets whose symlink is nowhere. */
  targets(symlinks: ReadonlySet<string>): Finding[] {
    return this.#names(["links"]).flatMap(([name, stats]) => {
      if (!/^[0-9a-f]{32}$/.test(name)) return [this.#stray(["links"], name, stats)];
      if (symlinks.has(name)) return [];
      const what = "it is the sidecar of a symlink's target, and there is no such symlink";
      return [{ ...this.#aside(["links"], name, stats, what), kind: "target-sidecar", severity: "leftover" }];
    });
  }

  #stray(below: readonly string[], name: string, stats: BigIntStats, severity?: "leftover"): Finding {
    if (severity !== undefined || name.startsWith(".t-")) {
      const what = "it was being made when the engine ended, and never got its name";
      return { ...this.#aside(below, name, stats, what), kind: "temporary", severity: "leftover" };
    }
    return this.#aside(below, name, stats, "it is nothing of this volume: no volume has such a name there");
  }

  #aside(below: readonly string[], name: string, stats: BigIntStats, what: string): Finding {
    const at = { path: [CONTROL, ...below, name], ino: stats.ino };
    const place = [CONTROL, ...below, sealedPlace(name)].join("/");
    return damage("garbage", place, what, SET_ASIDE, { does: "set-aside", at });
  }

  /** What is in a directory of `.kmsfs`; nothing where there is none, or no directory. */
  #names(below: readonly string[]): Named[] {
    const path = join(this.volume.backing, CONTROL, ...below);
    if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) return [];
    try {
      return readdirSync(path, "latin1")
        .sort()
        .map((name) => [
          name,
          lstatSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from(name, "latin1")]), { bigint: true }),
        ]);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
      return [];
    }
  }
}

function damage(kind: Kind, place: string, what: string, remedy: string, action?: Action): Finding {
  return { kind, severity: "damage", place, what, remedy, ...(action && { action }) };
}

function expected(kind: Kind, name: string, what: string, remedy: string): Finding {
  const place = name.startsWith("the ") ? name : `.kmsfs/${name}`;
  return { kind, severity: "expected", place, what, remedy };
}
