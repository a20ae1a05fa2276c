import {
  checked,
  digestSizes,
  INT32,
  list,
  Max,
  Rc,
  sizedBytes,
  structure,
  TPM2B_DIGEST,
  TPM2B_NAME,
  TPM2B_NONCE,
  TPMA_NV,
  TPMI_ALG_HASH,
  TPMI_ALG_HASH_NULL,
  TPMI_YES_NO,
  TPMT_PUBLIC_NULL,
  TPMT_SENSITIVE,
  TPMT_SYM_DEF,
  TpmError,
  TpmReader,
  TpmWriter,
  type Type,
  UINT8,
  UINT16,
  UINT32,
  UINT64,
} from "@entresol/tpm-types";
import { EntresolError } from "@entresol/wire";
import { RATE_LIMIT } from "./clock.ts";
import { PRIMARY_SEED_SIZE, PROOF_SIZE } from "./engine.ts";
import { CURRENT_DERIVATION } from "./manufacture.ts";
import { isSoundNv } from "./nv.ts";
import type {
  ActState,
  AuthPolicy,
  ClearState,
  NvIndex,
  PcrState,
  PermanentState,
  PersistentObject,
  ResetState,
  SequenceState,
  SessionState,
  Slot,
  StoredObject,
  VolatileState,
} from "./state.ts";

/*
 * The state as bytes: big-endian fields in the order of the tables below, by the same small types that commands are marshalled by, so every
 * length, number and algorithm that is read is checked. "permanent" is what NV holds; "volatile" is the rest of a running TPM.
 */

/** What can be wrong with a saved state. */
export type TpmStateCode = "bad-magic" | "bad-version" | "malformed" | "wrong-key" | "rolled-back";

/** Thrown for bytes that are no saved state of this engine; nothing has been changed then. */
export class TpmStateError extends EntresolError<TpmStateCode> {
  override readonly name = "TpmStateError";
}

/** Raised with every change of the tables below; older versions stay readable. */
export const STATE_VERSION = 1;
const MAGIC = 0x454e_5450; // "ENTP"
type Kind = 1 | 2;
const PERMANENT: Kind = 1;
const VOLATILE: Kind = 2;

function optional<T>(type: Type<T>): Type<T | undefined> {
  return {
    name: `${type.name}?`,
    read: (reader) => (TPMI_YES_NO.read(reader) ? type.read(reader) : undefined),
    write(writer, value) {
      TPMI_YES_NO.write(writer, value !== undefined);
      if (value !== undefined) type.write(writer, value);
    },
  };
}

/** One of a few words, written as its place in the list. */
function word<const W extends string>(...words: readonly W[]): Type<W> {
  return {
    name: words.join("|"),
    read(reader) {
      const value = words[reader.u8()];
      if (value === undefined) throw new TpmError(Rc.VALUE);
      return value;
    },
    write: (writer, value) => void writer.u8(words.indexOf(value)),
  };
}

/** Bytes whose number is known. */
function fixed(length: number): Type<Uint8Array> {
  return {
    name: `BYTE[${length}]`,
    read: (reader) => reader.take(length),
    write: (writer, value) => void writer.bytes(value),
  };
}

/** The lists are the engine's own and change: a table gives them as such. */
function many<T>(type: Type<T>, maximum: number): Type<T[]> {
  return list(type.name, type, maximum) as Type<T[]>;
}

const policy: Type<AuthPolicy> = structure("policy", { alg: TPMI_ALG_HASH_NULL, digest: TPM2B_DIGEST });
const seed = fixed(PRIMARY_SEED_SIZE);
const proof = fixed(PROOF_SIZE);

const storedObject: Type<StoredObject> = structure("object", {
  publicArea: TPMT_PUBLIC_NULL,
  sensitive: optional(TPMT_SENSITIVE),
  name: TPM2B_NAME,
  qualifiedName: TPM2B_NAME,
  hierarchy: UINT32,
  primary: TPMI_YES_NO,
  external: TPMI_YES_NO,
  stClear: TPMI_YES_NO,
  derived: TPMI_YES_NO,
});

const nvIndex: Type<NvIndex> = (() => {
  const fields: Type<NvIndex> = structure("nvIndex", {
    handle: UINT32,
    nameAlg: TPMI_ALG_HASH,
    attributes: TPMA_NV,
    authPolicy: TPM2B_DIGEST,
    authValue: TPM2B_DIGEST,
    dataSize: UINT16,
    data: sizedBytes("data", Max.NV_INDEX),
  });
  return {
    ...fields,
    read(reader) {
      const index = fields.read(reader);
      if (!isSoundNv(index)) throw new TpmError(Rc.VALUE);
      return index;
    },
  };
})();

