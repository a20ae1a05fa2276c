import {
  Alg,
  commands,
  Ht,
  handleType,
  Nt,
  NvAttribute,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  St,
  type Ticket,
  TpmError,
} from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { concat, type Engine, u16, u32, u64 } from "../engine.ts";
import { entityName, nvIndexAt, nvType, slotAt } from "../entities.ts";
import { objectOf } from "../objects.ts";
import {
  clearPolicyDigest,
  extendPolicyByAuthority,
  nameAlgorithm,
  requireBindable,
} from "../policy-digest.ts";
import { policySessionAt } from "../sessions.ts";
import { verify } from "../signatures.ts";
import type { SessionState } from "../state.ts";
import { nullTicket, ticketDigest, ticketHolds, verifiedHolds } from "../tickets.ts";

/*
 * Policy assertions by which somebody else answers for the use of a session: who knows a secret, who has signed, or a ticket of such an
 * answer (Part 3, 23.3 to 23.5 and 23.16).
 */

/** In the timeout that goes with a ticket: the ticket is void after TPM Reset. The rest is Time, in ms. */
const EXPIRES_ON_RESET = 1n << 63n;
const none: Uint8Array = new Uint8Array(0);

/** What all such assertions say. */
interface Assertion {
  readonly cpHashA: Uint8Array;
  readonly policyRef: Uint8Array;
}

/**
 * Time (ms) at which the authorization ends; 0: it does not. `expiration` counts in seconds, from the start of the session when its nonce is given,
 * else from power-on. Its sign tells whether a ticket is wanted.
 */
function timeoutOf(engine: Engine, session: SessionState, expiration: number, nonceTPM: Uint8Array): bigint {
  if (expiration === 0) return 0n;
  const time = BigInt(Math.abs(expiration)) * 1000n;
  // Time counts in ms: the fraction of the second that has begun is given on top, or the authorization would end too early.
  return nonceTPM.length === 0 ? time + (engine.state.volatile.time % 1000n) : session.startTime + time;
}

/** Checks what the assertion and the session say of each other; `timeoutParameter` is what is to blame for one that has passed. */
function requireAcceptable(
  engine: Engine,
  session: SessionState,
  timeout: bigint,
  { cpHashA }: Assertion,
  timeoutParameter: number,
): void {
  const { volatile } = engine.state;
  if (timeout !== 0n && (timeout < volatile.time || session.epoch !== volatile.timeEpoch))
    throw new TpmError(ofParameter(Rc.EXPIRED, timeoutParameter));
  if (cpHashA.length === 0) return;
  if (cpHashA.length !== session.policyDigest.length) throw new TpmError(ofParameter(Rc.SIZE, 2));
  requireBindable(engine, session, "cpHash", cpHashA, true);
}

function requireNonce(engine: Engine, session: SessionState, nonceTPM: Uint8Array): void {
  if (nonceTPM.length > 0 && !engine.crypto.equal(nonceTPM, session.nonceTpm))
    throw new TpmError(ofParameter(Rc.NONCE, 1));
}

function accept(
  engine: Engine,
  session: SessionState,
  code: number,
  name: Uint8Array,
  { cpHashA, policyRef }: Assertion,
  timeout: bigint,
): void {
  extendPolicyByAuthority(engine, session, code, name, policyRef);
  if (cpHashA.length > 0) {
    session.boundHash = cpHashA;
    session.boundHashKind = "cpHash";
  }
  // The earliest of all is what counts.
  if (timeout !== 0n && (session.timeout === 0n || timeout < session.timeout)) session.timeout = timeout;
}

/**
 * What a ticket of an authorization stands for (Part 2, 10.7.5), each part with its size: a long `policyRef` cannot pass for a cpHash and a
 * shorter one.
 */
function ticketContent(
  engine: Engine,
  { cpHashA, policyRef }: Assertion,
  name: Uint8Array,
  timeout: bigint,
  expiresOnReset: boolean,
): Uint8Array {
  const { volatile, permanent } = engine.state;
  return concat(
    ...[cpHashA, policyRef, name].flatMap((part) => [u16(part.length), part]),
    u64(timeout),
    timeout === 0n ? none : u32(volatile.timeEpoch),
    timeout !== 0n && expiresOnReset ? u32(permanent.totalResetCount) : none,
  );
}

/** The hierarchy whose proof makes tickets in the name of an entity. */
function hierarchyOf(engine: Engine, handle: number): number {
  switch (handleType(handle)) {
    case Ht.TRANSIENT:
    case Ht.PERSISTENT: {
      const slot = slotAt(engine, handle);
      return slot?.kind === "object" ? slot.object.hierarchy : Rh.NULL;
    }
    case Ht.NV_INDEX: {
      const attributes = nvIndexAt(engine, handle)?.attributes ?? 0;
      return (attributes & NvAttribute.PLATFORMCREATE) !== 0 ? Rh.PLATFORM : Rh.OWNER;
    }
    default:
      return handle === Rh.PLATFORM || handle === Rh.ENDORSEMENT || handle === Rh.NULL ? handle : Rh.OWNER;
  }
}

/** A ticket of the authorization that was just given, and the timeout to show with it. */
function ticketOf(
  engine: Engine,
  tag: number,
  hierarchy: number,
  assertion: Assertion,
  name: Uint8Array,
  timeout: bigint,
  expiresOnReset: boolean,
): { readonly timeout: Uint8Array; readonly policyTicket: Ticket } {
  const content = ticketContent(engine, assertion, name, timeout, expiresOnReset);
  return {
    timeout: u64(expiresOnReset ? timeout | EXPIRES_ON_RESET : timeout),
    policyTicket: { tag, hierarchy, digest: ticketDigest(engine, tag, hierarchy, content) },
  };
}

