import { Rh, St, type Ticket } from "@entresol/tpm-types";
import { CONTEXT_HASH, type Engine, u16 } from "./engine.ts";

/* Tickets: HMACs with a hierarchy's proof over something that this TPM has done itself (Part 2, 10.7; Part 3, annexes). */

const empty: Uint8Array = new Uint8Array(0);

/** The secret of a hierarchy that tickets and contexts are bound to. */
export function proofOf(engine: Engine, hierarchy: number): Uint8Array {
  const { permanent, reset } = engine.state;
  switch (hierarchy) {
    case Rh.OWNER:
      return permanent.ownerProof;
    case Rh.ENDORSEMENT:
      return permanent.endorsementProof;
    case Rh.PLATFORM:
      return permanent.platformProof;
    default:
      return reset.nullProof;
  }
}

/** A ticket of `tag` over the parts, by the proof of `hierarchy`. The NULL hierarchy gives the NULL ticket: no digest. */
export function makeTicket(
  engine: Engine,
  tag: number,
  hierarchy: number,
  ...parts: readonly Uint8Array[]
): Ticket {
  if (hierarchy === Rh.NULL) return nullTicket(tag);
  return {
    tag,
    hierarchy,
    digest: ticketDigest(engine, tag, hierarchy, ...parts),
  };
}

/** Is the ticket the one that `makeTicket` gives for the same tag, hierarchy and parts? Never true of a NULL ticket. */
export function ticketHolds(engine: Engine, ticket: Ticket, ...parts: readonly Uint8Array[]): boolean {
  if (ticket.digest.length === 0) return false;
  return engine.crypto.equal(ticket.digest, ticketDigest(engine, ticket.tag, ticket.hierarchy, ...parts));
}

/** Also for the NULL hierarchy, whose tickets are only made for what must not outlive a reset. */
export function ticketDigest(
  engine: Engine,
  tag: number,
  hierarchy: number,
  ...parts: readonly Uint8Array[]
): Uint8Array {
  return engine.crypto.hmac(CONTEXT_HASH, proofOf(engine, hierarchy), u16(tag), ...parts);
}

export function nullTicket(tag: number): Ticket {
  return { tag, hierarchy: Rh.NULL, digest: empty };
}

/** The TPM has hashed what does not begin with TPM_GENERATED, and this is the digest (TPMT_TK_HASHCHECK). */
export function hashCheckTicket(engine: Engine, hierarchy: number, hash: number, digest: Uint8Array): Ticket {
  return makeTicket(engine, St.HASHCHECK, hierarchy, u16(hash), digest);
}
export function hashCheckHolds(engine: Engine, ticket: Ticket, hash: number, digest: Uint8Array): boolean {
  return ticketHolds(engine, ticket, u16(hash), digest);
}

/** The TPM has verified a signature over the digest by the key of this Name (TPMT_TK_VERIFIED). */
export function verifiedTicket(
  engine: Engine,
  hierarchy: number,
  digest: Uint8Array,
  keyName: Uint8Array,
): Ticket {
  return makeTicket(engine, St.VERIFIED, hierarchy, digest, keyName);
}
export function verifiedHolds(
  engine: Engine,
  ticket: Ticket,
  digest: Uint8Array,
  keyName: Uint8Array,
): boolean {
  return ticketHolds(engine, ticket, digest, keyName);
}

/** The TPM has created the object of this Name, with creation data of this hash (TPMT_TK_CREATION). There is one for an object of the NULL hierarchy as well: it is good for as long as the object is. */
export function creationTicket(
  engine: Engine,
  hierarchy: number,
  name: Uint8Array,
  creationHash: Uint8Array,
): Ticket {
  const digest = ticketDigest(engine, St.CREATION, hierarchy, name, creationHash);
  return { tag: St.CREATION, hierarchy, digest };
}
export function creationHolds(
  engine: Engine,
  ticket: Ticket,
  name: Uint8Array,
  creationHash: Uint8Array,
): boolean {
  return ticketHolds(engine, ticket, name, creationHash);
}

/** Tags by what they say, for the callers' convenience. */
export const ticketTag = {
  creation: St.CREATION,
  verified: St.VERIFIED,
  authSecret: St.AUTH_SECRET,
  authSigned: St.AUTH_SIGNED,
  hashCheck: St.HASHCHECK,
} as const;
