/** What wraps a domain key: one implementation for each `provider` of a slot. */

import type { NewSlot, Slot } from "./slots.js";

/** Which key is wrapped. What it binds is computed from here and never read from a slot. */
export interface DomainIdentity {
  /** lower-case, hyphenated */
  readonly uuid: string;
  /** `volume`, or one day a tenant's id */
  readonly domain: "volume";
}

/** A slot's content, not yet in a header. */
export interface Wrapped<S extends Slot> {
  readonly slot: NewSlot<S>;
  /** KMS's id of the request, which CloudTrail has too */
  readonly requestId?: string | undefined;
}

export interface WrappedKey<S extends Slot> extends Wrapped<S> {
  /** 32 bytes; the caller wipes it. */
  readonly domainKey: Buffer;
}

export interface Unwrapped {
  /** 32 bytes; the caller wipes it. */
  readonly domainKey: Buffer;
  readonly requestId?: string | undefined;
}

/** Opens slots of one kind. `Options` is what this kind needs beside the slot. */
export interface KeyProvider<S extends Slot, Options> {
  /** Makes a new domain key and its slot. Throws UserError. */
  create(identity: DomainIdentity, options: Options): Promise<WrappedKey<S>>;
  /** One more slot for a domain key, which stays the caller's. Throws UserError. */
  wrap(domainKey: Buffer, identity: DomainIdentity, options: Options): Promise<Wrapped<S>>;
  /** The domain key of a slot. Throws UserError. */
  unwrap(slot: S, identity: DomainIdentity, options: Options): Promise<Unwrapped>;
}
