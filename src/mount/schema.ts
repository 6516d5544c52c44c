/** Checks what crosses the border against native/engine/protocol.schema.json, which the engine's types generate. */

import type { ValidateFunction } from "ajv/dist/2020.js";
import type { FromEngine, ToEngine, UnlockMessage } from "./protocol.js";
import { Control, Event, Unlock } from "./validators.js";

function check(validate: ValidateFunction, message: unknown): void {
  if (validate(message)) return;
  const [error] = validate.errors ?? [];
  throw new Error(
    `a message that the protocol does not know: ${error?.instancePath ?? ""} ${error?.message ?? ""}`,
  );
}

/** Throws Error for a message of ours that the engine would refuse. */
export function checkToEngine(message: ToEngine): void {
  check(Control, message);
}

export function checkUnlock(message: UnlockMessage): void {
  check(Unlock, message);
}

/** The message, once it is known to be one. Throws Error. */
export function checkFromEngine(message: unknown): FromEngine {
  check(Event, message);
  return message as FromEngine;
}
