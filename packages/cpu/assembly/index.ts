// The module's exports: what the host may call. None of them may be called from inside an import.
import * as mmu from "./mmu";
import * as blocks from "./blocks";
import { recomputeDerived, resetState, startupState } from "./reset";

export { run, adoptContext } from "./run";
export { resolveFault, interrupt, nonMaskableInterrupt, canInterrupt, canNonMaskable } from "./interrupts";
export { codeWritten } from "./blocks";
export { getFlags, setFlags } from "./flags";

/** Forgets every block and translation: RAM was replaced. */
export function forgetAll(): void { blocks.reset(); mmu.flushTlb(); }
export function resetContext(kind: u32): void { resetState(kind); }
export function startup(vector: u32): void { startupState(vector); }
export function applyRegisters(): void { recomputeDerived(); }
