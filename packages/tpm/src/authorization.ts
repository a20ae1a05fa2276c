import {
  Alg,
  type AuthRole,
  Ht,
  handleType,
  type NamedCommand,
  Nt,
  NvAttribute,
  ofSession,
  Rc,
  Rh,
  SessionAttribute,
  TPM2B_AUTH,
  TPM2B_NONCE,
  TPMA_SESSION,
  TPMI_SH_AUTH_SESSION_PW,
  TpmError,
  type TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { concat, type Engine, u32, withoutTrailingZeros } from "./engine.ts";
import {
  authPolicy,
  authPolicyAvailable,
  authValue,
  authValueAvailable,
  entityName,
  isDaExempt,
  nvIndexAt,
  nvType,
  policyRequired,
  requireLoadedSession,
  requirePossible,
  sequenceAt,
} from "./entities.ts";
import { registerFailure, requireNotLockedOut } from "./lockout.ts";
import { cryptParameter, flushSession, initialPolicy, isBoundTo, sessionAt } from "./sessions.ts";
import type { SessionState } from "./state.ts";

/*
 * The authorization area of one command: reading it, deciding whether the command may run, decrypting its first parameter, and
 * building the response's area (Part 1, clauses 19 to 21; Part 3, clause 5).
 */

/** At most this many sessions go with a command (Part 1, 19.1). */
const MAX_SESSIONS = 3;
const { continueSession, auditExclusive, auditReset, decrypt, encrypt, audit } = SessionAttribute;
const empty: Uint8Array = new Uint8Array(0);

/** One session of the command. `session` is undefined for a password. */
interface Presented {
  readonly handle: number;
  readonly session: SessionState | undefined;
  readonly nonceCaller: Uint8Array;
  readonly attributes: number;
  /** HMAC or password. */
  readonly hmac: Uint8Array;
  /** What it authorizes; undefined: it is there for audit or encryption. */
  readonly entity: number | undefined;
  readonly role: AuthRole | undefined;
  /** authValue of a sequence that it authorizes: the command may end the sequence, and the response is still authenticated by it. */
  readonly sequenceAuth: Uint8Array | undefined;
}

/** Does a session of the area say that the first response parameter shall be encrypted, or the command be audited? Kept until the response. */
export class Authorization {
  readonly #engine: Engine;
  readonly #command: NamedCommand;
  readonly #handles: readonly number[];
  readonly #sessions: Presented[] = [];
  /** Does the session's HMAC include the authValue of what it authorizes? */
  readonly #includesAuth: boolean[] = [];
  #decryptIndex = -1;
  #encryptIndex = -1;
  #auditIndex = -1;
  #parameters: Uint8Array = empty;
  readonly #cpHashes = new Map<number, Uint8Array>();

  private constructor(engine: Engine, command: NamedCommand, handles: readonly number[]) {
    this.#engine = engine;
    this.#command = command;
    this.#handles = handles;
  }

  /** A command without sessions: nothing may need an authorization. */
  static none(command: NamedCommand): void {
    if (command.roles.length > 0) throw new TpmError(Rc.AUTH_MISSING);
  }

  /**
   * Reads the area that `reader` is bounded to, checks every session with the parameters as they came, and decrypts the first one in `parameters`
   * in place. Throws the answer to what is wrong. `commandAudit`: the hash by which the command is audited, if it is.
   */
  static check(
    engine: Engine,
    command: NamedCommand,
    handles: readonly number[],
    reader: TpmReader,
    parameters: Uint8Array,
    commandAudit: number | undefined,
  ): Authorization {
    if (command.noSessions) throw new TpmError(Rc.AUTH_CONTEXT);
    const area = new Authorization(engine, command, handles);
    area.#parameters = parameters;
    area.#read(reader);
    area.#checkEach();
    // Names may change by the command, and the parameters by decryption: what is audited is what came.
    if (commandAudit !== undefined) area.cpHash(commandAudit);
    if (area.#auditIndex >= 0) area.cpHash(area.#sessions[area.#auditIndex]!.session!.hash);
    area.#decrypt();
    return area;
  }

  get handles(): readonly number[] {
    return this.#sessions.map(({ handle }) => handle);
  }

  /** cpHash of the command by a hash algorithm (Part 1, 16.7). */
  cpHash(hash: number): Uint8Array {
    let digest = this.#cpHashes.get(hash);
    if (digest === undefined) {
      digest = commandHash(this.#engine, hash, this.#command.code, this.#handles, this.#parameters);
      this.#cpHashes.set(hash, digest);
    }
    return digest;
  }

  #read(reader: TpmReader): void {
    const { volatile } = this.#engine.state;
    const { roles } = this.#command;
    while (reader.remaining > 0) {
      const index = this.#sessions.length;
      if (index === MAX_SESSIONS) throw new TpmError(Rc.AUTHSIZE);
      const at = (rc: number): TpmError => new TpmError(ofSession(rc, index + 1));
      const presented = readSession(reader, at);
      const { handle, nonceCaller, attributes, hmac } = presented;
      let session: SessionState | undefined;
      if (handle === Rh.PW) {
        if ((attributes & ~continueSession) !== 0) throw at(Rc.ATTRIBUTES);
        if (nonceCaller.length !== 0) throw at(Rc.NONCE);
      } else {
        session = sessionAt(this.#engine, handle);
        if (session === undefined) throw at(absentSession(this.#engine, handle, index));
        if (this.#sessions.some((other) => other.handle === handle)) throw at(Rc.HANDLE);
        if ((attributes & decrypt) !== 0) {
          if (!this.#command.firstParameterSized || this.#decryptIndex >= 0) throw at(Rc.ATTRIBUTES);
          if (session.symmetric.algorithm === Alg.NULL) throw at(Rc.SYMMETRIC);
          this.#decryptIndex = index;
        }
        if ((attributes & encrypt) !== 0) {
          if (!this.#command.firstResponseSized || this.#encryptIndex >= 0) throw at(Rc.ATTRIBUTES);
          if (session.symmetric.algorithm === Alg.NULL) throw at(Rc.SYMMETRIC);
          this.#encryptIndex = index;
        }
        if ((attributes & audit) !== 0) {
          if (this.#auditIndex >= 0 || session.kind !== "hmac") throw at(Rc.ATTRIBUTES);
          const used = session.audit && (attributes & auditReset) === 0;
          if (used && (attributes & auditExclusive) !== 0 && volatile.exclusiveSession !== handle)
            throw new TpmError(Rc.EXCLUSIVE);
          this.#auditIndex = index;
        } else if ((attributes & (auditExclusive | auditReset)) !== 0) {
          throw at(Rc.ATTRIBUTES);
        }
      }
      const role = roles[index];
      const entity = role === undefined ? undefined : this.#handles[index]!;
      const sequenceAuth = entity === undefined ? undefined : sequenceAt(this.#engine, entity)?.auth;
      this.#sessions.push({ handle, session, nonceCaller, attributes, hmac, entity, role, sequenceAuth });
    }
    if (roles.length > this.#sessions.length) throw new TpmError(Rc.AUTH_MISSING);
  }

  #checkEach(): void {
    for (const [index, presented] of this.#sessions.entries()) {
      const { session, entity, attributes } = presented;
      const at = (rc: number): TpmError => new TpmError(ofSession(rc, index + 1));
      if (session === undefined) {
        if (entity === undefined) throw at(Rc.HANDLE);
      } else {
        if (session.kind === "trial") throw at(Rc.ATTRIBUTES);
        if (session.daBound) requireNotLockedOut(this.#engine, session.lockoutBound);
      }
      if (entity === undefined) {
        if ((attributes & (audit | encrypt | decrypt)) === 0) throw at(Rc.ATTRIBUTES);
        this.#includesAuth.push(false);
        const rc = this.#checkHmac(presented, false, undefined);
        if (rc !== Rc.SUCCESS) throw at(rc);
      } else {
        this.#authorize(presented, entity, at);
      }
    }
  }

  /** Checks a session that authorizes a handle; a failure counts as one. */
  #authorize(presented: Presented, entity: number, at: (rc: number) => TpmError): void {
    const engine = this.#engine;
    const { permanent, volatile } = engine.state;
    const { session } = presented;
    const role = presented.role!;
    const name = this.#command.name;
    if (
      entity === Rh.PLATFORM &&
      !volatile.physicalPresence &&
      permanent.ppCommands.includes(this.#command.code)
    )
      throw at(Rc.PP);

    let includesAuth = true;
    if (session?.kind === "policy") includesAuth = session.authValueNeeded || session.passwordNeeded;
    else if (session !== undefined) includesAuth = !isBoundTo(engine, session, entity);
    this.#includesAuth.push(includesAuth);
    if (includesAuth && !isDaExempt(engine, entity)) requireNotLockedOut(engine, entity === Rh.LOCKOUT);

    if (session?.kind === "policy") {
      if (!authPolicyAvailable(engine, entity, name, role)) throw at(Rc.AUTH_UNAVAILABLE);
      const rc = this.#checkPolicy(session, entity, role);
      if (rc !== Rc.SUCCESS) throw at(rc);
    } else {
      if (policyRequired(engine, entity, role)) throw at(Rc.AUTH_TYPE);
      if (!authValueAvailable(engine, entity, name, role)) throw at(Rc.AUTH_UNAVAILABLE);
    }

    const byPassword = session === undefined || session.passwordNeeded;
    const rc = byPassword
      ? this.#checkPassword(presented, entity)
      : this.#checkHmac(presented, includesAuth, entity);
    if (includesAuth) this.#countPin(entity, rc === Rc.SUCCESS);
    if (rc !== Rc.SUCCESS) throw at(rc);
  }

  /** Everything that a policy session has asked for (Part 1, 19.7; Part 3, 23). */
  #checkPolicy(session: SessionState, entity: number, role: AuthRole): number {
    const engine = this.#engine;
    const { volatile, reset } = engine.state;
    const { code, name } = this.#command;
    if (name === "PolicySecret" && !session.passwordNeeded && !session.authValueNeeded) return Rc.MODE;
    if (session.pcrCounter !== undefined && session.pcrCounter !== reset.pcrCounter) return Rc.PCR_CHANGED;
    const policy = authPolicy(engine, entity);
    if (!engine.crypto.equal(policy.digest, session.policyDigest)) return Rc.POLICY_FAIL;
    if (policy.alg !== session.hash) return Rc.POLICY_FAIL;
    if (session.timeout !== 0n && (session.timeout < volatile.time || session.epoch !== volatile.timeEpoch))
      return Rc.EXPIRED;
    if (session.commandCode !== 0) {
      if (session.commandCode !== code) return Rc.POLICY_CC;
    } else if (role !== "user") {
      return Rc.POLICY_FAIL;
    }
    if (!localityAllowed(session.locality, engine.locality)) return Rc.LOCALITY;
    if (session.presenceRequired && !volatile.physicalPresence) return Rc.PP;
    // No command comes through a secure channel: there is none.
    if (session.channelRequired) return Rc.CHANNEL;
    if (!this.#boundHashMatches(session)) return Rc.POLICY_FAIL;
    if (session.nvWritten !== undefined) {
      const index = handleType(entity) === Ht.NV_INDEX ? nvIndexAt(engine, entity) : undefined;
      if (index === undefined) return Rc.POLICY_FAIL;
      if (((index.attributes & NvAttribute.WRITTEN) !== 0) !== session.nvWritten) return Rc.POLICY_FAIL;
    }
    return Rc.SUCCESS;
  }

  #boundHashMatches(session: SessionState): boolean {
    const engine = this.#engine;
    const { crypto } = engine;
    const { boundHash, boundHashKind, hash } = session;
    switch (boundHashKind) {
      case "none":
        return true;
      case "cpHash":
        return crypto.equal(boundHash, this.cpHash(hash));
      case "nameHash": {
        const names = this.#handles.map((handle) => entityName(engine, handle));
        return crypto.equal(boundHash, crypto.hash(hash, ...names));
      }
      case "parameterHash":
        return crypto.equal(boundHash, crypto.hash(hash, u32(this.#command.code), this.#parameters));
      case "templateHash": {
        const template = templateOf(this.#command.name, this.#parameters);
        return template !== undefined && crypto.equal(boundHash, crypto.hash(hash, template));
      }
      default:
        return boundHashKind satisfies never;
    }
  }

  #checkPassword({ hmac }: Presented, entity: number): number {
    const { crypto } = this.#engine;
    if (crypto.equal(withoutTrailingZeros(hmac), withoutTrailingZeros(authValue(this.#engine, entity))))
      return Rc.SUCCESS;
    return this.#failed(isDaExempt(this.#engine, entity), entity);
  }

  #checkHmac(presented: Presented, includesAuth: boolean, entity: number | undefined): number {
    const session = presented.session!;
    const { crypto } = this.#engine;
    const key = this.#hmacKey(presented, includesAuth);
    // With no key at all there is nothing to prove: an empty HMAC will do.
    if (key.length === 0 && presented.hmac.length === 0) return Rc.SUCCESS;
    const index = this.#sessions.indexOf(presented);
    // The nonces of the sessions that encrypt are in the first session's HMAC, so that none can be put in the other's place.
    let decryptNonce = empty;
    let encryptNonce = empty;
    if (index === 0) {
      if (this.#decryptIndex > 0) decryptNonce = this.#sessions[this.#decryptIndex]!.session!.nonceTpm;
      if (this.#encryptIndex > 0 && this.#encryptIndex !== this.#decryptIndex)
        encryptNonce = this.#sessions[this.#encryptIndex]!.session!.nonceTpm;
    }
    const expected = crypto.hmac(
      session.hash,
      key,
      this.cpHash(session.hash),
      presented.nonceCaller,
      session.nonceTpm,
      decryptNonce,
      encryptNonce,
      Uint8Array.of(presented.attributes),
    );
    if (crypto.equal(expected, presented.hmac)) return Rc.SUCCESS;
    const exempt = entity === undefined || !includesAuth || isDaExempt(this.#engine, entity);
    if (session.daBound) return this.#failed(false, session.lockoutBound ? Rh.LOCKOUT : (entity ?? Rh.NULL));
    return this.#failed(exempt, entity ?? Rh.NULL);
  }

  #failed(exempt: boolean, entity: number): number {
    if (exempt) return Rc.BAD_AUTH;
    registerFailure(this.#engine, entity);
    return Rc.AUTH_FAIL;
  }

  /** Session key, and the authValue where it belongs to the key (Part 1, 19.6.5). */
  #hmacKey(presented: Presented, includesAuth: boolean): Uint8Array {
    const value = includesAuth ? this.#encryptionAuth(presented) : empty;
    return concat(presented.session!.sessionKey, value);
  }

  /** A PIN index counts how often its authValue was right, or wrong (Part 1, 37.2.8). */
  #countPin(entity: number, success: boolean): void {
    if (handleType(entity) !== Ht.NV_INDEX) return;
    const index = nvIndexAt(this.#engine, entity)!;
    const type = nvType(index.attributes);
    if (type !== Nt.PIN_FAIL && type !== Nt.PIN_PASS) return;
    if ((index.attributes & NvAttribute.WRITTEN) === 0) return;
    const view = new DataView(index.data.buffer, index.data.byteOffset, index.data.byteLength);
    const count = view.getUint32(0);
    const next =
      type === Nt.PIN_PASS ? (success ? count + 1 : count) : success ? 0 : Math.min(count + 1, 0xffff_ffff);
    if (next === count) return;
    view.setUint32(0, next);
    this.#engine.nvDirty = true;
  }

  #decrypt(): void {
    if (this.#decryptIndex < 0) return;
    const presented = this.#sessions[this.#decryptIndex]!;
    const parameters = this.#parameters;
    const at = (rc: number): TpmError => new TpmError(ofSession(rc, this.#decryptIndex + 1));
    if (parameters.length < 2) throw at(Rc.INSUFFICIENT);
    const size = (parameters[0]! << 8) | parameters[1]!;
    if (size > parameters.length - 2) throw at(Rc.SIZE);
    const session = presented.session!;
    cryptParameter(
      this.#engine,
      session,
      this.#encryptionAuth(presented),
      presented.nonceCaller,
      session.nonceTpm,
      parameters.subarray(2, 2 + size),
      false,
    );
  }

  /** authValue of what the session authorizes, which the key of parameter encryption takes whatever the kind of session (Part 1, 21.2). */
  #encryptionAuth({ entity, sequenceAuth }: Presented): Uint8Array {
    return entity === undefined
      ? empty
      : withoutTrailingZeros(sequenceAuth ?? authValue(this.#engine, entity));
  }

  /**
   * The response's authorization area, for response parameters that are encrypted in place first. Nonces roll, audit digests grow, policy
   * sessions begin anew, and sessions that shall not go on end.
   */
  respond(parameters: Uint8Array): Uint8Array {
    const engine = this.#engine;
    const { crypto } = engine;
    const live = this.#sessions.map(({ handle, session }) =>
      // The command may have flushed it, or loaded another in its place.
      session !== undefined && sessionAt(engine, handle) === session ? session : undefined,
    );
    for (const session of live) {
      if (session !== undefined) session.nonceTpm = crypto.random(session.nonceTpm.length);
    }
    const encrypting = this.#encryptIndex < 0 ? undefined : live[this.#encryptIndex];
    if (encrypting !== undefined) {
      const presented = this.#sessions[this.#encryptIndex]!;
      const size = (parameters[0]! << 8) | parameters[1]!;
      cryptParameter(
        engine,
        encrypting,
        this.#encryptionAuth(presented),
        encrypting.nonceTpm,
        presented.nonceCaller,
        parameters.subarray(2, 2 + size),
        true,
      );
    }
    this.#extendAudit(live, parameters);
    const writer = new TpmWriter(128);
    for (const [index, presented] of this.#sessions.entries()) {
      const session = live[index];
      let attributes = presented.attributes;
      if (session === undefined) {
        writer
          .sized(empty)
          .u8(presented.handle === Rh.PW ? attributes | continueSession : attributes)
          .sized(empty);
        continue;
      }
      if (index === this.#auditIndex) {
        attributes &= ~auditExclusive;
        if (engine.state.volatile.exclusiveSession === presented.handle) attributes |= auditExclusive;
      }
      writer.sized(session.nonceTpm).u8(attributes);
      writer.sized(this.#responseHmac(index, session, attributes, parameters));
      if ((attributes & continueSession) === 0) flushSession(engine, presented.handle);
      // The nonce has rolled: a new interval begins, and nothing has been asked for in it.
      else if (session.kind === "policy") {
        Object.assign(session, initialPolicy(session.policyDigest.length));
        session.startTime = engine.state.volatile.time;
        session.epoch = engine.state.volatile.timeEpoch;
      }
    }
    return writer.finish();
  }

  #responseHmac(
    index: number,
    session: SessionState,
    attributes: number,
    parameters: Uint8Array,
  ): Uint8Array {
    const presented = this.#sessions[index]!;
    const { crypto } = this.#engine;
    // A policy that was satisfied by the plain password has no HMAC to show.
    if (session.passwordNeeded && presented.entity !== undefined) return empty;
    const key = this.#hmacKey(presented, this.#includesAuth[index]!);
    if (key.length === 0 && presented.hmac.length === 0) return empty;
    return crypto.hmac(
      session.hash,
      key,
      this.#rpHash(session.hash, parameters),
      session.nonceTpm,
      presented.nonceCaller,
      Uint8Array.of(attributes),
    );
  }

  #rpHash(hash: number, parameters: Uint8Array): Uint8Array {
    return responseHash(this.#engine, hash, this.#command.code, parameters);
  }

  /** Session audit (Part 1, clause 17): the digest grows by cpHash and rpHash, and the session becomes or ceases to be the exclusive one. */
  #extendAudit(live: readonly (SessionState | undefined)[], parameters: Uint8Array): void {
    const { volatile } = this.#engine.state;
    if (this.#auditIndex < 0) return;
    const session = live[this.#auditIndex];
    if (session === undefined) return;
    const { attributes, handle } = this.#sessions[this.#auditIndex]!;
    const { crypto } = this.#engine;
    if (!session.audit || (attributes & auditReset) !== 0) {
      session.audit = true;
      session.auditDigest = new Uint8Array(session.policyDigest.length);
      volatile.exclusiveSession = handle;
    } else if (volatile.exclusiveSession !== handle) {
      volatile.exclusiveSession = undefined;
    }
    session.auditDigest = crypto.hash(
      session.hash,
      session.auditDigest,
      this.cpHash(session.hash),
      this.#rpHash(session.hash, parameters),
    );
  }

  /** Is the command audited by a session? If not, the exclusive session is exclusive no more. */
  get audited(): boolean {
    return this.#auditIndex >= 0;
  }
}

/** cpHash (Part 1, 16.7): code, Names of the handles, parameters. */
export function commandHash(
  engine: Engine,
  hash: number,
  code: number,
  handles: readonly number[],
  parameters: Uint8Array,
): Uint8Array {
  const names = handles.map((handle) => entityName(engine, handle));
  return engine.crypto.hash(hash, u32(code), ...names, parameters);
}

/** rpHash of a successful response (Part 1, 16.8). */
export function responseHash(engine: Engine, hash: number, code: number, parameters: Uint8Array): Uint8Array {
  return engine.crypto.hash(hash, u32(Rc.SUCCESS), u32(code), parameters);
}

/** What a session that cannot be used is answered with: not loaded, of another kind, or none that could be. */
function absentSession(engine: Engine, handle: number, index: number): number {
  try {
    requirePossible(engine, handle);
    requireLoadedSession(engine, handle, Rc.REFERENCE_S0 + index);
  } catch (error) {
    if (error instanceof TpmError) return error.rc;
    throw error;
  }
  return Rc.HANDLE;
}

function readSession(
  reader: TpmReader,
  at: (rc: number) => TpmError,
): Pick<Presented, "handle" | "nonceCaller" | "attributes" | "hmac"> {
  try {
    const handle = TPMI_SH_AUTH_SESSION_PW.read(reader);
    const nonceCaller = TPM2B_NONCE.read(reader);
    const attributes = TPMA_SESSION.read(reader);
    return { handle, nonceCaller, attributes, hmac: TPM2B_AUTH.read(reader) };
  } catch (error) {
    if (error instanceof TpmError) throw at(error.rc);
    throw error;
  }
}

/** May a command of locality `locality` run by a policy that wants the localities `wanted` (TPMA_LOCALITY; 0: any)? */
function localityAllowed(wanted: number, locality: number): boolean {
  if (wanted === 0) return true;
  if (wanted > 31 || locality > 31) return wanted === locality;
  return (wanted & (1 << locality)) !== 0;
}

/** The template among the parameters of a command that creates by one: its bytes without the size. Undefined for another command. */
function templateOf(name: string, parameters: Uint8Array): Uint8Array | undefined {
  if (name !== "Create" && name !== "CreatePrimary" && name !== "CreateLoaded") return undefined;
  const sizeAt = (at: number): number => ((parameters[at] ?? 0) << 8) | (parameters[at + 1] ?? 0);
  const at = 2 + sizeAt(0);
  const size = sizeAt(at);
  return at + 2 + size <= parameters.length ? parameters.subarray(at + 2, at + 2 + size) : undefined;
}
