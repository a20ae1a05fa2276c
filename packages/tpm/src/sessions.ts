import { Alg, Ht, Rc, TpmError } from "@entresol/tpm-types";
import { kdfa, xorObfuscate } from "./crypto/kdf.ts";
import { concat, type Engine } from "./engine.ts";
import { authValue, entityName } from "./entities.ts";
import type { SessionState } from "./state.ts";

/* Sessions that are loaded: finding, flushing, and what all of them do with their keys (Part 1, clauses 19 to 21). */

export function sessionAt(engine: Engine, handle: number): SessionState | undefined {
  return engine.state.volatile.sessions.find((session) => session.handle === handle);
}

/** A policy or trial session of a handle that unmarshalling has found to be one, and `requireUsable` to be loaded. */
export function policySessionAt(engine: Engine, handle: number): SessionState {
  const session = sessionAt(engine, handle);
  if (session === undefined || session.kind === "hmac") throw new TpmError(Rc.HANDLE);
  return session;
}

/** Takes a loaded session away; its handle may be given to another. */
export function flushSession(engine: Engine, handle: number): void {
  const { volatile } = engine.state;
  const at = volatile.sessions.findIndex((session) => session.handle === handle);
  if (at < 0) return;
  volatile.sessions[at]!.sessionKey.fill(0);
  volatile.sessions.splice(at, 1);
  if (volatile.exclusiveSession === handle) volatile.exclusiveSession = undefined;
}

/** The number of a session, whether its handle is that of an HMAC or of a policy session. */
export function sessionNumber(handle: number): number {
  return handle & 0x00ff_ffff;
}

/** Handle for a new session: the lowest number that neither a loaded nor a saved session has. Throws TPM_RC_SESSION_HANDLES, TPM_RC_SESSION_MEMORY. */
export function newSessionHandle(engine: Engine, kind: SessionState["kind"]): number {
  const { volatile, reset } = engine.state;
  if (volatile.sessions.length >= engine.limits.loadedSessions) throw new TpmError(Rc.SESSION_MEMORY);
  const taken = new Set([
    ...volatile.sessions.map(({ handle }) => sessionNumber(handle)),
    ...reset.savedSessions.map(({ handle }) => sessionNumber(handle)),
  ]);
  for (let number = 0; number < engine.limits.activeSessions; number++) {
    if (taken.has(number)) continue;
    return ((kind === "hmac" ? Ht.HMAC_SESSION : Ht.POLICY_SESSION) << 24) | number;
  }
  throw new TpmError(Rc.SESSION_HANDLES);
}

/** What a bound session remembers of the entity that it is bound to, and compares (Part 1, 19.6.10). */
export function bindingOf(engine: Engine, handle: number): Uint8Array {
  return concat(entityName(engine, handle), authValue(engine, handle));
}

/** Is the session bound to the entity, as it is now? Then the entity's authValue is in the session key already. */
export function isBoundTo(engine: Engine, session: SessionState, handle: number): boolean {
  return (
    session.boundEntity.length > 0 && engine.crypto.equal(session.boundEntity, bindingOf(engine, handle))
  );
}

/**
 * En- or decrypts a parameter's content in place (Part 1, 21). `key` is the session key, with the authValue of what the session authorizes behind it.
 * `nonceNewer` is the caller's for a command, the TPM's for a response.
 */
export function cryptParameter(
  engine: Engine,
  session: SessionState,
  extraKey: Uint8Array,
  nonceNewer: Uint8Array,
  nonceOlder: Uint8Array,
  data: Uint8Array,
  encrypt: boolean,
): void {
  const { crypto } = engine;
  const key = concat(session.sessionKey, extraKey);
  const { algorithm, keyBits, hash } = session.symmetric;
  if (algorithm === Alg.XOR) {
    xorObfuscate(crypto, hash, key, nonceNewer, nonceOlder, data);
    return;
  }
  const block = 16;
  const material = kdfa(crypto, session.hash, key, "CFB", nonceNewer, nonceOlder, keyBits + 8 * block);
  const keyBytes = keyBits / 8;
  const iv = material.subarray(keyBytes);
  data.set(crypto.cipher(algorithm, Alg.CFB, material.subarray(0, keyBytes), iv, data, encrypt));
}

/** A policy session as it is at its start, after PolicyRestart and after each use: nothing has been asked for yet. */
export function initialPolicy(
  digestSize: number,
): Pick<
  SessionState,
  | "policyDigest"
  | "commandCode"
  | "locality"
  | "boundHashKind"
  | "boundHash"
  | "timeout"
  | "pcrCounter"
  | "authValueNeeded"
  | "passwordNeeded"
  | "presenceRequired"
  | "channelRequired"
  | "nvWritten"
> {
  return {
    policyDigest: new Uint8Array(digestSize),
    commandCode: 0,
    locality: 0,
    boundHashKind: "none",
    boundHash: new Uint8Array(0),
    timeout: 0n,
    pcrCounter: undefined,
    authValueNeeded: false,
    passwordNeeded: false,
    presenceRequired: false,
    channelRequired: false,
    nvWritten: undefined,
  };
}
