/** A report's facts about this host and its volumes. */

import { hostname, release, userInfo } from "node:os";
import { type AuditSettings, auditSettings } from "../audit/settings.js";
import { whoIsThis } from "../audit/who.js";
import { UserError } from "../errors.js";
import { logDirectory } from "../host-directories.js";
import { packageVersion } from "../version.js";
import type { OpenOptions } from "../volume/open.js";
import { findVolumes, type Named } from "./discover.js";
import type { Auditing, Limits, Report, VolumeFacts } from "./facts.js";
import { findingsOf } from "./findings.js";
import { volumeFacts } from "./volume.js";

export interface CollectOptions {
  /** none: all that this host knows */
  readonly volumes: readonly Named[];
  /** how each volume's key is opened; undefined: none is */
  readonly open: OpenOptions | undefined;
  readonly limits: Limits;
}

/** Throws UserError for a name that is no volume, and for what needs root. */
export async function collectReport({ volumes: named, open, limits }: CollectOptions): Promise<Report> {
  const now = new Date();
  const { settings, auditing } = settingsAndProblem();
  const volumes: VolumeFacts[] = [];
  for (const found of await findVolumes(named)) {
    volumes.push(await volumeFacts(found, settings, open, now));
  }
  volumes.sort((a, b) => ((a.backing ?? a.uuid) < (b.backing ?? b.uuid) ? -1 : 1));
  const { uid, loginUid } = whoIsThis();
  return {
    kmsfsReport: 1,
    generated: now.toISOString(),
    kmsfs: packageVersion(),
    host: hostname(),
    system: `Linux ${release()}`,
    by: { uid, name: userName(), loginUid: loginUid ?? null },
    limits,
    auditing,
    findings: findingsOf(volumes, auditing, limits, now),
    volumes,
  };
}

/** Settings that nobody understands are a finding, and no reason to report nothing. */
function settingsAndProblem(): { settings: AuditSettings; auditing: Auditing } {
  try {
    const settings = auditSettings();
    const { policy, syslog, directory, anchor = null } = settings;
    return { settings, auditing: { policy, syslog, directory, anchor, problem: null } };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const known = { policy: "try", syslog: false, directory: logDirectory() } as const;
    return {
      settings: { ...known, anchor: undefined },
      auditing: { ...known, anchor: null, problem: error.message },
    };
  }
}

function userName(): string | null {
  try {
    return userInfo().username;
  } catch {
    // No line in /etc/passwd.
    return null;
  }
}
