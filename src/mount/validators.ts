/**
 * What the border's messages must be, one function for each kind, compiled from native/engine/protocol.schema.json. In dist/ a
 * module of the same functions stands in this one's place, compiled when it was bundled (scripts/bundle.mjs): to load the
 * compiler and to run it was a third of a mount's time.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { packageRoot } from "../package-root.js";

// Formats such as uint32 are annotations here: minimum and maximum stand beside them.
const ajv = new Ajv2020({ strict: false, validateFormats: false });
const path = join(packageRoot(), "native/engine/protocol.schema.json");
ajv.addSchema(JSON.parse(readFileSync(path, "utf8")) as object, "protocol");

function validator(definition: string): ValidateFunction {
  const found = ajv.getSchema(`protocol#/$defs/${definition}`);
  if (found === undefined) throw new Error(`protocol.schema.json does not define ${definition}`);
  return found as ValidateFunction;
}

export const Control = validator("Control");
export const Event = validator("Event");
export const Unlock = validator("Unlock");
