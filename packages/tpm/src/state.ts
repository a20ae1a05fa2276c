import type { Public, Sensitive } from "@entresol/tpm-types";

/*
 * Everything that the TPM remembers, as plain data in four parts that live differently long. The code that works on it is elsewhere; what
 * is computed from it (loaded keys, names of NV indices) is never part of it. `saved-state.ts` writes these down and checks what is read.
 */

/** A policy of a hierarchy, an object or a PCR group: `alg` is `Alg.NULL` when there is none. */
export interface AuthPolicy {
  alg: number;
  digest: Uint8Array;
}

/** A NV index with its content. */
export interface NvIndex {
  handle: number;
  nameAlg: number;
  /** TPMA_NV, type and state bits included. */
  attributes: number;
  authPolicy: Uint8Array;
  authValue: Uint8Array;
  dataSize: number;
  data: Uint8Array;
}

/** An object in a slot: its areas, and where it belongs (Part 1, 27). */
export interface StoredObject {
  publicArea: Public;
  /** Undefined: only the public area was loaded. */
  sensitive: Sensitive | undefined;
  name: Uint8Array;
  qualifiedName: Uint8Array;
  /** Rh.OWNER, ENDORSEMENT, PLATFORM or NULL. */
  hierarchy: number;
  /** Made by CreatePrimary. */
  primary: boolean;
  /** Loaded by LoadExternal. */
  external: boolean;
  /** Its parent, or one above, has stClear set: it does not outlive TPM2_Startup(CLEAR). */
  stClear: boolean;
  /** Derived from a parent by CreateLoaded: it has no private blob. */
  derived: boolean;
}

/** A hash, HMAC or event sequence that is under way, in an object slot (Part 1, 32). */
export interface SequenceState {
  kind: "hash" | "hmac" | "event";
  auth: Uint8Array;
  /** Hash of a hash or HMAC sequence. An event sequence runs one per PCR bank. */
  hashes: { alg: number; state: Uint8Array }[];
  /** Of an HMAC sequence: the key, for the outer hash. A MAC sequence of a block cipher keeps what it was fed in `data`. */
  key: Uint8Array;
  mac: { alg: number; data: Uint8Array } | undefined;
  /** The first block may still turn out to begin with TPM_GENERATED: then there is no ticket. */
  firstBlock: boolean;
  /** A ticket may be given: the data does not begin with TPM_GENERATED. */
  ticketSafe: boolean;
}

export type Slot =
  | { readonly kind: "object"; readonly object: StoredObject }
  | { readonly kind: "sequence"; readonly sequence: SequenceState };

export interface PersistentObject {
  handle: number;
  object: StoredObject;
}

/** What is in NV: it survives everything but what a command changes. */
export interface PermanentState {
  /** Of the way in which primary keys follow from seeds: raised when that changes, so that old seeds go on giving old keys. */
  derivation: number;
  /** Primary seeds, 64 bytes each (Part 1, 14). */
  ownerSeed: Uint8Array;
  endorsementSeed: Uint8Array;
  platformSeed: Uint8Array;
  /** Secrets that tickets and contexts are made with, 64 bytes each. */
  ownerProof: Uint8Array;
  endorsementProof: Uint8Array;
  platformProof: Uint8Array;
  /** Counts changes of seeds, so that a context of before does not load. */
  seedEpoch: number;
  ownerAuth: Uint8Array;
  endorsementAuth: Uint8Array;
  lockoutAuth: Uint8Array;
  ownerPolicy: AuthPolicy;
  endorsementPolicy: AuthPolicy;
  lockoutPolicy: AuthPolicy;
  disableClear: boolean;
  /** The endorsement seed is the one that the TPM made itself. */
  tpmGeneratedEps: boolean;

  /** Dictionary attack (Part 1, 19.8). Times in s. */
  failedTries: number;
  maxTries: number;
  recoveryTime: number;
  lockoutRecovery: number;
  /** lockoutAuth may be tried. */
  lockoutAuthEnabled: boolean;

  /**
   * TPM_SU of the shutdown that was orderly, or `undefined` when power was lost without, or the TPM runs. Bit 15: there was an H-CRTM
   * measurement; bit 14: start-up was at locality 3.
   */
  orderly: number | undefined;
  resetCount: number;
  /** Total resets, as a number that Clear does not set back. */
  totalResetCount: number;
  /** Clock at the last time that it was written down, ms. */
  clock: bigint;
  /** Clock was never told to be later than this (TPMS_CLOCK_INFO.safe). */
  clockSafe: boolean;

  /** Allocated PCR by bank: TPMS_PCR_SELECTION's bit map. */
  pcrAllocation: { hash: number; pcrSelect: Uint8Array }[];
  /** What PCR_Allocate asked for: it holds from the next time that power comes. */
  pcrAllocationPending: { hash: number; pcrSelect: Uint8Array }[] | undefined;
  /** Policy of the PCR group that has one. */
  pcrPolicy: AuthPolicy;
  ppCommands: number[];
  auditCommands: number[];
  auditHash: number;
  auditCounter: bigint;
  algorithmSet: number;

