#!/usr/bin/env node
import { existsSync } from "node:fs";
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

async function main(argv: readonly string[]): Promise<void> {
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
      throw new UserError("Usage", message ?? "bad arguments", "see kmsfs --help");
    });
  for (const command of await commandsFor(argv)) parser.command(command);
  await parser.parseAsync();
}

function report(error: unknown): number {
  if (process.env.KMSFS_DEBUG) console.error(error);
  if (error instanceof UserError) {
    console.error(`kmsfs: ${error.line}`);
    return error.exitCode;
  }
  if (error instanceof Error && error.name === "YError") {
    console.error(`kmsfs: ${messageOf(error)}; see kmsfs --help`);
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
