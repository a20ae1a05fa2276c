import {
  digestSizes,
  PCR_COUNT,
  type PcrSelection,
  PtPcr,
  Rc,
  TpmError,
  type TpmtHa,
} from "@entresol/tpm-types";
import type { Engine } from "./engine.ts";
import { pcrInGroup } from "./pcr-groups.ts";

/* The PCR: banks of 24 digests each, what may change them, and digests of them (Part 1, clause 17; PC Client profile). */

/** Where the core root of trust is measured before start-up, and the D-RTM after (PC Client profile). */
export const HCRTM_PCR = 0;
export const DRTM_PCR = 17;
/** Digests that one PCR_Read gives at most (TPML_DIGEST). */
const READ_MAXIMUM = 8;

export function isSelected(pcrSelect: Uint8Array, pcr: number): boolean {
  return ((pcrSelect[pcr >>> 3] ?? 0) & (1 << (pcr & 7))) !== 0;
}

/** The value of a PCR in a bank, to be looked at or written to; undefined when it is not allocated. */
export function pcrValue(engine: Engine, hash: number, pcr: number): Uint8Array | undefined {
  const { permanent, pcr: state } = engine.state;
  const allocation = permanent.pcrAllocation.find((bank) => bank.hash === hash);
  if (allocation === undefined || !isSelected(allocation.pcrSelect, pcr)) return undefined;
  const size = digestSizes.get(hash)!;
  return state.banks.find((bank) => bank.hash === hash)?.values.subarray(pcr * size, (pcr + 1) * size);
}

/** Gives every bank that the allocation names its room, all zero. What is there already stays. */
export function allocateBanks(engine: Engine): void {
  const { permanent, pcr } = engine.state;
  pcr.banks = permanent.pcrAllocation.map(({ hash }) => {
    const bank = pcr.banks.find((other) => other.hash === hash);
    return bank ?? { hash, values: new Uint8Array(PCR_COUNT * digestSizes.get(hash)!) };
  });
}

/** Counts a change of a PCR, unless changes of its kind are not counted (Part 1, 17.9). */
function countChange(engine: Engine, pcr: number): void {
  if (pcrInGroup(PtPcr.NO_INCREMENT, pcr)) return;
  const { reset } = engine.state;
  reset.pcrCounter = (reset.pcrCounter + 1) >>> 0;
}

/** As TPM2_Clear asks for: policies that were bound to the counter are void. */
export function countPcrUpdate(engine: Engine): void {
  countChange(engine, HCRTM_PCR);
}

/** Extends the PCR by each digest, in the bank of its hash; one of a bank that is not allocated is passed over. */
export function extendPcr(engine: Engine, pcr: number, digests: readonly TpmtHa[]): void {
  for (const { hashAlg, digest } of digests) {
    const value = pcrValue(engine, hashAlg, pcr);
    if (value === undefined) continue;
    value.set(engine.crypto.hash(hashAlg, value, digest));
    countChange(engine, pcr);
  }
}

/** Sets the PCR in all banks to `first` repeated, and `last` at the end. */
export function setPcr(engine: Engine, pcr: number, first: number, last: number): void {
  for (const { hash } of engine.state.permanent.pcrAllocation) {
    const value = pcrValue(engine, hash, pcr);
    if (value === undefined) continue;
    value.fill(first);
    value[value.length - 1] = last;
  }
}

/** TPM2_PCR_Reset: to zero, and counted. */
export function resetPcr(engine: Engine, pcr: number): void {
  setPcr(engine, pcr, 0, 0);
  countChange(engine, pcr);
}

/** PCR that locality 4 resets go to zero when a D-RTM begins (Part 1, 34.3). */
export function resetDynamicPcrs(engine: Engine): void {
  for (let pcr = 0; pcr < PCR_COUNT; pcr++) if (pcrInGroup(PtPcr.DRTM_RESET, pcr)) setPcr(engine, pcr, 0, 0);
}

const extendAt = [PtPcr.EXTEND_L0, PtPcr.EXTEND_L1, PtPcr.EXTEND_L2, PtPcr.EXTEND_L3, PtPcr.EXTEND_L4];
const resetAt = [PtPcr.RESET_L0, PtPcr.RESET_L1, PtPcr.RESET_L2, PtPcr.RESET_L3];