const noTicket = (tag: number): { readonly timeout: Uint8Array; readonly policyTicket: Ticket } => ({
  timeout: none,
  policyTicket: nullTicket(tag),
});

/** Type of the NV index that a handle stands for; undefined for another handle. */
function nvTypeOf(engine: Engine, handle: number): number | undefined {
  const index = handleType(handle) === Ht.NV_INDEX ? nvIndexAt(engine, handle) : undefined;
  return index === undefined ? undefined : nvType(index.attributes);
}

export const authorizingPolicyCommands = {
  PolicySigned(engine, { handles: { authObject, policySession }, parameters }) {
    const { nonceTPM, cpHashA, policyRef, expiration, auth } = parameters;
    const session = policySessionAt(engine, policySession);
    const trial = session.kind === "trial";
    const timeout = trial ? 0n : timeoutOf(engine, session, expiration, nonceTPM);
    if (auth.sigAlg === Alg.NULL) throw new TpmError(ofParameter(Rc.SCHEME, 5));
    if (!trial) {
      requireNonce(engine, session, nonceTPM);
      requireAcceptable(engine, session, timeout, parameters, 4);
      const signed = [nonceTPM, u32(expiration), cpHashA, policyRef];
      const digest = engine.crypto.hash(auth.hash, ...signed);
      let good: boolean;
      try {
        good = verify(engine, objectOf(engine, authObject), auth, digest);
      } catch (error) {
        if (error instanceof TpmError) throw new TpmError(ofParameter(error.rc, 5));
        throw error;
      }
      if (!good) throw new TpmError(ofParameter(Rc.SIGNATURE, 5));
    }
    const name = entityName(engine, authObject);
    accept(engine, session, commands.PolicySigned.code, name, parameters, timeout);
    if (trial || expiration >= 0) return noTicket(St.AUTH_SIGNED);
    const hierarchy = hierarchyOf(engine, authObject);
    return ticketOf(engine, St.AUTH_SIGNED, hierarchy, parameters, name, timeout, nonceTPM.length === 0);
  },

  PolicySecret(engine, { handles: { authHandle, policySession }, parameters }) {
    const { nonceTPM, expiration } = parameters;
    const pin = nvTypeOf(engine, authHandle);
    // That the secret was right has been counted in the index by now, which read-only mode does not allow.
    if (engine.state.clear.readOnly && (pin === Nt.PIN_PASS || pin === Nt.PIN_FAIL))
      throw new TpmError(Rc.READ_ONLY);
    const session = policySessionAt(engine, policySession);
    const trial = session.kind === "trial";
    const timeout = trial ? 0n : timeoutOf(engine, session, expiration, nonceTPM);
    if (!trial) {
      requireNonce(engine, session, nonceTPM);
      requireAcceptable(engine, session, timeout, parameters, 4);
    }
    const name = entityName(engine, authHandle);
    accept(engine, session, commands.PolicySecret.code, name, parameters, timeout);
    // Every use of a PIN that may be used so often must be counted: no ticket stands for one.
    if (trial || expiration >= 0 || pin === Nt.PIN_PASS) return noTicket(St.AUTH_SECRET);
    const hierarchy = hierarchyOf(engine, authHandle);
    return ticketOf(engine, St.AUTH_SECRET, hierarchy, parameters, name, timeout, nonceTPM.length === 0);
  },

  PolicyTicket(engine, { handles: { policySession }, parameters }) {
    const { authName, ticket } = parameters;
    const session = policySessionAt(engine, policySession);
    // Nothing is proved in a trial, so there is nothing that a ticket could stand for.
    if (session.kind === "trial") throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
    if (parameters.timeout.length !== 8) throw new TpmError(ofParameter(Rc.SIZE, 1));
    const shown = new DataView(parameters.timeout.buffer, parameters.timeout.byteOffset).getBigUint64(0);
    const expiresOnReset = (shown & EXPIRES_ON_RESET) !== 0n;
    const timeout = shown & ~EXPIRES_ON_RESET;
    requireAcceptable(engine, session, timeout, parameters, 1);
    if (!ticketHolds(engine, ticket, ticketContent(engine, parameters, authName, timeout, expiresOnReset)))
      throw new TpmError(ofParameter(Rc.TICKET, 5));
    const { PolicySigned, PolicySecret } = commands;
    const { code } = ticket.tag === St.AUTH_SIGNED ? PolicySigned : PolicySecret;
    accept(engine, session, code, authName, parameters, timeout);
    return {};
  },

  PolicyAuthorize(engine, { handles: { policySession }, parameters }) {
    const { approvedPolicy, policyRef, keySign, checkTicket } = parameters;
    const session = policySessionAt(engine, policySession);
    const hash = nameAlgorithm(keySign, 3);
    if (session.kind !== "trial") {
      if (!engine.crypto.equal(session.policyDigest, approvedPolicy))
        throw new TpmError(ofParameter(Rc.VALUE, 1));
      const signed = engine.crypto.hash(hash, approvedPolicy, policyRef);
      if (!verifiedHolds(engine, checkTicket, signed, keySign)) throw new TpmError(ofParameter(Rc.VALUE, 4));
    }
    clearPolicyDigest(session);
    extendPolicyByAuthority(engine, session, commands.PolicyAuthorize.code, keySign, policyRef);
    return {};
  },
} satisfies Handlers;
