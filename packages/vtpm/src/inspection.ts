import type { NvIndex, PcrState, PermanentState, RunningState, Slot, StoredObject } from "@entresol/tpm";
import {
  Alg,
  algorithmName,
  Curve,
  commandOf,
  digestSizes,
  NV_TYPE_SHIFT,
  NvAttribute,
  ObjectAttribute,
  Rh,
} from "@entresol/tpm-types";

/*
 * A TPM's state for people and programs: which objects, sessions, NV indices and PCRs there are. Only names, kinds and settings: no seed, no
 * proof, no authValue, no sensitive area and no content of an NV index is ever part of it.
 */

const handleText = (handle: number): string => `0x${(handle >>> 0).toString(16).padStart(8, "0")}`;
const bytesText = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const nvTypes: Readonly<Record<number, string>> = {
  0: "ordinary",
  1: "counter",
  2: "bits",
  4: "extend",
  8: "pinFail",
  9: "pinPass",
};

function attributeNames(table: Readonly<Record<string, number>>, value: number): string[] {
  return Object.entries(table).flatMap(([name, bit]) => ((value & bit) !== 0 ? [name] : []));
}

const curves = new Map<number, string>(Object.entries(Curve).map(([name, id]) => [id, name]));

const hierarchies: Readonly<Record<number, string>> = {
  [Rh.OWNER]: "owner",
  [Rh.NULL]: "null",
  [Rh.ENDORSEMENT]: "endorsement",
  [Rh.PLATFORM]: "platform",
};

function keyText({ publicArea }: StoredObject): string {
  const type = algorithmName(publicArea.type);
  switch (publicArea.type) {
    case Alg.RSA:
      return `${type} ${publicArea.parameters.keyBits}`;
    case Alg.ECC:
      return `${type} ${curves.get(publicArea.parameters.curveID) ?? publicArea.parameters.curveID}`;
    default:
      return type;
  }
}

function objectView(handle: number, object: StoredObject) {
  return {
    handle: handleText(handle),
    kind: keyText(object),
    hierarchy: hierarchies[object.hierarchy] ?? handleText(object.hierarchy),
    nameAlg: algorithmName(object.publicArea.nameAlg),
    name: bytesText(object.name),
    attributes: attributeNames(ObjectAttribute, object.publicArea.objectAttributes),
    policy: object.publicArea.authPolicy.length > 0,
    publicOnly: object.sensitive === undefined,
  };
}

function slotView({ handle, slot }: { readonly handle: number; readonly slot: Slot }) {
  if (slot.kind === "object") return objectView(handle, slot.object);
  return {
    handle: handleText(handle),
    kind: `${slot.sequence.kind} sequence`,
    hashes: slot.sequence.hashes.map(({ alg }) => algorithmName(alg)),
  };
}

function nvView(index: NvIndex) {
  const type = (index.attributes >>> NV_TYPE_SHIFT) & 0xf;
  return {
    handle: handleText(index.handle),
    kind: nvTypes[type] ?? `type ${type}`,
    size: index.dataSize,
    nameAlg: algorithmName(index.nameAlg),
    attributes: attributeNames(NvAttribute, index.attributes),
    policy: index.authPolicy.length > 0,
    authValue: index.authValue.length > 0,
  };
}

function pcrView({ banks }: PcrState) {
  return Object.fromEntries(
    banks.map(({ hash, values }) => {
      const size = digestSizes.get(hash) ?? values.length;
      const digests = Array.from({ length: Math.floor(values.length / size) }, (_, i) =>
        bytesText(values.subarray(i * size, (i + 1) * size)),
      );
      return [algorithmName(hash), digests];
    }),
  );
}

function allocatedBanks(allocation: PermanentState["pcrAllocation"]): string[] {
  return allocation
    .filter(({ pcrSelect }) => pcrSelect.some((byte) => byte !== 0))
    .map(({ hash }) => algorithmName(hash));
}

function runningView({ clear, reset, pcr, volatile }: RunningState) {
  return {
    started: volatile.started,
    restartCount: reset.restartCount,
    hierarchies: {
      owner: clear.ownerEnable,
      endorsement: clear.endorsementEnable,
      platform: clear.platformEnable,
    },
    readOnly: clear.readOnly,
    objects: volatile.transients.map(slotView),
    sessions: volatile.sessions.map((session) => ({
      handle: handleText(session.handle),
      kind: session.kind,
      hash: algorithmName(session.hash),
      bound: session.boundEntity.length > 0,
      audit: session.audit,
      ...(session.kind === "hmac" ? {} : { policyDigest: bytesText(session.policyDigest) }),
    })),
    savedSessions: reset.savedSessions.map(({ handle }) => handleText(handle)),
    pcr: pcrView(pcr),
  };
}

/** What a state folder or a running TPM holds. `running` is what would be lost with power; undefined: none was stored. */
export function inspect(permanent: PermanentState, running: RunningState | undefined) {
  return {
    derivation: permanent.derivation,
    resetCount: permanent.resetCount,
    clock: permanent.clock.toString(),
    orderly: permanent.orderly !== undefined,
    disableClear: permanent.disableClear,
    authValues: {
      owner: permanent.ownerAuth.length > 0,
      endorsement: permanent.endorsementAuth.length > 0,
      lockout: permanent.lockoutAuth.length > 0,
    },
    dictionaryAttack: {
      failedTries: permanent.failedTries,
      maxTries: permanent.maxTries,
      recoveryTime: permanent.recoveryTime,
      lockoutRecovery: permanent.lockoutRecovery,
    },
    pcrBanks: allocatedBanks(permanent.pcrAllocation),
    ...(permanent.pcrAllocationPending === undefined
      ? {}
      : { pcrBanksAfterReset: allocatedBanks(permanent.pcrAllocationPending) }),
    auditedCommands: permanent.auditCommands.map((code) => commandOf(code)?.name ?? handleText(code)),
    nvIndices: permanent.nvIndices.map(nvView),
    persistent: permanent.persistent.map(({ handle, object }) => objectView(handle, object)),
    running: running === undefined ? undefined : runningView(running),
  };
}

export type Inspection = ReturnType<typeof inspect>;