/** Throws TPM_RC_LOCALITY when the locality of the command may not extend the PCR. */
export function requireExtendable(engine: Engine, pcr: number): void {
  const property = extendAt[engine.locality];
  if (property === undefined || !pcrInGroup(property, pcr)) throw new TpmError(Rc.LOCALITY);
}

/** Throws TPM_RC_LOCALITY when the locality of the command may not reset the PCR. Locality 4 resets by the D-RTM sequence only. */
export function requireResettable(engine: Engine, pcr: number): void {
  const property = resetAt[engine.locality];
  if (property === undefined || !pcrInGroup(property, pcr)) throw new TpmError(Rc.LOCALITY);
}

/** The selection without what is not allocated. */
function allocatedOf(engine: Engine, { hash, pcrSelect }: PcrSelection): PcrSelection {
  const allocation = engine.state.permanent.pcrAllocation.find((bank) => bank.hash === hash);
  return { hash, pcrSelect: pcrSelect.map((byte, i) => byte & (allocation?.pcrSelect[i] ?? 0)) };
}

function* selected({ pcrSelect }: PcrSelection): Generator<number> {
  for (let pcr = 0; pcr < PCR_COUNT; pcr++) if (isSelected(pcrSelect, pcr)) yield pcr;
}

/** Digest by `hash` of the selected PCR in their order, and the selection reduced to what is allocated (Part 1, 17.5; Part 2, 10.6.2). */
export function pcrDigest(
  engine: Engine,
  hash: number,
  selections: readonly PcrSelection[],
): { digest: Uint8Array; selections: readonly PcrSelection[] } {
  const allocated = selections.map((selection) => allocatedOf(engine, selection));
  const values = allocated.flatMap((selection) =>
    Array.from(selected(selection), (pcr) => pcrValue(engine, selection.hash, pcr)!),
  );
  return { digest: engine.crypto.hash(hash, ...values), selections: allocated };
}

/** Values of the selected PCR, eight at most, and the selection reduced to what was given. */
export function readPcrs(
  engine: Engine,
  selections: readonly PcrSelection[],
): { selections: readonly PcrSelection[]; values: readonly Uint8Array[] } {
  const values: Uint8Array[] = [];
  const given = selections.map((selection) => {
    const allocated = allocatedOf(engine, selection);
    const pcrSelect = new Uint8Array(allocated.pcrSelect.length);
    for (const pcr of selected(allocated)) {
      if (values.length === READ_MAXIMUM) break;
      values.push(pcrValue(engine, allocated.hash, pcr)!.slice());
      pcrSelect[pcr >>> 3]! |= 1 << (pcr & 7);
    }
    return { hash: allocated.hash, pcrSelect };
  });
  return { selections: given, values };
}

/**
 * The PCR as TPM2_Startup leaves them (Part 3, 9.3): those that a locality-4 event resets are all ones, the others zero, PCR[0] ends in the
 * start-up locality. `saved`: a Resume brings back the values that Shutdown kept. `hcrtm`: PCR[0] holds what was measured before.
 */
export function startPcrs(
  engine: Engine,
  saved: readonly { readonly hash: number; readonly values: Uint8Array }[] | undefined,
  locality: number,
  hcrtm: boolean,
): void {
  allocateBanks(engine);
  for (let pcr = 0; pcr < PCR_COUNT; pcr++) {
    if (saved !== undefined && pcrInGroup(PtPcr.SAVE, pcr)) {
      for (const { hash, values } of saved) {
        const size = digestSizes.get(hash)!;
        pcrValue(engine, hash, pcr)?.set(values.subarray(pcr * size, (pcr + 1) * size));
      }
      continue;
    }
    countChange(engine, pcr);
    if (pcr === HCRTM_PCR) {
      if (!hcrtm) setPcr(engine, pcr, 0, locality);
    } else if (pcrInGroup(PtPcr.DRTM_RESET, pcr)) {
      setPcr(engine, pcr, 0xff, 0xff);
    } else {
      setPcr(engine, pcr, 0, 0);
    }
  }
}
