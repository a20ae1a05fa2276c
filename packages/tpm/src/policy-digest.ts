import { digestSizes, ofParameter, Rc, TpmError } from "@entresol/tpm-types";
import { type Engine, u32 } from "./engine.ts";
import type { SessionState } from "./state.ts";

/* The policyDigest of a session, and the one hash that it may be bound to (Part 1, 19.7; Part 3, 23.2). */

/** policyDigest := H(policyDigest || code || parts). */
export function extendPolicy(
  engine: Engine,
  session: SessionState,
  code: number,
  ...parts: readonly Uint8Array[]
): void {
  session.policyDigest = engine.crypto.hash(session.hash, session.policyDigest, u32(code), ...parts);
}

/**
 * PolicyUpdate (Part 3, 23.2.3): a second hash takes in `policyRef`, even when it is empty. So the authority's Name and its reference cannot run
 * into each other.
 */
export function extendPolicyByAuthority(
  engine: Engine,
  session: SessionState,
  code: number,
  name: Uint8Array,
  policyRef: Uint8Array,
): void {
  extendPolicy(engine, session, code, name);
  session.policyDigest = engine.crypto.hash(session.hash, session.policyDigest, policyRef);
}

/** All zero, as at the start: for assertions whose digest tells nothing of what came before them. */
export function clearPolicyDigest(session: SessionState): void {
  session.policyDigest = new Uint8Array(digestSizes.get(session.hash)!);
}

/**
 * May the session be bound to this hash? TPM_RC_CPHASH when it is bound to another, or to one of another kind: there is only one. `again`: the
 * same one may be given again.
 */
export function requireBindable(
  engine: Engine,
  session: SessionState,
  kind: SessionState["boundHashKind"],
  hash: Uint8Array,
  again: boolean,
): void {
  if (session.boundHashKind === "none") return;
  const same = session.boundHashKind === kind && engine.crypto.equal(session.boundHash, hash);
  if (!again || !same) throw new TpmError(Rc.CPHASH);
}

/** A hash that the session shall be bound to has the size of the session's hash: else TPM_RC_SIZE of the first parameter. */
export function requireDigestSize(session: SessionState, hash: Uint8Array): void {
  if (hash.length !== digestSizes.get(session.hash)) throw new TpmError(ofParameter(Rc.SIZE, 1));
}

/** Checks that `name` is a Name made by a hash, and gives that hash: TPM_RC_HASH or TPM_RC_SIZE of `parameter` when it is none. */
export function nameAlgorithm(name: Uint8Array, parameter: number): number {
  if (name.length < 2) throw new TpmError(ofParameter(Rc.SIZE, parameter));
  const hash = (name[0]! << 8) | name[1]!;
  const size = digestSizes.get(hash);
  if (size === undefined) throw new TpmError(ofParameter(Rc.HASH, parameter));
  if (name.length !== 2 + size) throw new TpmError(ofParameter(Rc.SIZE, parameter));
  return hash;
}
