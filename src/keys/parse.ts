/** Small strict readers for the members of volume.json, whose bytes anyone may have written. */

/** A header that format 1 does not allow; the message is one line and names the member. */
export class HeaderDamage extends Error {}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Refuses members that are missing or not in the list. */
export function exactMembers(
  object: Record<string, unknown>,
  members: readonly string[],
  what: string,
): void {
  for (const name of members) {
    if (!Object.hasOwn(object, name)) throw new HeaderDamage(`${what}: ${name} is missing`);
  }
  if (Object.keys(object).length !== members.length) {
    throw new HeaderDamage(`${what} has members that format 1 does not know`);
  }
}

export function integerIn(value: unknown, what: string, min: number, max: number): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
    throw new HeaderDamage(`${what} is not an integer from ${min} to ${max}`);
  }
  return value;
}

/** RFC 4648 base64 with padding, in its one canonical spelling. */
export function decodeBase64(value: unknown, what: string): Buffer {
  if (typeof value === "string") {
    const decoded = Buffer.from(value, "base64");
    if (decoded.toString("base64") === value) return decoded;
  }
  throw new HeaderDamage(`${what} is not base64`);
}

/** RFC 3339, UTC, as Date.toISOString() spells it. */
export function timestamp(value: unknown, what: string): string {
  if (typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/.test(value)) {
    if (!Number.isNaN(Date.parse(value))) return value;
  }
  throw new HeaderDamage(`${what} is not a date`);
}