/** Objects never change, and those that are persistent are written down with every change of NV. */
const writtenObjects = new WeakMap<StoredObject, Uint8Array>();
const persistentObject: Type<PersistentObject> = structure("persistent", {
  handle: UINT32,
  object: {
    ...storedObject,
    write(writer, object) {
      let written = writtenObjects.get(object);
      if (written === undefined) {
        const own = new TpmWriter(1024);
        storedObject.write(own, object);
        written = own.finish();
        writtenObjects.set(object, written);
      }
      writer.bytes(written);
    },
  } satisfies Type<StoredObject>,
});

/** Bytes of a running hash that is written down. */
const runningHash = sizedBytes("runningHash", 512);
const sequence: Type<SequenceState> = structure("sequence", {
  kind: word("hash", "hmac", "event"),
  auth: TPM2B_DIGEST,
  hashes: many(structure("running", { alg: TPMI_ALG_HASH, state: runningHash }), digestSizes.size),
  key: sizedBytes("key", 256),
  mac: optional(structure("mac", { alg: UINT16, data: sizedBytes("data", 0xffff) })),
  firstBlock: TPMI_YES_NO,
  ticketSafe: TPMI_YES_NO,
});

const slot: Type<Slot> = {
  name: "slot",
  read(reader) {
    return TPMI_YES_NO.read(reader)
      ? { kind: "sequence", sequence: sequence.read(reader) }
      : { kind: "object", object: storedObject.read(reader) };
  },
  write(writer, value) {
    TPMI_YES_NO.write(writer, value.kind === "sequence");
    if (value.kind === "sequence") sequence.write(writer, value.sequence);
    else storedObject.write(writer, value.object);
  },
};

const act: Type<ActState> = structure("act", {
  number: UINT8,
  remaining: UINT32,
  signaled: TPMI_YES_NO,
  preserveSignaled: TPMI_YES_NO,
  updated: TPMI_YES_NO,
  policy,
});

const clearState: Type<ClearState> = structure("clear", {
  ownerEnable: TPMI_YES_NO,
  endorsementEnable: TPMI_YES_NO,
  platformEnable: TPMI_YES_NO,
  platformNvEnable: TPMI_YES_NO,
  platformAuth: TPM2B_DIGEST,
  platformPolicy: policy,
  pcrAuth: TPM2B_DIGEST,
  readOnly: TPMI_YES_NO,
  acts: many(act, 16),
});

const resetState: Type<ResetState> = structure("reset", {
  nullSeed: seed,
  nullProof: proof,
  clearCount: UINT32,
  objectContextId: UINT64,
  contextCounter: UINT64,
  savedSessions: many(structure("saved", { handle: UINT32, sequence: UINT64 }), 256),
  commandAuditDigest: TPM2B_DIGEST,
  restartCount: UINT32,
  pcrCounter: UINT32,
  commitNonce: proof,
  commitCounter: UINT32,
  commitArray: sizedBytes("commitArray", 64),
});

const PCR_TOTAL = 24;
const bank: Type<PcrState["banks"][number]> = {
  name: "bank",
  read(reader) {
    const hash = TPMI_ALG_HASH.read(reader);
    return { hash, values: reader.take(PCR_TOTAL * digestSizes.get(hash)!) };
  },
  write: (writer, { hash, values }) => void writer.u16(hash).bytes(values),
};
const pcrState: Type<PcrState> = structure("pcr", { banks: many(bank, digestSizes.size) });

const allocation = structure("allocation", { hash: TPMI_ALG_HASH, pcrSelect: fixed(3) });

const keptState: Type<NonNullable<PermanentState["kept"]>> = structure("kept", {
  clear: clearState,
  reset: resetState,
  pcr: pcrState,
});

const permanentState: Type<PermanentState> = structure("permanent", {
  derivation: UINT16,
  ownerSeed: seed,
  endorsementSeed: seed,
  platformSeed: seed,
  ownerProof: proof,
  endorsementProof: proof,
  platformProof: proof,
  seedEpoch: UINT32,
  ownerAuth: TPM2B_DIGEST,
  endorsementAuth: TPM2B_DIGEST,
  lockoutAuth: TPM2B_DIGEST,
  ownerPolicy: policy,
  endorsementPolicy: policy,
  lockoutPolicy: policy,
  disableClear: TPMI_YES_NO,
  tpmGeneratedEps: TPMI_YES_NO,
  failedTries: UINT32,
  maxTries: UINT32,
  recoveryTime: UINT32,
  lockoutRecovery: UINT32,
  lockoutAuthEnabled: TPMI_YES_NO,
  orderly: optional(UINT16),
  resetCount: UINT32,
  totalResetCount: UINT32,
  clock: UINT64,
  clockSafe: TPMI_YES_NO,
  pcrAllocation: many(allocation, digestSizes.size),
  pcrAllocationPending: optional(many(allocation, digestSizes.size)),
  pcrPolicy: policy,
  ppCommands: many(UINT32, 256),
  auditCommands: many(UINT32, 256),
  auditHash: TPMI_ALG_HASH_NULL,
  auditCounter: UINT64,
  algorithmSet: UINT32,
  maximumCounter: UINT64,
  nvIndices: many(nvIndex, 1024),
  persistent: many(persistentObject, 1024),
  kept: optional(keptState),
});

