import { type SpawnOptions, spawn } from "node:child_process";

export interface Finished {
  /** null when a signal ended it or it could not be started */
  readonly status: number | null;
  /** what it wrote to standard error, or why it could not be started */
  readonly stderr: string;
}

/** Runs a program to its end, in the C locale since its messages are read. `fds` become 3, 4, ... of it. */
export function run(
  program: string,
  args: readonly string[],
  fds: readonly number[] = [],
): Promise<Finished> {
  const options: SpawnOptions = {
    cwd: "/",
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    stdio: ["ignore", "ignore", "pipe", ...fds],
  };
  return new Promise((done) => {
    const child = spawn(program, args, options);
    let stderr = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", (error) => done({ status: null, stderr: error.message }));
    child.on("close", (status) => done({ status, stderr: stderr.trim() }));
  });
}
