/** Checks what crosses the border against native/engine/protocol.schema.json, which the engine's types generate. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { packageRoot } from "../package-root.js";
import type { FromEngine, ToEngine, UnlockMessage } from "./protocol.js";

type Definition = "Control" | "Event" | "Unlock";

let ajv: Ajv2020 | undefined;

/** Compiled at first use: the command line reads the schema only when it mounts. */
function validator(definition: Definition): ValidateFunction {
  if (ajv === undefined) {
    const path = join(packageRoot(), "native/engine/protocol.schema.json");
    // Formats such as uint32 are annotations here: minimum and maximum stand beside them.
    ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema(JSON.parse(readFileSync(path, "utf8")) as object, "protocol");
  }
  const found = ajv.getSchema(`protocol#/$defs/${definition}`);
  if (found === undefined) throw new Error(`protocol.schema.json does not define ${definition}`);
  return found as ValidateFunction;
}

function check(definition: Definition, message: unknown): void {
  const validate = validator(definition);
  if (validate(message)) return;
  const [error] = validate.errors ?? [];
  throw new Error(
    `a message that the protocol does not know: ${error?.instancePath ?? ""} ${error?.message ?? ""}`,
  );
}

/** Throws Error for a message of ours that the engine would refuse. */
export function checkToEngine(message: ToEngine): void {
  check("Control", message);
}

export function checkUnlock(message: UnlockMessage): void {
  check("Unlock", message);
}

/** The message, once it is known to be one. Throws Error. */
export function checkFromEngine(message: unknown): FromEngine {
  check("Event", message);
  return message as FromEngine;
}
