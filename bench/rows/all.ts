import { APPLICATION_ROWS } from "./applications.js";
import { FILE_ROWS } from "./files.js";
import type { Row } from "./row.js";
import { SLOW_ROWS } from "./slow.js";

export const ROWS: readonly Row[] = [...FILE_ROWS, ...APPLICATION_ROWS, ...SLOW_ROWS];
