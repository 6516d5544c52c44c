/** What `kmsfs verify` finds in a volume, without a process of its own for each. */

import { UserError } from "../../src/errors.js";
import { withVolume } from "../../src/reader/open.js";
import { type Problem, verify } from "../../src/reader/verify.js";

/** KMSFS_ETC and KMSFS_LOG have to be the test's own. Throws UserError where there is no volume that opens. */
export async function problemsIn(backing: string): Promise<Problem[]> {
  const problems: Problem[] = [];
  const told = { onProblem: (problem: Problem) => problems.push(problem), onProgress: () => undefined };
  await withVolume(backing, { purpose: "read", kmsTimeoutMs: 1000 }, (volume) => verify(volume, told));
  return problems;
}

/** "authentic", or the exit code. */
export async function verified(backing: string): Promise<string> {
  try {
    return (await problemsIn(backing)).length === 0 ? "authentic" : "exit 15 (Tampered)";
  } catch (error) {
    if (error instanceof UserError) return `exit ${error.exitCode} (${error.code})`;
    throw error;
  }
}
