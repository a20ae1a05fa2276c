import { Alg, commands, pcrBankHashes, Su } from "@entresol/tpm-types";
import type { CryptoProvider } from "./crypto/provider.ts";
import { PRIMARY_SEED_SIZE, PROOF_SIZE } from "./engine.ts";
import { initialLockout } from "./lockout.ts";
import {
  type ActState,
  type ClearState,
  noPolicy,
  type PcrState,
  type PermanentState,
  type ResetState,
  type TpmState,
  type VolatileState,
} from "./state.ts";

/* The states that a TPM begins with: as it leaves the factory, and what each kind of start-up makes anew. */

/** The way in which keys follow from seeds today. */
export const CURRENT_DERIVATION = 1;

/** Timers that there are: ACT 0 and 1. */
const actNumbers: readonly number[] = [0, 1];

/** Commands that need physical presence as long as PP_Commands says nothing else. */
const presenceAtFirst: readonly number[] = [commands.PP_Commands.code];

export function manufacture(crypto: CryptoProvider): PermanentState {
  const seed = (): Uint8Array => crypto.random(PRIMARY_SEED_SIZE);
  const proof = (): Uint8Array => crypto.random(PROOF_SIZE);
  return {
    derivation: CURRENT_DERIVATION,
    ownerSeed: seed(),
    endorsementSeed: seed(),
    platformSeed: seed(),
    ownerProof: proof(),
    endorsementProof: proof(),
    platformProof: proof(),
    seedEpoch: 0,
    ownerAuth: new Uint8Array(0),
    endorsementAuth: new Uint8Array(0),
    lockoutAuth: new Uint8Array(0),
    ownerPolicy: noPolicy(),
    endorsementPolicy: noPolicy(),
    lockoutPolicy: noPolicy(),
    disableClear: false,
    tpmGeneratedEps: true,
    ...initialLockout,
    // A new TPM has lost nothing.
    orderly: Su.CLEAR,
    resetCount: 0,
    totalResetCount: 0,
    clock: 0n,
    clockSafe: true,
    pcrAllocation: pcrBankHashes.map((hash) => ({ hash, pcrSelect: Uint8Array.of(0xff, 0xff, 0xff) })),
    pcrAllocationPending: undefined,
    pcrPolicy: noPolicy(),
    ppCommands: [...presenceAtFirst],
    auditCommands: [],
    auditHash: Alg.SHA512,
    auditCounter: 0n,
    algorithmSet: 0,
    maximumCounter: 0n,
    nvIndices: [],
    persistent: [],
    kept: undefined,
  };
}

export function initialClearState(): ClearState {
  return {
    ownerEnable: true,
    endorsementEnable: true,
    platformEnable: true,
    platformNvEnable: true,
    platformAuth: new Uint8Array(0),
    platformPolicy: noPolicy(),
    pcrAuth: new Uint8Array(0),
    readOnly: false,
    acts: actNumbers.map(initialAct),
  };
}

function initialAct(number: number): ActState {
  return {
    number,
    remaining: 0,
    signaled: false,
    preserveSignaled: false,
    updated: false,
    policy: noPolicy(),
  };
}

/** Bytes of the array of outstanding commits: one bit each. */
export const COMMIT_ARRAY_SIZE = 16;

export function initialResetState(crypto: CryptoProvider): ResetState {
  return {
    nullSeed: crypto.random(PRIMARY_SEED_SIZE),
    nullProof: crypto.random(PROOF_SIZE),
    clearCount: 0,
    objectContextId: 1n,
    contextCounter: 1n,
    savedSessions: [],
    commandAuditDigest: new Uint8Array(0),
    restartCount: 0,
    pcrCounter: 0,
    commitNonce: crypto.random(PROOF_SIZE),
    commitCounter: 0,
    commitArray: new Uint8Array(COMMIT_ARRAY_SIZE),
  };
}

/** As after power-on, before TPM2_Startup. */
export function initialVolatileState(crypto: CryptoProvider): VolatileState {
  return {
    started: false,
    startupLocality: 0,
    drtmBeforeStartup: false,
    startedOrderly: true,
    time: 0n,
    timeEpoch: new DataView(crypto.random(4).slice().buffer).getUint32(0),
    clockRate: 0,
    physicalPresence: false,
    transients: [],
    sessions: [],
    exclusiveSession: undefined,
    selfHealTime: 0n,
    lockoutTime: 0n,
    selfTestDone: false,
    lastFailure: undefined,
  };
}

/** A TPM that has just been given power. Start-up decides what of the parts besides `permanent` stays. */
export function poweredOn(crypto: CryptoProvider, permanent: PermanentState): TpmState {
  if (permanent.pcrAllocationPending !== undefined) {
    permanent.pcrAllocation = permanent.pcrAllocationPending;
    permanent.pcrAllocationPending = undefined;
  }
  const pcr: PcrState = { banks: [] };
  return {
    permanent,
    clear: initialClearState(),
    reset: initialResetState(crypto),
    pcr,
    volatile: initialVolatileState(crypto),
  };
}