const session: Type<SessionState> = structure("session", {
  handle: UINT32,
  kind: word("hmac", "policy", "trial"),
  hash: TPMI_ALG_HASH,
  symmetric: TPMT_SYM_DEF,
  sessionKey: TPM2B_DIGEST,
  nonceTpm: TPM2B_NONCE,
  startTime: UINT64,
  epoch: UINT32,
  boundEntity: sizedBytes("boundEntity", 2 + 2 * Max.DIGEST),
  daBound: TPMI_YES_NO,
  lockoutBound: TPMI_YES_NO,
  audit: TPMI_YES_NO,
  auditDigest: TPM2B_DIGEST,
  policyDigest: TPM2B_DIGEST,
  commandCode: UINT32,
  locality: UINT8,
  boundHashKind: word("none", "cpHash", "nameHash", "templateHash", "parameterHash"),
  boundHash: TPM2B_DIGEST,
  timeout: UINT64,
  pcrCounter: optional(UINT32),
  authValueNeeded: TPMI_YES_NO,
  passwordNeeded: TPMI_YES_NO,
  presenceRequired: TPMI_YES_NO,
  channelRequired: TPMI_YES_NO,
  nvWritten: optional(TPMI_YES_NO),
});

const volatileState: Type<VolatileState> = structure("volatile", {
  started: TPMI_YES_NO,
  startupLocality: UINT8,
  drtmBeforeStartup: TPMI_YES_NO,
  startedOrderly: TPMI_YES_NO,
  time: UINT64,
  timeEpoch: UINT32,
  clockRate: checked(INT32, "clockRate", Rc.VALUE, (rate) => Math.abs(rate) <= RATE_LIMIT),
  physicalPresence: TPMI_YES_NO,
  transients: many(structure("transient", { handle: UINT32, slot }), 256),
  sessions: many(session, 256),
  exclusiveSession: optional(UINT32),
  selfHealTime: UINT64,
  lockoutTime: UINT64,
  selfTestDone: TPMI_YES_NO,
  lastFailure: optional(structure("failure", { function: UINT32, line: UINT32, code: UINT32 })),
});

/** All that a running TPM has besides its permanent state. */
export interface RunningState {
  clear: ClearState;
  reset: ResetState;
  pcr: PcrState;
  volatile: VolatileState;
}
const runningState: Type<RunningState> = structure("running", {
  clear: clearState,
  reset: resetState,
  pcr: pcrState,
  volatile: volatileState,
});

/** For saved contexts, which hold one of these each. */
export const savedTypes = { slot, session } as const;

function encode<T>(kind: Kind, type: Type<T>, value: T): Uint8Array {
  const writer = new TpmWriter(4096);
  writer.u32(MAGIC).u16(STATE_VERSION).u8(kind);
  type.write(writer, value);
  return writer.finish();
}

function decode<T>(kind: Kind, type: Type<T>, bytes: Uint8Array): T {
  const reader = new TpmReader(bytes);
  try {
    if (reader.u32() !== MAGIC)
      throw new TpmStateError("bad-magic", "these bytes are no state of this TPM engine");
    const version = reader.u16();
    if (version !== STATE_VERSION)
      throw new TpmStateError(
        "bad-version",
        `state of version ${version}; this build reads ${STATE_VERSION}`,
      );
    if (reader.u8() !== kind)
      throw new TpmStateError("bad-magic", "permanent and volatile state were taken for each other");
    const value = type.read(reader);
    if (reader.remaining > 0) throw new TpmError(Rc.SIZE);
    return value;
  } catch (error) {
    if (!(error instanceof TpmError)) throw error;
    throw new TpmStateError("malformed", `state is damaged at offset ${reader.offset}: ${error.message}`, {
      cause: error,
    });
  }
}

export function encodePermanent(permanent: PermanentState): Uint8Array {
  return encode(PERMANENT, permanentState, permanent);
}

/** Throws `TpmStateError`. A state of a newer way of deriving keys is refused: it would give other keys. */
export function decodePermanent(bytes: Uint8Array): PermanentState {
  const permanent = decode(PERMANENT, permanentState, bytes);
  if (permanent.derivation < 1 || permanent.derivation > CURRENT_DERIVATION)
    throw new TpmStateError(
      "bad-version",
      `keys are derived in way ${permanent.derivation}; this build knows 1 to ${CURRENT_DERIVATION}`,
    );
  return permanent;
}

/** What a Shutdown(STATE) keeps, to be compared. */
export function encodeKept(kept: NonNullable<PermanentState["kept"]>): Uint8Array {
  const writer = new TpmWriter(4096);
  keptState.write(writer, kept);
  return writer.finish();
}

export function encodeRunning(state: RunningState): Uint8Array {
  return encode(VOLATILE, runningState, state);
}

/** Throws `TpmStateError`. */
export function decodeRunning(bytes: Uint8Array): RunningState {
  return decode(VOLATILE, runningState, bytes);
}
