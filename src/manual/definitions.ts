/** The commands as data, read from the very definitions that parse the command line. */

import type { Argv, CommandModule } from "yargs";
import { COMMANDS } from "../cli/command-names.js";
import { loadCommand } from "../cli/commands.js";

export interface PositionalDefinition {
  readonly name: string;
  readonly describe: string;
  readonly required: boolean;
  readonly repeated: boolean;
}

export interface OptionDefinition {
  readonly name: string;
  /** One letter each, or a second long name */
  readonly aliases: readonly string[];
  readonly describe: string;
  /** What stands for its value in a synopsis; undefined for one that takes none */
  readonly value: string | undefined;
  readonly choices: readonly string[];
  readonly repeated: boolean;
  /** As text; undefined when there is none or it goes without saying */
  readonly fallback: string | undefined;
}

export interface CommandDefinition {
  /** Such as ["key", "list"] */
  readonly path: readonly string[];
  readonly describe: string;
  readonly positionals: readonly PositionalDefinition[];
  readonly options: readonly OptionDefinition[];
  readonly examples: readonly { readonly command: string; readonly describe: string }[];
  /** Paragraphs that stand after the options in the help */
  readonly notes: readonly string[];
  readonly subcommands: readonly CommandDefinition[];
}

/** What --kms-key and the like take; other options say it by their type. */
const VALUE_NAMES: Readonly<Record<string, string>> = {
  keyfile: "FILE",
  "kms-key": "KEY",
  "new-kms-key": "KEY",
  "new-keyfile": "FILE",
  "kms-timeout": "SECONDS",
  context: "NAME=VALUE",
  "block-size": "BYTES",
  "log-segment-size": "MIB",
  prefix: "DIR",
  root: "DIR",
  package: "DIR",
  command: "FILE",
};

/** Methods of yargs that change how a command parses and not what its documents say. */
const SILENT = new Set([
  "check",
  "coerce",
  "conflicts",
  "demandCommand",
  "demandOption",
  "group",
  "hide",
  "implies",
  "middleware",
  "parserConfiguration",
  "recommendCommands",
  "strict",
  "strictCommands",
  "strictOptions",
  "usage",
  "wrap",
]);

type Settings = Readonly<Record<string, unknown>>;

/** Takes down what a builder calls. Throws Error for a method it does not know: the documents would miss something. */
class Recorder {
  readonly positionals = new Map<string, Settings>();
  readonly options = new Map<string, Settings>();
  readonly examples: { command: string; describe: string }[] = [];
  readonly notes: string[] = [];
  readonly subcommands: CommandModule[] = [];

  get argv(): Argv {
    const proxy: Argv = new Proxy({} as Argv, {
      get: (_, method) => {
        // An async builder would await it
        if (method === "then") return undefined;
        return (...args: unknown[]) => {
          this.#call(String(method), args);
          return proxy;
        };
      },
    });
    return proxy;
  }

  #call(method: string, args: readonly unknown[]): void {
    const [first, second] = args;
    if (method === "positional") this.positionals.set(String(first), second as Settings);
    else if (method === "option" || method === "options") this.#option(first, second);
    else if (method === "example") this.#example(first, second);
    else if (method === "epilogue" || method === "epilog") this.notes.push(String(first));
    else if (method === "command" && typeof first === "object") {
      this.subcommands.push(...((Array.isArray(first) ? first : [first]) as CommandModule[]));
    } else if (!SILENT.has(method))
      throw new Error(`src/manual/definitions.ts does not know yargs.${method}()`);
  }

  #option(first: unknown, second: unknown): void {
    const several = typeof first === "string" ? { [first]: second } : first;
    for (const [name, settings] of Object.entries(several as Record<string, Settings>)) {
      if (settings.hidden !== true) this.options.set(name, settings);
    }
  }

  #example(first: unknown, second: unknown): void {
    const pairs = Array.isArray(first) ? (first as [string, string?][]) : [[first, second]];
    for (const [command, describe] of pairs) {
      this.examples.push({
        command: String(command).replaceAll("$0", "kmsfs"),
        describe: String(describe ?? ""),
      });
    }
  }
}

/** Every command, in the order of the help. */
export async function commandDefinitions(): Promise<CommandDefinition[]> {
  const modules = await Promise.all(COMMANDS.map(loadCommand));
  return Promise.all(
    modules.filter(({ describe }) => describe !== false).map((module) => define(module, [])),
  );
}

async function define(module: CommandModule, parents: readonly string[]): Promise<CommandDefinition> {
  const text = Array.isArray(module.command) ? (module.command[0] ?? "") : (module.command ?? "");
  const [name = "", ...places] = String(text).split(/\s+/);
  const path = [...parents, name];
  const recorder = new Recorder();
  if (typeof module.builder === "function") await module.builder(recorder.argv);
  else if (module.builder !== undefined) recorder.argv.options(module.builder);
  return {
    path,
    describe: String(module.describe ?? ""),
    positionals: places.map((place) => positional(place, recorder.positionals, path)),
    options: [...recorder.options].map(([option, settings]) => defineOption(option, settings, path)),
    examples: recorder.examples,
    notes: recorder.notes,
    subcommands: await Promise.all(recorder.subcommands.map((sub) => define(sub, path))),
  };
}

/** From `<backing>`, `[dir]` or `<dirs..>`. */
function positional(
  place: string,
  settings: ReadonlyMap<string, Settings>,
  path: readonly string[],
): PositionalDefinition {
  const name = place.replace(/^[<[]|[>\]]$/g, "").replace(/\.\.\.?$/, "");
  const describe = settings.get(name)?.describe;
  if (typeof describe !== "string") throw new Error(`kmsfs ${path.join(" ")}: ${place} is not described`);
  return { name, describe, required: place.startsWith("<"), repeated: /\.\.[>\]]$/.test(place) };
}

function defineOption(name: string, settings: Settings, path: readonly string[]): OptionDefinition {
  const { describe, alias, type, choices, array, default: fallback } = settings;
  if (typeof describe !== "string") throw new Error(`kmsfs ${path.join(" ")}: --${name} is not described`);
  const listed = ((choices ?? []) as readonly unknown[]).map(String);
  const takesNone = type === "boolean" || type === "count";
  return {
    name,
    aliases: alias === undefined ? [] : ([alias].flat() as string[]),
    describe,
    value: takesNone ? undefined : valueName(name, type, listed),
    choices: listed,
    repeated: array === true || type === "array",
    fallback: fallback === undefined || fallback === false || fallback === "" ? undefined : String(fallback),
  };
}

function valueName(name: string, type: unknown, choices: readonly string[]): string {
  const known = VALUE_NAMES[name];
  if (known !== undefined) return known;
  if (choices.length > 0) return choices.join("|");
  if (/(^|-)file$/.test(name)) return "FILE";
  if (name === "options") return "OPTIONS";
  return type === "number" ? "N" : "VALUE";
}

/** Itself and what is below it. */
export function withSubcommands(command: CommandDefinition): CommandDefinition[] {
  return [command, ...command.subcommands.flatMap(withSubcommands)];
}
