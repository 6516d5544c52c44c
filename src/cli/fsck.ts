import { resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import type { ArgumentsCamelCase, Argv, CommandModule } from "yargs";
import { UserError } from "../errors.js";
import type { Finding } from "../fsck/finding.js";
import type { Session } from "../fsck/session.js";
import type { Survey } from "../fsck/survey.js";
import { ExitCode } from "./exit-codes.js";
import { Progress } from "./progress.js";
import { openOptions, UNLOCK_OPTIONS, type UnlockArguments } from "./unlock-options.js";

interface Options extends Omit<UnlockArguments, "use-previous-header"> {
  backing: string;
  repair: boolean;
  "dry-run": boolean;
  yes: boolean;
  deep: boolean;
  "header-from-backup": boolean;
  json: boolean;
}

const { "use-previous-header": _, ...KEY_OPTIONS } = UNLOCK_OPTIONS;

export const command: CommandModule<object, Options> = {
  command: "fsck <backing>",
  describe: "find what is damaged or left over in a volume that is not mounted, and repair it",
  builder: (argv: Argv) =>
    argv
      .positional("backing", { type: "string", demandOption: true, describe: "the backing directory" })
      .option("dry-run", {
        alias: "n",
        type: "boolean",
        default: false,
        describe: "report and change nothing, as it does without --repair",
      })
      .option("repair", {
        type: "boolean",
        default: false,
        describe: "report, ask, and repair; what is taken out is kept in .kmsfs/lost+found",
      })
      .option("yes", { alias: "y", type: "boolean", default: false, describe: "repair without asking" })
      .option("deep", {
        type: "boolean",
        default: false,
        describe: "open every block too, as verify does; else names, records, headers and the log",
      })
      .option("header-from-backup", {
        type: "boolean",
        default: false,
        describe: "volume.json does not open: take volume.json.bak, and with --repair put it back",
      })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on standard output" })
      .options(KEY_OPTIONS)
      .example("$0 fsck /data/phi", "report; exits 0, or 35 where there is something to repair")
      .example("$0 fsck /data/phi --repair", "report, ask, repair")
      .epilogue(
        "What the next mount settles by itself is told as expected, and is no finding: exit status 0.",
      ) as unknown as Argv<Options>,
  handler: async (argv: ArgumentsCamelCase<Options>) => {
    checkOptions(argv);
    const { withSession } = await import("../fsck/session.js");
    const keys = openOptions({ ...argv, "use-previous-header": false }, "read");
    const { repair, headerFromBackup } = argv;
    await withSession(argv.backing, { ...keys, repair, headerFromBackup }, (session) => check(argv, session));
  },
};

function checkOptions({ repair, yes, json, dryRun }: ArgumentsCamelCase<Options>): void {
  if (dryRun && repair) throw new UserError("Usage", "--dry-run and --repair contradict", "give one of them");
  if (yes && !repair) throw new UserError("Usage", "--yes is for --repair", "give both, or neither");
  if (!repair) return;
  if (process.geteuid?.() !== 0) {
    throw new UserError("Privilege", "a repair writes records that are root's alone", "run it as root");
  }
  if (yes || (process.stdin.isTTY && !json)) return;
  throw new UserError(
    "Usage",
    "--repair asks before it changes anything, and nobody can answer",
    "give --yes",
  );
}

async function check(argv: Options, session: Session): Promise<void> {
  const { counted, look, repair } = await import("../fsck/fsck.js");
  const progress = new Progress();
  const onProgress = (inodes: number) => progress.show(() => `looked at ${inodes} inodes`);
  const say = (line: string) => {
    progress.clear();
    if (!argv.json) console.log(line);
  };
  const first = await look(session, { deep: argv.deep, onProgress });
  for (const finding of first.findings) say(findingLine(finding));
  const repairable = counted(first.findings).filter(({ action }) => action !== undefined);
  const go =
    argv.repair && repairable.length > 0 && (argv.yes || (await confirmed(repairable.length, progress)));
  if (!go) {
    progress.clear();
    await tell(session, first, [], undefined);
    conclude(argv, session, { first, left: first, repaired: [], lostAndFound: undefined });
    return;
  }
  const result = await repair(argv.backing, session, first, {
    onProgress,
    onRepaired: (finding) => say(`repaired: ${finding.place} (${finding.kind})`),
  });
  progress.clear();
  for (const line of result.warnings) console.error(`kmsfs: warning: ${line}`);
  await tell(session, result.left, result.repaired, result.lostAndFound);
  conclude(argv, session, { first, ...result });
}

async function confirmed(count: number, progress: Progress): Promise<boolean> {
  progress.clear();
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await lines.question(`repair ${count === 1 ? "this" : `these ${count}`}? [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}

async function tell(
  session: Session,
  left: Survey,
  repaired: readonly Finding[],
  lostAndFound: string | undefined,
): Promise<void> {
  const { counted } = await import("../fsck/fsck.js");
  const found = counted(left.findings).length;
  await session.audit.tell({
    event: "fsck",
    outcome: found > 0 ? "detected" : "ok",
    detail: {
      repaired: repaired.length,
      left: found,
      inodes: left.inodes,
      ...(repaired.length > 0 && { kinds: [...new Set(repaired.map(({ kind }) => kind))] }),
      ...(lostAndFound !== undefined && { lostAndFound: resolve(lostAndFound) }),
    },
  });
}

interface Outcome {
  readonly first: Survey;
  readonly left: Survey;
  readonly repaired: readonly Finding[];
  readonly lostAndFound: string | undefined;
}

/** Throws UserError (Unrepaired) where something is left. */
function conclude({ backing, json, repair }: Options, session: Session, outcome: Outcome): void {
  const { left, repaired, lostAndFound } = outcome;
  const open = left.findings.filter(({ severity }) => severity !== "expected");
  if (json) {
    const expected = left.findings.filter(({ severity }) => severity === "expected");
    const told = { repaired: repaired.map(shown), left: open.map(shown), expected: expected.map(shown) };
    const object = { volume: session.uuid, inodes: left.inodes, ...told, lostAndFound: lostAndFound ?? null };
    console.log(JSON.stringify(object));
    process.exitCode =
      open.length > 0 ? ExitCode.Unrepaired : repaired.length > 0 ? ExitCode.Repaired : ExitCode.Ok;
    return;
  }
  console.log(`looked at ${left.inodes} inodes`);
  if (repaired.length > 0) {
    const kept = lostAndFound === undefined ? "" : `; what was taken out is in ${lostAndFound}`;
    console.log(`${things(repaired.length)} repaired${kept}`);
    process.exitCode = ExitCode.Repaired;
    for (const finding of open) console.log(`left: ${findingLine(finding)}`);
  }
  if (open.length > 0) {
    const helped = open.some(({ action }) => action !== undefined);
    const hint =
      helped && !repair
        ? `kmsfs fsck ${backing} --repair does what is said above`
        : "each says above what helps";
    throw new UserError(
      "Unrepaired",
      `${backing} has ${things(open.length)} that ${open.length === 1 ? "is" : "are"} not repaired`,
      hint,
    );
  }
  if (repaired.length === 0) console.log("nothing is damaged or left over");
}

function things(count: number): string {
  return count === 1 ? "1 thing" : `${count} things`;
}

function shown({ action, ...rest }: Finding): object {
  return { ...rest, repair: action?.does ?? null };
}

/** One line for one finding. */
export function findingLine({ severity, place, id, block, what, remedy, action, kind }: Finding): string {
  const where = [place, id && `id ${id}`, block && `block ${block}`].filter(Boolean).join(", ");
  const how = action === undefined ? remedy : `repair ${remedy}`;
  return `${severity}: ${where}: ${what}; ${how} (${kind})`;
}
