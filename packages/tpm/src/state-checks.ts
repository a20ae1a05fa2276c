import {
  Alg,
  commandOf,
  digestSizes,
  Ht,
  handleType,
  Nt,
  pcrBankHashes,
  Rh,
  Su,
  TPMA_NV,
  TpmError,
  TpmReader,
} from "@entresol/tpm-types";
import { RATE_LIMIT } from "./clock.ts";
import { type Engine, u32 } from "./engine.ts";
import { nvType } from "./entities.ts";
import { validateKeys, validateRsaPrime } from "./key-binding.ts";
import { COMMIT_ARRAY_SIZE } from "./manufacture.ts";
import { objectName } from "./objects.ts";
import { type RunningState, TpmStateError } from "./saved-state.ts";
import { isSequence } from "./sequences.ts";
import { sessionNumber } from "./sessions.ts";
import type {
  AuthPolicy,
  ClearState,
  NvIndex,
  PcrState,
  PermanentState,
  ResetState,
  SessionState,
  StoredObject,
} from "./state.ts";

/*
 * What a saved state must hold beyond its form: that its parts fit each other, so that no command finds something that no command could have
 * made. A state may come from another machine and through many hands: whatever is in it, commands on it have answers.
 */

/** What the checks need of the TPM that the state is for. */
export type Judge = Pick<Engine, "crypto" | "limits">;

const hierarchies = new Set<number>([Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM]);
const nvTypes = new Set<number>(Object.values(Nt));
const fixedSizeTypes = new Set<number>([Nt.COUNTER, Nt.BITS, Nt.PIN_FAIL, Nt.PIN_PASS]);
const SHUTDOWN_KIND = 0x3fff;
const SMALLEST_NONCE = 16;

function require(holds: boolean, what: string): void {
  if (!holds) throw new TpmStateError("malformed", `state is not sound: ${what}`);
}

function requireUnique(values: readonly number[], what: string): void {
  require(new Set(values).size === values.length, `${what} twice`);
}

const sizeOf = (hash: number): number => digestSizes.get(hash) ?? 0;

function requirePolicy({ alg, digest }: AuthPolicy, whose: string): void {
  require(digest.length === sizeOf(alg), `the policy of ${whose} has no digest of its algorithm`);
}

/** Throws `TpmStateError` `malformed`. */
export function checkPermanent(judge: Judge, permanent: PermanentState): void {
  const { limits } = judge;
  requirePolicy(permanent.ownerPolicy, "the owner");
  requirePolicy(permanent.endorsementPolicy, "the endorsement hierarchy");
  requirePolicy(permanent.lockoutPolicy, "lockout");
  requirePolicy(permanent.pcrPolicy, "PCR");
  for (const allocation of [permanent.pcrAllocation, permanent.pcrAllocationPending ?? []]) {
    requireUnique(
      allocation.map(({ hash }) => hash),
      "a PCR bank is allocated",
    );
    for (const { hash } of allocation) require(pcrBankHashes.includes(hash), `a PCR bank of hash ${hash}`);
  }
  for (const list of [permanent.ppCommands, permanent.auditCommands]) {
    requireUnique(list, "a command is listed");
    for (const code of list) require(commandOf(code) !== undefined, `command 0x${code.toString(16)}`);
  }

  requireUnique(
    permanent.nvIndices.map(({ handle }) => handle),
    "an NV index is there",
  );
  require(permanent.nvIndices.length <= limits.nvIndices, "more NV indices than there is room for");
  for (const index of permanent.nvIndices) checkNvIndex(index);
  requireUnique(
    permanent.persistent.map(({ handle }) => handle),
    "a persistent object is there",
  );
  require(permanent.persistent.length <=
    limits.persistentObjects, "more persistent objects than there is room for");
  for (const { handle, object } of permanent.persistent) {
    require(handleType(handle) === Ht.PERSISTENT, `a persistent object of handle 0x${handle.toString(16)}`);
    require(hierarchies.has(object.hierarchy), "a persistent object of no hierarchy");
    checkObject(judge, object);
  }

  const { orderly, kept } = permanent;
  const kind = orderly === undefined ? undefined : orderly & SHUTDOWN_KIND;
  require(kind === undefined || kind === Su.CLEAR || kind === Su.STATE, `a shutdown of kind ${kind}`);
  require((kept !== undefined) === (kind === Su.STATE), "what Shutdown(STATE) kept goes with it only");
  if (kept === undefined) return;
  checkClear(kept.clear);
  checkReset(judge, kept.reset);
  checkBanks(permanent, kept.pcr);
}

function checkNvIndex(index: NvIndex): void {
  const name = `NV index 0x${index.handle.toString(16)}`;
  require(handleType(index.handle) === Ht.NV_INDEX, `${name} has no handle of one`);
  const type = nvType(index.attributes);
  try {
    TPMA_NV.read(new TpmReader(u32(index.attributes)));
  } catch (error) {
    require(!(error instanceof TpmError), `${name} has attributes that there are not`);
    throw error;
  }
  require(nvTypes.has(type), `${name} is of type ${type}`);
  const size = sizeOf(index.nameAlg);
  require(index.authPolicy.length === 0 || index.authPolicy.length === size, `${name} has another policy`);
  require(index.authValue.length <= size, `${name} has too long an authValue`);
  if (fixedSizeTypes.has(type)) require(index.dataSize === 8, `${name} has ${index.dataSize} bytes`);
  if (type === Nt.EXTEND) require(index.dataSize === size, `${name} has ${index.dataSize} bytes`);
}

