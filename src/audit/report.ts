/** What `kmsfs audit verify` goes by, and what it says. */

import { ExitCode } from "../cli/exit-codes.js";
import { UserError } from "../errors.js";
import { headText, parseHead, readHead } from "./head.js";
import { type AuditSettings, headFile } from "./settings.js";
import type { Anchor, Verdict } from "./verify.js";

/** The heads that this host knows and those that the operator names. Throws UserError (Usage). */
export async function anchorsFrom(
  settings: AuditSettings,
  uuid: string,
  heads: readonly string[],
  files: readonly string[],
): Promise<Anchor[]> {
  const anchors: Anchor[] = [];
  for (const text of heads) {
    const head = parseHead(text);
    if (head === undefined)
      throw new UserError("Usage", `--head ${text} is not NUMBER:HASH`, "see kmsfs audit head");
    anchors.push({ ...head, source: `--head ${text.slice(0, 16)}...` });
  }
  for (const path of files) {
    const head = await readHead(path).catch(() => undefined);
    if (head === undefined)
      throw new UserError("Usage", `${path} holds no head of a chain`, "see docs/audit.md");
    anchors.push({ ...head, source: path });
  }
  for (const directory of [settings.directory, settings.anchor]) {
    if (directory === undefined) continue;
    const path = headFile(directory, uuid);
    const head = await readHead(path).catch(() => undefined);
    if (head !== undefined) anchors.push({ ...head, source: path });
  }
  return anchors;
}

/** Prints the verdict. Throws UserError (Tampered) for a chain that is not whole. */
export function conclude(
  verdict: Verdict,
  uuid: string,
  { json, withKey, anchors }: { json: boolean; withKey: boolean; anchors: readonly Anchor[] },
): void {
  const { lines, signed, uncovered, problems, notes, head, first } = verdict;
  if (json) {
    const intact = problems.length === 0;
    const heads = anchors.map(({ seq, hash, source }) => ({ seq, hash, source }));
    console.log(
      JSON.stringify({
        volume: uuid,
        intact,
        withKey,
        lines,
        first,
        head,
        signed,
        uncovered,
        problems,
        notes,
        heads,
      }),
    );
    if (!intact) process.exitCode = ExitCode.Tampered;
    return;
  }
  for (const { file, line, what } of problems)
    console.log(line === 0 ? what : `${file}, line ${line}: ${what}`);
  for (const note of notes) console.log(`note: ${note}`);
  console.log(
    `${lines} lines, ${withKey ? `${signed} of them signed` : "hashes alone, no signature was checked"}`,
  );
  if (uncovered > 0 && withKey) console.log(`the last ${uncovered} lines are not covered by a signature yet`);
  if (head !== undefined) console.log(`head ${headText(head)}`);
  if (problems.length > 0) {
    const what = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    throw new UserError(
      "Tampered",
      `the audit chain of ${uuid} has ${what}`,
      "compare it with the system's log",
    );
  }
  console.log("the chain is whole");
}
