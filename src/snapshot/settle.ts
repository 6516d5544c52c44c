import { setTimeout as pause } from "node:timers/promises";
import { UserError } from "../errors.js";
import type { Ebs } from "./ebs.js";

const INTERVAL_MS = 2_000;
const DEADLINE_MS = 10 * 60_000;

/**
 * CompleteSnapshot is answered before the snapshot is complete, and the EBS direct APIs have no call that tells its
 * state: it can be listed when it is. Throws UserError after ten minutes.
 */
export async function awaitCompleted(ebs: Ebs, snapshot: string): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    try {
      await ebs.list(snapshot).next();
      return;
    } catch (error) {
      if (!(error instanceof UserError) || error.code !== "NoSuchSnapshot") throw error;
      if (Date.now() < deadline) await pause(INTERVAL_MS);
      else {
        const hint = "see aws ec2 describe-snapshots; run the push again to have its manifest written";
        throw new UserError("EbsUnreachable", `${snapshot} is not completed after ten minutes`, hint);
      }
    }
  }
}