function checkObject(judge: Judge, object: StoredObject): void {
  const { publicArea, sensitive, hierarchy, external } = object;
  require(hierarchies.has(hierarchy) || hierarchy === Rh.NULL, "an object of no hierarchy");
  require(external || publicArea.nameAlg !== Alg.NULL, "an object without a Name");
  require(external || sensitive !== undefined, "an object of the TPM without its sensitive area");
  require(judge.crypto.equal(
    object.name,
    objectName(judge, publicArea),
  ), "an object of another Name than its own");
  const { authPolicy, nameAlg } = publicArea;
  // LoadExternal takes any with a public area alone or without a Name: no session's digest is equal to one of another size.
  const anyPolicy = external && (sensitive === undefined || nameAlg === Alg.NULL);
  require(anyPolicy ||
    authPolicy.length === 0 ||
    authPolicy.length === sizeOf(nameAlg), "an object of another policy");
  try {
    validateKeys(judge, publicArea, sensitive, { publicArea: 1, sensitive: 2 });
    if (publicArea.type === Alg.RSA && sensitive !== undefined)
      validateRsaPrime(judge, publicArea, sensitive.sensitive);
  } catch (error) {
    require(!(error instanceof TpmError), "an object whose areas do not fit each other");
    throw error;
  }
}

function checkClear(clear: ClearState): void {
  requirePolicy(clear.platformPolicy, "the platform");
  requireUnique(
    clear.acts.map(({ number }) => number),
    "a timer is there",
  );
  for (const { number, policy } of clear.acts) {
    require(number <= Rh.ACT_F - Rh.ACT_0, `timer ${number}`);
    requirePolicy(policy, `timer ${number}`);
  }
}

function isSessionHandle(handle: number, limits: Judge["limits"]): boolean {
  const type = handleType(handle);
  return (
    (type === Ht.HMAC_SESSION || type === Ht.POLICY_SESSION) && sessionNumber(handle) < limits.activeSessions
  );
}

function checkReset({ limits }: Judge, reset: ResetState): void {
  requireUnique(
    reset.savedSessions.map(({ handle }) => sessionNumber(handle)),
    "a session is saved",
  );
  for (const { handle, sequence } of reset.savedSessions) {
    require(isSessionHandle(handle, limits), `a saved session of handle 0x${handle.toString(16)}`);
    require(sequence < reset.contextCounter, "a saved session that was not saved yet");
  }
  const { length } = reset.commandAuditDigest;
  require(length === 0 || [...digestSizes.values()].includes(length), "an audit digest of no hash");
  require(reset.commitArray.length === COMMIT_ARRAY_SIZE, "commits of another number");
}

/** Every allocated bank is there, and no other. */
function checkBanks({ pcrAllocation }: PermanentState, { banks }: PcrState): void {
  const hashes = banks.map(({ hash }) => hash);
  requireUnique(hashes, "a PCR bank is there");
  require(hashes.length === pcrAllocation.length &&
    pcrAllocation.every(({ hash }) =>
      hashes.includes(hash),
    ), "PCR banks that are not those that are allocated");
}

function checkSession({ limits }: Judge, session: SessionState): void {
  const size = sizeOf(session.hash);
  require(isSessionHandle(session.handle, limits), `a session of handle 0x${session.handle.toString(16)}`);
  const type = session.kind === "hmac" ? Ht.HMAC_SESSION : Ht.POLICY_SESSION;
  require(handleType(session.handle) === type, "a session of another kind than its handle's");
  require(session.nonceTpm.length >= SMALLEST_NONCE && session.nonceTpm.length <= size, "a session's nonce");
  require(session.sessionKey.length === 0 || session.sessionKey.length === size, "a session's key");
  require(session.policyDigest.length === size, "a session's policy digest");
  require(session.audit === (session.auditDigest.length === size), "a session's audit digest");
  const bound = session.boundHash.length;
  // A trial takes a cpHash of any size from PolicySigned and PolicySecret: it authorizes nothing.
  const anySize = session.kind === "trial" && session.boundHashKind === "cpHash";
  require(anySize
    ? bound > 0
    : bound === (session.boundHashKind === "none" ? 0 : size), "what a session is bound to");
}

/** Does the state of a running TPM fit the permanent state and the TPM? Throws `TpmStateError` `malformed`. */
export function checkRunning(judge: Judge, permanent: PermanentState, running: RunningState): void {
  const { limits } = judge;
  const { clear, reset, pcr, volatile } = running;
  checkClear(clear);
  checkReset(judge, reset);
  // Before start-up there are none, or those of a measurement by the platform.
  if (volatile.started || pcr.banks.length > 0) checkBanks(permanent, pcr);
  require(volatile.started ||
    !volatile.drtmBeforeStartup ||
    pcr.banks.length > 0, "a measurement without PCR");
  require(Math.abs(volatile.clockRate) <= RATE_LIMIT, `a clock rate of ${volatile.clockRate}`);
  require(volatile.startupLocality === 0 || volatile.startupLocality === 3, "start-up at another locality");

  const { transients, sessions } = volatile;
  require(transients.length <= limits.transientObjects, "more transient objects than there is room for");
  requireUnique(
    transients.map(({ handle }) => handle),
    "a transient object is there",
  );
  for (const { handle, slot } of transients) {
    require(handleType(handle) === Ht.TRANSIENT, `a transient object of handle 0x${handle.toString(16)}`);
    if (slot.kind === "object") checkObject(judge, slot.object);
    else require(isSequence(judge, slot.sequence), "a sequence whose hash state is none");
  }
  require(sessions.length <= limits.loadedSessions, "more sessions than there is room for");
  for (const session of sessions) checkSession(judge, session);
  requireUnique(
    [...sessions, ...reset.savedSessions].map(({ handle }) => sessionNumber(handle)),
    "a session is there",
  );
}
