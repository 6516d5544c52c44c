import { readFileSync } from "node:fs";
import type { Who } from "./event.js";

const NO_LOGIN = 2 ** 32 - 1;
const MAX_COMMAND = 400;

/** This process. kmsfs takes no secret as an argument, so its command line is safe to write down. */
export function whoIsThis(): Who {
  const sudoUid = Number(process.env.SUDO_UID ?? Number.NaN);
  const loginUid = readLoginUid();
  return {
    uid: process.getuid?.() ?? -1,
    ...(Number.isSafeInteger(sudoUid) ? { sudoUid } : {}),
    ...(loginUid === undefined ? {} : { loginUid }),
    pid: process.pid,
    command: commandLine(),
  };
}

function readLoginUid(): number | undefined {
  try {
    const uid = Number(readFileSync("/proc/self/loginuid", "utf8"));
    return Number.isSafeInteger(uid) && uid !== NO_LOGIN ? uid : undefined;
  } catch {
    return undefined;
  }
}

function commandLine(): string {
  const [, program = "", ...args] = process.argv;
  const name = program.endsWith("/daemon-main.js") ? "kmsfs-daemon" : "kmsfs";
  return [name, ...args].join(" ").slice(0, MAX_COMMAND);
}
