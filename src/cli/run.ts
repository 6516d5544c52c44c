/** One run of the command, whatever its arguments. */

import type { CommandModule } from "yargs";
import { messageOf, UserError } from "../errors.js";
import { withPriority } from "../journal.js";
import { packageVersion } from "../version.js";
import { COMMANDS, type CommandName, isCommandName } from "./command-names.js";
import { refuseOtherEncodings } from "./encodings.js";
import { ExitCode } from "./exit-codes.js";

/** An option's text reaches every command and subcommand; an epilogue does not. */
const HELP = "this text; exit codes are in kmsfs(1) and docs/exit-codes.md";

export type LoadCommand = (name: CommandName) => Promise<CommandModule>;

/** Loading all of them costs start-up time and only help texts need it. */
async function commandsFor(argv: readonly string[], load: LoadCommand): Promise<CommandModule[]> {
  const [named] = argv;
  return Promise.all((isCommandName(named) ? [named] : COMMANDS).map(load));
}

/** `kmsfs help mount` is `kmsfs mount --help`. */
function withoutHelpCommand(argv: readonly string[]): readonly string[] {
  return argv[0] === "help" ? [...argv.slice(1), "--help"] : argv;
}

/** What the scripts in sbin/ call: arguments and exit status are those of mount(8). */
async function runMountHelper([name, ...args]: readonly string[]): Promise<number | undefined> {
  if (name === "mount-helper") return (await import("../helper/mount.js")).mountHelper(args);
  if (name === "umount-helper") return (await import("../helper/umount.js")).umountHelper(args);
  return undefined;
}

function unknownCommand(argv: readonly string[]): void {
  const [name] = argv;
  if (name === undefined || name.startsWith("-") || isCommandName(name)) return;
  throw new UserError("Usage", `there is no command ${name}`, `the commands are ${COMMANDS.join(", ")}`);
}

async function parse(given: readonly string[], load: LoadCommand): Promise<void> {
  const status = await runMountHelper(given);
  // Not exitCode: after a deadline the AWS SDK may still hold sockets and timers open.
  if (status !== undefined) process.exit(status);
  refuseOtherEncodings();
  const argv = withoutHelpCommand(given);
  unknownCommand(argv);
  // Only now: it asks for the working directory as it is loaded, which may be gone when mount(8) calls.
  const { default: yargs } = await import("yargs");
  const parser = yargs([...argv])
    .scriptName("kmsfs")
    .usage("$0 <command>: an encrypted file system for AWS; kmsfs help <command> tells of one")
    .version("version", "the version", packageVersion())
    .strict()
    .demandCommand(1, "no command given")
    .parserConfiguration({ "duplicate-arguments-array": true, "parse-positional-numbers": false })
    .help("help", HELP)
    .exitProcess(false)
    .fail((message: string | null, error: Error | undefined) => {
      if (error !== undefined) throw error;
      throw new UserError("Usage", message ?? "bad arguments", `see ${helpFor(argv)}`);
    });
  for (const command of await commandsFor(argv, load)) parser.command(command);
  await parser.parseAsync();
}

function helpFor(argv: readonly string[]): string {
  const [named] = argv;
  return isCommandName(named) ? `kmsfs ${named} --help` : "kmsfs --help";
}

function report(error: unknown): number {
  if (process.env.KMSFS_DEBUG) console.error(error);
  if (error instanceof UserError) {
    console.error(withPriority("error", `kmsfs: ${error.line}`));
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

/** console.log tells nobody when its text goes nowhere. A reader that is gone (EPIPE) has read what it wanted. */
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE" || process.exitCode === ExitCode.Unexpected) return;
  console.error(`kmsfs: standard output: ${messageOf(error)}; what was to be printed is not whole`);
  process.exitCode ||= ExitCode.Unexpected;
});

/** Ends the process when it fails. */
export async function run(argv: readonly string[], load: LoadCommand): Promise<void> {
  try {
    await parse(argv, load);
  } catch (error) {
    // Not exitCode: after a deadline the AWS SDK may still hold sockets and timers open.
    process.exit(report(error));
  }
}
