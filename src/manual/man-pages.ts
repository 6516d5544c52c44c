/** kmsfs(1) and a page for each command, in man(7). */

import type { CommandDefinition, OptionDefinition } from "./definitions.js";
import { withSubcommands } from "./definitions.js";
import { bold, italic, quoted, roff, tagged, verbatim } from "./roff.js";

export interface Edition {
  readonly version: string;
  /** 2026-11-24 */
  readonly date: string;
}

export interface ExitStatus {
  readonly code: number;
  readonly name: string;
  readonly meaning: string;
  readonly remedy: string;
}

const SUMMARY = "an encrypted file system for AWS, with its key in KMS";

const DESCRIPTION = `An application writes to an ordinary directory; every byte is sealed in AES-256-GCM blocks before it reaches the
backing directory, names and attributes included. The key comes from AWS KMS when the volume is mounted and lives only
in memory. Credentials, region and endpoint are those of the AWS SDK's own chain; none of them is an option.`;

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ["AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_KMS, ...", "as the AWS SDK knows them"],
  ["KMSFS_DEBUG", "when set, a failure shows its stack"],
  ["KMSFS_ENGINE", "another engine than the one of the package"],
  ["KMSFS_ETC, KMSFS_RUN, KMSFS_LOG", "other places than those under FILES, for trials and tests"],
];

const FILES: readonly (readonly [string, string])[] = [
  [
    "BACKING/.kmsfs/volume.json",
    "the header of a volume with its key slots; volume.json.bak is the one before",
  ],
  ["/etc/kmsfs/UUID.json", "the pin: what this host trusts of a volume"],
  ["/run/kmsfs/", "control sockets and state of what is mounted"],
  ["/var/log/kmsfs/UUID.log", "the log of a volume's mounts"],
];

/** Pages by file name, such as "kmsfs-mount.1". */
export function manPages(
  commands: readonly CommandDefinition[],
  statuses: readonly ExitStatus[],
  edition: Edition,
): Map<string, string> {
  const pages = new Map([["kmsfs.1", overview(commands, statuses, edition)]]);
  for (const command of commands) pages.set(`${pageName(command)}.1`, page(command, commands, edition));
  const mount = commands.find(({ path }) => path[0] === "mount");
  if (mount === undefined) throw new Error("there is no command mount");
  for (const name of ["mount.kmsfs", "mount.fuse.kmsfs", "umount.kmsfs", "umount.fuse.kmsfs"])
    pages.set(`${name}.8`, mountHelper(name, mount, edition));
  return pages;
}

function pageName(command: CommandDefinition): string {
  return `kmsfs-${command.path.join("-")}`;
}

function title(name: string, { version, date }: Edition, chapter = 1): string {
  return [
    '.\\" Generated from the definitions of the commands: edit those.',
    `.TH ${quoted(name.toUpperCase())} ${chapter} "${date}" ${quoted(`kmsfs ${version}`)} ${quoted("kmsfs")}`,
    // Neither hyphens nor blanks in what is copied from a page
    ".nh\n.ad l",
  ].join("\n");
}

function overview(
  commands: readonly CommandDefinition[],
  statuses: readonly ExitStatus[],
  edition: Edition,
): string {
  return join([
    title("kmsfs", edition),
    section("Name", `kmsfs \\- ${roff(SUMMARY)}`),
    section("Synopsis", `${bold("kmsfs")} ${italic("command")} [${italic("arguments")}]`),
    section("Description", roff(DESCRIPTION)),
    section(
      "Commands",
      ...commands.map((command) => tagged(`${bold(pageName(command))}(1)`, roff(sentence(command.describe)))),
    ),
    section(
      "Options",
      tagged(bold("--help"), roff("Shows the options of kmsfs or, after a command, of that one.")),
      tagged(bold("--version"), roff("Shows the version.")),
    ),
    section(
      "Exit status",
      roff("Every failure is one line on standard error that says what happened, to what, and what to do."),
      ...statuses.map(({ code, name, meaning, remedy }) =>
        tagged(
          `${bold(String(code))} ${roff(name)}`,
          roff(sentence([meaning, remedy].filter(Boolean).join(": "))),
        ),
      ),
    ),
    section("Environment", ...ENVIRONMENT.map(([name, text]) => tagged(bold(name), roff(sentence(text))))),
    section("Files", ...FILES.map(([name, text]) => tagged(italic(name), roff(sentence(text))))),
    section(
      "Examples",
      commands
        .flatMap((command) => withSubcommands(command).flatMap(({ examples }) => examples.slice(0, 1)))
        .map(example)
        .join("\n.PP\n"),
    ),
    section("See also", seeAlso(commands)),
  ]);
}

function page(command: CommandDefinition, commands: readonly CommandDefinition[], edition: Edition): string {
  const all = withSubcommands(command).filter(({ subcommands }) => subcommands.length === 0);
  const parts = [
    title(pageName(command), edition),
    section("Name", `${roff(pageName(command))} \\- ${roff(command.describe)}`),
    section("Synopsis", all.map(synopsis).join("\n.br\n")),
  ];
  if (command.subcommands.length === 0) parts.push(...body(command));
  else {
    const subsections = all.flatMap((sub) => [
      `.SS ${quoted(sub.path.slice(1).join(" "))}`,
      roff(sentence(sub.describe)),
      ...argumentsOf(sub),
      ...sub.notes.map((note) => `.PP\n${verbatim(note)}`),
    ]);
    parts.push(section("Description", roff(sentence(command.describe))), section("Commands", ...subsections));
  }
  const examples = withSubcommands(command).flatMap((each) => each.examples);
  if (examples.length > 0) parts.push(section("Examples", examples.map(example).join("\n.PP\n")));
  parts.push(
    section(
      "Exit status",
      `0 when all is done; ${roff("every kind of failure has a number of its own, which")}\n${bold("kmsfs")}(1)\nlists.`,
    ),
    section(
      "See also",
      seeAlso(
        commands.filter((other) => other !== command),
        true,
      ),
    ),
  );
  return join(parts);
}

