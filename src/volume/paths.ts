/** Names under a backing directory (docs/format.md §1). */

import { join } from "node:path";

export const CONTROL = ".kmsfs";

export interface VolumePaths {
  readonly control: string;
  readonly header: string;
  readonly newHeader: string;
  readonly previousHeader: string;
  readonly lock: string;
  readonly log: string;
  readonly links: string;
}

export function volumePaths(backing: string): VolumePaths {
  return controlPaths(join(backing, CONTROL));
}

/** The same under another name of the control directory, as while a volume is being made. */
export function controlPaths(control: string): VolumePaths {
  return {
    control,
    header: join(control, "volume.json"),
    newHeader: join(control, "volume.json.new"),
    previousHeader: join(control, "volume.json.bak"),
    lock: join(control, "lock"),
    log: join(control, "log"),
    links: join(control, "links"),
  };
}
