import { PtPcr } from "@entresol/tpm-types";

/**
 * Which PCR have which property, by the PC Client profile (PTP 1.06, 4.6 "PCR attributes"): one row per TPM_PT_PCR, PCR numbers
 * that have it. TPM_CAP_PCR_PROPERTIES is printed from these rows, in this order.
 */
const all = Array.from({ length: 24 }, (_, pcr) => pcr);
const range = (first: number, last: number): number[] => all.slice(first, last + 1);

export const pcrProperties: ReadonlyMap<number, readonly number[]> = new Map<number, readonly number[]>([
  [PtPcr.SAVE, range(0, 15)],
  [PtPcr.EXTEND_L0, [...range(0, 16), 23]],
  [PtPcr.RESET_L0, [16, 23]],
  [PtPcr.EXTEND_L1, [...range(0, 16), 20, 23]],
  [PtPcr.RESET_L1, [16, 23]],
  [PtPcr.EXTEND_L2, range(0, 23)],
  [PtPcr.RESET_L2, [16, 20, 21, 22, 23]],
  [PtPcr.EXTEND_L3, [...range(0, 20), 23]],
  [PtPcr.RESET_L3, [16, 23]],
  [PtPcr.EXTEND_L4, [...range(0, 18), 23]],
  [PtPcr.RESET_L4, range(17, 22)],
  [PtPcr.NO_INCREMENT, [16, 21, 22, 23]],
  [PtPcr.DRTM_RESET, range(17, 22)],
  [PtPcr.POLICY, [20, 21, 22]],
  [PtPcr.AUTH, [20, 21, 22]],
]);

const sets = new Map([...pcrProperties].map(([property, members]) => [property, new Set(members)]));

/** Has PCR `pcr` the property? */
export function pcrInGroup(property: number, pcr: number): boolean {
  return sets.get(property)?.has(pcr) === true;
}
