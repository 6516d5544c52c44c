/** What wraps a domain key: one implementation for each `provider` of a slot. */

import type { NewSlot, Slot } from "./slots.js";

/** Which key is wrapped. What it binds is computed from here and never read from a slot. */
export interface DomainIdentity {
  /** lower-case, hyphenated */
  readonly uuid: string;
  /** `volume`, or one day a tenant's id */
  readonly domain: "volume";
}

export interface WrappedKey<S extends Slot> {
  readonly slot: NewSlot<S>;
  /** 32 bytes; the caller wipes it. */
  readonly domainKey: Buffer;
}

/** Opens slots of one kind. `Options` is what this kind needs beside the slot. */
export interface KeyProvider<S extends Slot, Options> {
  /** Makes a new domain key and its slot. Throws UserError. */
  create(identity: DomainIdentity, options: Options): Promise<WrappedKey<S>>;
  /** The domain key of a slot: 32 bytes, which the caller wipes. Throws UserError. */
  unwrap(slot: S, identity: DomainIdentity, options: Options): Promise<Buffer>;
}
