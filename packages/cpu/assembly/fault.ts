import { CR2, FAULT_ERROR, FAULT_VECTOR } from "./layout";
import { raise } from "./host";

/*
 * Faults. An instruction that faults calls one of these *before* it has changed any register, flag or memory that
 * the guest could see; the host's exception unwinds the wasm frames and `resolveFault` delivers.
 */

export const DE: u32 = 0, DB: u32 = 1, NMI: u32 = 2, BP: u32 = 3, OF: u32 = 4, BR: u32 = 5, UD: u32 = 6, NM: u32 = 7;
export const DF: u32 = 8, TS: u32 = 10, NP: u32 = 11, SS: u32 = 12, GP: u32 = 13, PF: u32 = 14, MF: u32 = 16, AC: u32 = 17, XM: u32 = 19;

/** Raises `vector`. `error` is pushed only for the vectors that have an error code. Never returns. */
export function fault(vector: u32, error: u32): void {
  store<u32>(FAULT_VECTOR, vector);
  store<u32>(FAULT_ERROR, error);
  raise();
  unreachable();
}
/** #GP(0) */
export function generalProtection(): void { fault(GP, 0); }
/** #UD */
export function invalidOpcode(): void { fault(UD, 0); }
/** #PF with CR2 = `linear`. */
export function pageFault(linear: u64, error: u32): void {
  store<u64>(CR2, linear);
  fault(PF, error);
}
