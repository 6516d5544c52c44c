/** Every command. */

import { loadCommand } from "./commands.js";
import { run } from "./run.js";

void run(process.argv.slice(2), loadCommand);