  /** Highest value of a counter that was ever deleted: new counters begin above it. */
  maximumCounter: bigint;
  nvIndices: NvIndex[];
  persistent: PersistentObject[];

  /** What a Shutdown(STATE) kept, for Restart and Resume; undefined after Startup. */
  kept: { clear: ClearState; reset: ResetState; pcr: PcrState } | undefined;
}

/** Initial after TPM Reset and TPM Restart (STATE_CLEAR_DATA). */
export interface ClearState {
  ownerEnable: boolean;
  endorsementEnable: boolean;
  platformEnable: boolean;
  platformNvEnable: boolean;
  platformAuth: Uint8Array;
  platformPolicy: AuthPolicy;
  /** authValue of the PCR group that has one. */
  pcrAuth: Uint8Array;
  /** Read-only mode (Part 1, 1.83). */
  readOnly: boolean;
  acts: ActState[];
}

/** Authenticated countdown timer (Part 1, clause "ACT"). */
export interface ActState {
  /** Handle less Rh.ACT_0. */
  number: number;
  /** Seconds to go; 0: not running. */
  remaining: number;
  signaled: boolean;
  preserveSignaled: boolean;
  /** A timeout was set since the last start-up. */
  updated: boolean;
  policy: AuthPolicy;
}

/** Initial after TPM Reset (STATE_RESET_DATA). */
export interface ResetState {
  nullSeed: Uint8Array;
  nullProof: Uint8Array;
  /** Number of Clear since the last TPM Reset. */
  clearCount: number;
  /** Next id of a saved object context. */
  objectContextId: bigint;
  /** Per session slot: 0 free, a slot number + 1 while loaded, or the counter of the saved context. */
  contextCounter: bigint;
  savedSessions: { handle: number; sequence: bigint }[];
  commandAuditDigest: Uint8Array;
  restartCount: number;
  pcrCounter: number;
  commitNonce: Uint8Array;
  commitCounter: number;
  /** One bit per commit that is outstanding. */
  commitArray: Uint8Array;
}

/** PCR values by bank: 24 digests in a row. */
export interface PcrState {
  banks: { hash: number; values: Uint8Array }[];
}

/** What a session knows (Part 1, 19.6). */
export interface SessionState {
  handle: number;
  kind: "hmac" | "policy" | "trial";
  hash: number;
  /** As in SymmetricDefinition. */
  symmetric: { algorithm: number; keyBits: number; mode: number; hash: number };
  sessionKey: Uint8Array;
  nonceTpm: Uint8Array;
  /** Clock epoch and time (ms) of the start of the session. */
  startTime: bigint;
  epoch: number;
  /** What the session is bound to: Name and authValue; empty when it is not. */
  boundEntity: Uint8Array;
  /** Bound to an entity that dictionary attack protection covers; to lockoutAuth. */
  daBound: boolean;
  lockoutBound: boolean;

  /** Of an audit session. */
  audit: boolean;
  auditDigest: Uint8Array;

  /** Of a policy session. */
  policyDigest: Uint8Array;
  commandCode: number;
  /** 0: any locality. */
  locality: number;
  /** Of which kind is `boundHash`? */
  boundHashKind: "none" | "cpHash" | "nameHash" | "templateHash" | "parameterHash";
  boundHash: Uint8Array;
  /** Time (ms) after which the policy is no longer good; 0: none. */
  timeout: bigint;
  /** pcrUpdateCounter at PolicyPCR; undefined: not used. */
  pcrCounter: number | undefined;
  authValueNeeded: boolean;
  passwordNeeded: boolean;
  presenceRequired: boolean;
  /** Only through a secure channel (PolicyTransportSPDM). */
  channelRequired: boolean;
  /** Wanted state of TPMA_NV.WRITTEN; undefined: not checked. */
  nvWritten: boolean | undefined;
}

/** Lost with power; kept when the state of a running TPM is taken along. */
export interface VolatileState {
  started: boolean;
  /** Locality 3 or 4 was seen at start-up: PCR[0] starts from it. */
  startupLocality: number;
  drtmBeforeStartup: boolean;
  /** The time before this start-up ended with a Shutdown. */
  startedOrderly: boolean;
  /** Time since power-on, ms, and its epoch: another number each time, so that no time of before is taken for one of now. */
  time: bigint;
  timeEpoch: number;
  /** By how many 1/30000 Time and Clock are faster than the time source; slower when negative. */
  clockRate: number;
  physicalPresence: boolean;
  /** Transient objects by handle. */
  transients: { handle: number; slot: Slot }[];
  sessions: SessionState[];
  /** The exclusive audit session; undefined: none. */
  exclusiveSession: number | undefined;
  /** Seconds' remainders of the self-healing and lockout timers, as times (ms). */
  selfHealTime: bigint;
  lockoutTime: bigint;
  selfTestDone: boolean;
  lastFailure: { function: number; line: number; code: number } | undefined;
}

export interface TpmState {
  permanent: PermanentState;
  clear: ClearState;
  reset: ResetState;
  pcr: PcrState;
  volatile: VolatileState;
}

export const noPolicy = (): AuthPolicy => ({ alg: 0x0010, digest: new Uint8Array(0) });
