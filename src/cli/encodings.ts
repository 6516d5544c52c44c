import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { UserError } from "../errors.js";

/** Node puts U+FFFD for every other byte: a path would silently become another one. Throws UserError (Usage). */
export function refuseOtherEncodings(): void {
  if (isUtf8(readFileSync("/proc/self/cmdline"))) return;
  throw new UserError(
    "Usage",
    "an argument is not UTF-8",
    "reach that path by a symbolic link with a plain name",
  );
}
