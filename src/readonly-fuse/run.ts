/** The life of a read-only mount in its own process: up, reported, served, taken down by a signal or by umount(8). */

import { reportUp } from "./background.js";
import { type ServeOptions, serve, unmount } from "./serve.js";
import type { ReadOnlyTree } from "./tree.js";

/** Serves until it is unmounted. SIGTERM and SIGINT unmount; while it is in use they are refused, with a line. */
export async function runReadOnlyMount(
  tree: ReadOnlyTree,
  options: ServeOptions,
  log: (line: string) => void,
): Promise<void> {
  const onSignal = async () => {
    if (!(await unmount(options.dir))) log(`${options.dir} is in use and stays mounted`);
  };
  process
    .on("SIGTERM", onSignal)
    .on("SIGINT", onSignal)
    .on("SIGHUP", () => undefined);
  const { ended } = await serve(tree, options);
  log(`mounted ${options.source} on ${options.dir}, read-only`);
  reportUp();
  await ended;
  log(`unmounted ${options.dir}`);
}
