#!/usr/bin/env node
import { isUtf8 } from "node:buffer";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import yargs, { type CommandModule } from "yargs";
import { messageOf, UserError } from "../errors.js";
import { packageVersion } from "../version.js";
import { ExitCode } from "./exit-codes.js";

const COMMANDS = ["init", "mount", "umount", "status", "verify", "export", "key"] as const;

/** Each command's file exports `command`, a yargs module whose handler imports what is heavy by itself. */
async function loadCommand(name: string): Promise<CommandModule> {
  const file = join(dirname(fileURLToPath(import.meta.url)), `${name}.js`);
  const loaded = (await import(pathToFileURL(file).href)) as { command: CommandModule };
  return loaded.command;
}

/** Loading all of them costs start-up time and only help texts need it. */
async function commandsFor(argv: readonly string[]): Promise<CommandModule[]> {
  const here = dirname(fileURLToPath(import.meta.url));
  const present = COMMANDS.filter((name) => existsSync(join(here, `${name}.js`)));
  const named = present.find((name) => name === argv[0]);
  return Promise.all((named === undefined ? present : [named]).map(loadCommand));
}

/** Node puts U+FFFD for every other byte: a path would silently become another one. Throws UserError (Usage). */
function refuseOtherEncodings(): void {
  if (isUtf8(readFileSync("/proc/self/cmdline"))) return;
  throw new UserError(
    "Usage",
    "an argument is not UTF-8",
    "reach that path by a symbolic link with a plain name",
  );
}

function unknownCommand(argv: readonly string[]): void {
  const [name] = argv;
  if (name === undefined || name.startsWith("-") || COMMANDS.some((command) => command === name)) return;
  throw new UserError("Usage", `there is no command ${name}`, `the commands are ${COMMANDS.join(", ")}`);
}

async function main(argv: readonly string[]): Promise<void> {
  refuseOtherEncodings();
  unknownCommand(argv);
  const parser = yargs([...argv])
    .scriptName("kmsfs")
    .usage("$0 <command>: an encrypted file system for AWS")
    .version(packageVersion())
    .strict()
    .demandCommand(1, "no command given")
    .parserConfiguration({ "duplicate-arguments-array": true, "parse-positional-numbers": false })
    .epilogue("Exit codes: docs/exit-codes.md")
    .help()
    .exitProcess(false)
    .fail((message: string | null, error: Error | undefined) => {
      if (error !== undefined) throw error;
      throw new UserError("Usage", message ?? "bad arguments", `see ${helpFor(argv)}`);
    });
  for (const command of await commandsFor(argv)) parser.command(command);
  await parser.parseAsync();
}

function helpFor(argv: readonly string[]): string {
  const named = COMMANDS.find((command) => command === argv[0]);
  return named === undefined ? "kmsfs --help" : `kmsfs ${named} --help`;
}

function report(error: unknown): number {
  if (process.env.KMSFS_DEBUG) console.error(error);
  if (error instanceof UserError) {
    console.error(`kmsfs: ${error.line}`);
    return error.exitCode;
  }
  if (error instanceof Error && error.name === "YError") {
    console.error(`kmsfs: ${messageOf(error)}; see ${helpFor(process.argv.slice(2))}`);
    return ExitCode.Usage;
  }
  console.error(
    `kmsfs: unexpected failure: ${messageOf(error)}; run it again with KMSFS_DEBUG=1 for the details`,
  );
  return ExitCode.Unexpected;
}

main(process.argv.slice(2)).catch((error: unknown) => {
  // Not exitCode: after a deadline the AWS SDK may still hold sockets and timers open.
  process.exit(report(error));
});
