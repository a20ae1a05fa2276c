import {
  Alg,
  digestSizes,
  Ht,
  handleType,
  Nt,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  Se,
  TpmError,
} from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { gapKeepsLastSlot, loadContext, saveObject, saveSession } from "../contexts.ts";
import { kdfa } from "../crypto/kdf.ts";
import { concat, type Engine, withoutTrailingZeros } from "../engine.ts";
import { authValue, isDaExempt, nvIndexAt, nvType, slotAt } from "../entities.ts";
import { flushObject, isAsymmetric } from "../objects.ts";
import {
  bindingOf,
  flushSession,
  initialPolicy,
  newSessionHandle,
  policySessionAt,
  sessionNumber,
} from "../sessions.ts";
import { decryptSecret } from "../shared-secret.ts";
import type { SessionState } from "../state.ts";

/* Sessions and saved contexts (Part 3, clauses 11 and 28). */

/** Shorter nonces are refused (Part 1, 19.6.3): they could be guessed. */
const NONCE_MINIMUM = 16;
const empty: Uint8Array = new Uint8Array(0);

const kinds: ReadonlyMap<number, SessionState["kind"]> = new Map([
  [Se.HMAC, "hmac"],
  [Se.POLICY, "policy"],
  [Se.TRIAL, "trial"],
] as const);

/** The salt that the caller has encrypted to `tpmKey`; empty without a key. */
function saltOf(engine: Engine, tpmKey: number, encryptedSalt: Uint8Array): Uint8Array {
  if (tpmKey === Rh.NULL) {
    if (encryptedSalt.length > 0) throw new TpmError(ofParameter(Rc.VALUE, 2));
    return empty;
  }
  const slot = slotAt(engine, tpmKey);
  if (slot?.kind !== "object" || !isAsymmetric(slot.object.publicArea))
    throw new TpmError(ofHandle(Rc.KEY, 1));
  if (encryptedSalt.length === 0) throw new TpmError(ofParameter(Rc.VALUE, 2));
  const { object } = slot;
  if (object.sensitive === undefined) throw new TpmError(ofHandle(Rc.HANDLE, 1));
  if ((object.publicArea.objectAttributes & ObjectAttribute.decrypt) === 0)
    throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
  try {
    return decryptSecret(engine, object, "SECRET", encryptedSalt);
  } catch (error) {
    // One answer for all that may be wrong with it: the key shall not become an oracle.
    if (error instanceof TpmError) throw new TpmError(ofParameter(Rc.VALUE, 2));
    throw error;
  }
}

/** Can a session be bound to the entity? Its authValue must be there, and must not be one whose every use counts. */
function requireBindingEntity(engine: Engine, bind: number): void {
  if (handleType(bind) === Ht.TRANSIENT) {
    const slot = slotAt(engine, bind);
    if (slot?.kind === "object" && slot.object.sensitive === undefined)
      throw new TpmError(ofHandle(Rc.HANDLE, 2));
  } else if (handleType(bind) === Ht.NV_INDEX) {
    const type = nvType(nvIndexAt(engine, bind)?.attributes ?? 0);
    if (type === Nt.PIN_FAIL || type === Nt.PIN_PASS) throw new TpmError(ofHandle(Rc.HANDLE, 2));
  }
}

/** Ends a session, loaded or saved, by its number: the list of saved ones does not tell of which kind they are. */
function flushAnySession(engine: Engine, handle: number): void {
  const { volatile, reset } = engine.state;
  const number = sessionNumber(handle);
  if (number >= engine.limits.activeSessions) throw new TpmError(ofParameter(Rc.VALUE, 1));
  const same = (entry: { readonly handle: number }): boolean => sessionNumber(entry.handle) === number;
  const loaded = volatile.sessions.find(same);
  if (loaded !== undefined) {
    flushSession(engine, loaded.handle);
    return;
  }
  const saved = reset.savedSessions.findIndex(same);
  if (saved < 0) throw new TpmError(ofParameter(Rc.HANDLE, 1));
  if (volatile.exclusiveSession === reset.savedSessions[saved]!.handle) volatile.exclusiveSession = undefined;
  reset.savedSessions.splice(saved, 1);
}

export const sessionCommands = {
  StartAuthSession(engine, { handles: { tpmKey, bind }, parameters }) {
    const { crypto } = engine;
    const { volatile } = engine.state;
    const { nonceCaller, encryptedSalt, sessionType, symmetric, authHash } = parameters;
    const digestSize = digestSizes.get(authHash)!;
    if (nonceCaller.length < NONCE_MINIMUM || nonceCaller.length > digestSize)
      throw new TpmError(ofParameter(Rc.SIZE, 1));
    const salt = saltOf(engine, tpmKey, encryptedSalt);
    requireBindingEntity(engine, bind);
    const { algorithm, mode } = symmetric;
    if (algorithm !== Alg.NULL && algorithm !== Alg.XOR && mode !== Alg.CFB)
      throw new TpmError(ofParameter(Rc.MODE, 4));
    if (gapKeepsLastSlot(engine)) throw new TpmError(Rc.CONTEXT_GAP);
    const kind = kinds.get(sessionType)!;
    const handle = newSessionHandle(engine, kind);

    const bound = bind !== Rh.NULL;
    const nonceTPM = crypto.random(nonceCaller.length);
    // Part 1, 19.6.8: authValue of the bound entity, then the salt.
    const secret = concat(bound ? withoutTrailingZeros(authValue(engine, bind)) : empty, salt);
    const daBound = bound && !isDaExempt(engine, bind);
    volatile.sessions.push({
      handle,
      kind,
      hash: authHash,
      symmetric: { ...symmetric },
      sessionKey:
        bound || salt.length > 0
          ? kdfa(crypto, authHash, secret, "ATH", nonceTPM, nonceCaller, 8 * digestSize)
          : empty,
      nonceTpm: nonceTPM,
      startTime: volatile.time,
      epoch: volatile.timeEpoch,
      // A policy session has the key of what it is bound to, but is used for any entity alike.
      boundEntity: bound && kind === "hmac" ? bindingOf(engine, bind) : empty,
      daBound,
      lockoutBound: daBound && bind === Rh.LOCKOUT,
      audit: false,
      auditDigest: empty,
      ...initialPolicy(digestSize),
    });
    return { responseHandle: handle, nonceTPM };
  },

  PolicyRestart(engine, { handles: { sessionHandle } }) {
    const session = policySessionAt(engine, sessionHandle);
    // Nonce, start time and keys stay.
    Object.assign(session, initialPolicy(digestSizes.get(session.hash)!));
    return {};
  },

  ContextSave(engine, { handles: { saveHandle } }) {
    const object = handleType(saveHandle) === Ht.TRANSIENT;
    return { context: object ? saveObject(engine, saveHandle) : saveSession(engine, saveHandle) };
  },

  ContextLoad(engine, { parameters: { context } }) {
    return { responseHandle: loadContext(engine, context) };
  },

  FlushContext(engine, { parameters: { flushHandle } }) {
    if (handleType(flushHandle) !== Ht.TRANSIENT) {
      flushAnySession(engine, flushHandle);
      return {};
    }
    if ((flushHandle & 0x00ff_ffff) >= engine.limits.transientObjects)
      throw new TpmError(ofParameter(Rc.VALUE, 1));
    if (slotAt(engine, flushHandle) === undefined) throw new TpmError(ofParameter(Rc.HANDLE, 1));
    flushObject(engine, flushHandle);
    return {};
  },
} satisfies Handlers;