/** What mount(8) and umount(8) run, and what fstab(5) may say. */
function mountHelper(name: string, mount: CommandDefinition, edition: Edition): string {
  const [backing, dir, options] = [italic("backing"), italic("dir"), italic("options")];
  const statuses = [
    ["0", "done"],
    ["1", "a bad option or argument, or not root"],
    ["2", "something of the system's: the engine, locked memory, a full disk"],
    ["32", "not mounted, or not unmounted; the line on standard error ends in the exit code of kmsfs"],
  ] as const;
  return join([
    title(name, edition, 8),
    section(
      "Name",
      `mount.kmsfs, mount.fuse.kmsfs, umount.kmsfs, umount.fuse.kmsfs \\- ${roff("kmsfs for mount(8), umount(8) and fstab(5)")}`,
    ),
    section(
      "Synopsis",
      `${bold("mount -t kmsfs")} [${bold("-o")} ${options}] ${backing} ${dir}\n.br\n${bold("umount")} ${dir}`,
    ),
    section(
      "Description",
      roff(
        "mount(8) runs mount.kmsfs for a file system of the type kmsfs: it mounts as kmsfs-mount(1) does and returns when " +
          "the mount is up. umount(8) runs umount.fuse.kmsfs, which returns when everything is written and the volume is " +
          "free. Both say on standard error what kmsfs says.",
      ),
      ".PP",
      roff("kmsfs setup puts all of them in place. None is meant to be called by hand."),
    ),
    section("Options", ...mount.notes.map(verbatim)),
    section("Exit status", ...statuses.map(([code, text]) => tagged(bold(code), roff(sentence(text))))),
    section(
      "Files",
      tagged(
        italic("/etc/fstab"),
        roff("Such as the line under EXAMPLES; spaces and commas as fstab(5) says."),
      ),
    ),
    section(
      "Examples",
      verbatim(
        "/data/phi  /srv/phi  kmsfs  _netdev,nofail,allow_other,x-systemd.requires=network-online.target  0  0",
      ),
    ),
    section(
      "See also",
      `${bold("kmsfs-mount")}(1),\n${bold("kmsfs-umount")}(1),\n${bold("mount")}(8),\n${bold("fstab")}(5)`,
    ),
  ]);
}

function body(command: CommandDefinition): string[] {
  const parts = [section("Description", roff(sentence(command.describe)))];
  const described = argumentsOf(command);
  if (described.length > 0) parts.push(section("Options", ...described));
  if (command.notes.length > 0) parts.push(section("Notes", ...command.notes.map(verbatim)));
  return parts;
}

function argumentsOf({ positionals, options }: CommandDefinition): string[] {
  return [
    ...positionals.map(({ name, describe }) => tagged(italic(name), roff(sentence(describe)))),
    ...options.map((option) => tagged(optionTerm(option), roff(optionText(option)))),
  ];
}

function synopsis({ path, positionals, options }: CommandDefinition): string {
  const places = positionals.map(({ name, required, repeated }) => {
    const text = `${italic(name)}${repeated ? " ..." : ""}`;
    return required ? text : `[${text}]`;
  });
  return [bold(`kmsfs ${path.join(" ")}`), ...places, ...options.map(optionSynopsis)].join(" ");
}

function optionSynopsis({ name, value, repeated }: OptionDefinition): string {
  const text = value === undefined ? bold(`--${name}`) : `${bold(`--${name}`)} ${italic(value)}`;
  return `[${text}]${repeated ? " ..." : ""}`;
}

function optionTerm({ name, aliases, value }: OptionDefinition): string {
  const names = [...aliases, name].map((each) => bold(`${each.length === 1 ? "-" : "--"}${each}`)).join(", ");
  return value === undefined ? names : `${names} ${italic(value)}`;
}

function optionText({ describe, choices, repeated, fallback }: OptionDefinition): string {
  return [
    sentence(describe),
    choices.length > 0 ? `One of ${choices.join(", ")}.` : "",
    repeated && !/repeated|several/.test(describe) ? "May be repeated." : "",
    fallback === undefined ? "" : `The default is ${fallback}.`,
  ]
    .filter((part) => part !== "")
    .join(" ");
}

function example({ command, describe }: { command: string; describe: string }): string {
  const said = describe === "" ? "" : `${roff(sentence(describe))}\n.PP\n`;
  return `${said}.RS 4\n${verbatim(command)}\n.RE`;
}

function seeAlso(commands: readonly CommandDefinition[], withOverview = false): string {
  const names = [...(withOverview ? ["kmsfs"] : []), ...commands.map(pageName)];
  const pages = [
    ...names.map((name): [string, number] => [name, 1]),
    ["mount", 8] as const,
    ["fuse", 4] as const,
  ];
  return pages.map(([name, number]) => `${bold(name)}(${number})`).join(",\n");
}

/** A capital at its start and a full stop at its end. */
function sentence(text: string): string {
  const ended = /[.:!?]$/.test(text) ? text : `${text}.`;
  // Not a file's name, nor the program's own
  return ended.replace(
    /^(?!kmsfs)[a-z]+(?=[\s,;:.]($|\s)|\s)/,
    (word) => word.charAt(0).toUpperCase() + word.slice(1),
  );
}

function section(heading: string, ...content: readonly string[]): string {
  return [`.SH ${quoted(heading.toUpperCase())}`, ...content].join("\n");
}

function join(parts: readonly string[]): string {
  return `${parts.join("\n")}\n`;
}
