import {
  digestSizes,
  ofParameter,
  PCR_COUNT,
  type PcrSelection,
  PtPcr,
  pcrBankHashes,
  Rc,
  Rh,
  TpmError,
} from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { type Engine, withoutTrailingZeros } from "../engine.ts";
import {
  DRTM_PCR,
  extendPcr,
  HCRTM_PCR,
  isSelected,
  readPcrs,
  requireExtendable,
  requireResettable,
  resetPcr,
} from "../pcr.ts";
import { pcrInGroup } from "../pcr-groups.ts";

/* TPM2_PCR_* (Part 3, clause 22). */

/** The digest of an algorithm that is NULL has no bytes. */
const digestSize = (hash: number): number => digestSizes.get(hash) ?? 0;

/** The allocation that power-on would find if it came now. */
function nextAllocation(engine: Engine): readonly PcrSelection[] {
  const { pcrAllocationPending, pcrAllocation } = engine.state.permanent;
  return pcrAllocationPending ?? pcrAllocation;
}

function allocatedBytes(allocation: readonly PcrSelection[]): number {
  let bytes = 0;
  for (const { hash, pcrSelect } of allocation)
    for (let pcr = 0; pcr < PCR_COUNT; pcr++) if (isSelected(pcrSelect, pcr)) bytes += digestSize(hash);
  return bytes;
}

export const pcrCommands = {
  PCR_Extend(engine, { handles: { pcrHandle }, parameters: { digests } }) {
    if (pcrHandle === Rh.NULL) return {};
    requireExtendable(engine, pcrHandle);
    extendPcr(engine, pcrHandle, digests);
    return {};
  },

  PCR_Event(engine, { handles: { pcrHandle }, parameters: { eventData } }) {
    if (pcrHandle !== Rh.NULL) requireExtendable(engine, pcrHandle);
    const digests = pcrBankHashes.map((hashAlg) => ({
      hashAlg,
      digest: engine.crypto.hash(hashAlg, eventData),
    }));
    if (pcrHandle !== Rh.NULL) extendPcr(engine, pcrHandle, digests);
    return { digests };
  },

  PCR_Read(engine, { parameters: { pcrSelectionIn } }) {
    const { selections, values } = readPcrs(engine, pcrSelectionIn);
    return {
      pcrUpdateCounter: engine.state.reset.pcrCounter,
      pcrSelectionOut: selections,
      pcrValues: values,
    };
  },

  PCR_Reset(engine, { handles: { pcrHandle } }) {
    requireResettable(engine, pcrHandle);
    resetPcr(engine, pcrHandle);
    return {};
  },

  /** Banks that the list does not name stay as they are; of one that it names twice the last counts. */
  PCR_Allocate(engine, { parameters: { pcrAllocation } }) {
    const { permanent } = engine.state;
    const wanted = new Map(nextAllocation(engine).map(({ hash, pcrSelect }) => [hash, pcrSelect]));
    for (const { hash, pcrSelect } of pcrAllocation) wanted.set(hash, pcrSelect);
    const allocation = [...wanted].map(([hash, pcrSelect]) => ({ hash, pcrSelect }));
    const selects = (pcr: number): boolean => allocation.some(({ pcrSelect }) => isSelected(pcrSelect, pcr));
    // Without PCR[0] and PCR[17] neither root of trust could be measured.
    if (!selects(HCRTM_PCR) || !selects(DRTM_PCR)) throw new TpmError(Rc.PCR);
    const sizeNeeded = allocatedBytes(allocation);
    const sizeAvailable = pcrBankHashes.reduce((sum, hash) => sum + PCR_COUNT * digestSize(hash), 0);
    const allocationSuccess = allocation.every(({ hash }) => pcrBankHashes.includes(hash));
    if (allocationSuccess) {
      permanent.pcrAllocationPending = allocation;
      engine.nvDirty = true;
    }
    return { allocationSuccess, maxPCR: PCR_COUNT, sizeNeeded, sizeAvailable };
  },

  PCR_SetAuthPolicy(engine, { parameters: { authPolicy, hashAlg, pcrNum } }) {
    if (authPolicy.length !== digestSize(hashAlg)) throw new TpmError(ofParameter(Rc.SIZE, 1));
    if (!pcrInGroup(PtPcr.POLICY, pcrNum)) throw new TpmError(ofParameter(Rc.VALUE, 3));
    engine.state.permanent.pcrPolicy = { alg: hashAlg, digest: authPolicy };
    engine.nvDirty = true;
    return {};
  },

  PCR_SetAuthValue(engine, { handles: { pcrHandle }, parameters: { auth } }) {
    if (!pcrInGroup(PtPcr.AUTH, pcrHandle)) throw new TpmError(Rc.VALUE);
    engine.state.clear.pcrAuth = withoutTrailingZeros(auth);
    return {};
  },
} satisfies Handlers;
