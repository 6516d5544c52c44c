/** `kmsfs mount` and what mount(8) calls, and nothing else. */

import type { CommandModule } from "yargs";
import { command } from "./mount.js";
import { run } from "./run.js";

void run(process.argv.slice(2), async () => command as unknown as CommandModule);
