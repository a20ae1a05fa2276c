import { modeChanged } from "./blocks";
import { updateArmed } from "./debug";
import { setFlags } from "./flags";
import {
  ACTIVITY, ACTIVITY_RUNNING, ACTIVITY_WAIT_SIPI, CPL, CR0, CR2, CR3, CR4, DEBUG_PENDING, DR, EFER, GDTR_BASE, GDTR_LIMIT, GPR, IDTR_BASE, IDTR_LIMIT,
  LDTR_ATTRIBUTES, LDTR_BASE, LDTR_LIMIT, LDTR_SELECTOR, MXCSR, NMI_BLOCKED, NMI_PENDING, RIP, SEGMENT_ATTRIBUTES, SEGMENT_BASE,
  SEGMENT_LIMIT, SEGMENT_SELECTOR, SHADOW, STAR, SYSENTER_EIP, TR_ATTRIBUTES, TR_BASE, TR_LIMIT, TR_SELECTOR, TSC_OFFSET, VCPU_INDEX, X87, X87_CONTROL,
  X87_TAG, ZERO,
} from "./layout";
import { flushTlb, privilegeChanged } from "./mmu";
import { CR0_CD, CR0_ET, CR0_NW } from "./profile";
import { CODE, CONFORMING, CS, ES, GS, attributesOf, dpl, protectedMode, selectorOf, updateMode } from "./segments";
import * as state from "./state";

/*
 * The state after power-on, INIT and start-up IPI (AMD64 volume 2, 14.1), and the words that follow from registers
 * written by the host. All act on the running context.
 */

export const POWER_ON: u32 = 0, INIT: u32 = 1;

/** EDX after a reset: the signature of CPUID leaf 1, family 19h. */
const SIGNATURE: u64 = 0x00a00f11;
/** Present, writable, accessed data of DPL 0: what every segment register holds after a reset, CS too. */
const REAL_SEGMENT: u16 = 0x93;

function setSegment(index: u32, selector: u32, base: u64): void {
  store<u16>(SEGMENT_SELECTOR + (<usize>index << 1), <u16>selector);
  store<u64>(SEGMENT_BASE + (<usize>index << 3), base);
  store<u32>(SEGMENT_LIMIT + (<usize>index << 2), 0xffff);
  store<u16>(SEGMENT_ATTRIBUTES + (<usize>index << 1), REAL_SEGMENT);
}

/**
 * POWER_ON or INIT. INIT keeps the x87 and SSE registers, the time-stamp counter, the system-call MSRs and CR0.CD and NW.
 * vCPU 0 then runs from the reset vector; the others wait for a start-up IPI.
 */
export function resetState(kind: u32): void {
  const cache = kind == INIT ? load<u64>(CR0) & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW;
  memory.fill(GPR, 0, 128);
  store<u64>(GPR + 16, SIGNATURE);
  setFlags(2);
  store<u64>(CR0, cache | CR0_ET);
  store<u64>(CR2, 0);
  store<u64>(CR3, 0);
  store<u64>(CR4, 0);
  store<u64>(EFER, 0);
  memory.fill(DR, 0, 64);
  store<u64>(DR + 48, 0xffff0ff0);
  store<u64>(DR + 56, 0x400);
  for (let i = ES; i <= GS; i++) setSegment(i, 0, 0);
  setSegment(CS, 0xf000, 0xffff0000);
  store<u64>(GDTR_BASE, 0);
  store<u32>(GDTR_LIMIT, 0xffff);
  store<u64>(IDTR_BASE, 0);
  store<u32>(IDTR_LIMIT, 0xffff);
  store<u64>(LDTR_BASE, 0);
  store<u32>(LDTR_LIMIT, 0xffff);
  store<u16>(LDTR_SELECTOR, 0);
  store<u16>(LDTR_ATTRIBUTES, 0x82);
  store<u64>(TR_BASE, 0);
  store<u32>(TR_LIMIT, 0xffff);
  store<u16>(TR_SELECTOR, 0);
  store<u16>(TR_ATTRIBUTES, 0x8b);
  store<u32>(SHADOW, 0);
  store<u32>(NMI_BLOCKED, 0);
  store<u32>(NMI_PENDING, 0);
  store<u32>(DEBUG_PENDING, 0);
  if (kind == POWER_ON) {
    // STAR to TSC_AUX and the SYSENTER registers are adjacent in the context.
    memory.fill(STAR, 0, SYSENTER_EIP + 8 - STAR);
    store<u64>(TSC_OFFSET, 0);
    memory.fill(X87, 0, MXCSR - X87);
    store<u16>(X87_CONTROL, 0x40);
    store<u8>(X87_TAG, 0xff); // all registers hold +0
    memory.fill(MXCSR, 0, 0x164); // and XMM0 to XMM15
    store<u32>(MXCSR, 0x1f80);
  }
  setRip(0xfffffff0);
  store<u32>(ACTIVITY, load<u32>(VCPU_INDEX) == 0 ? ACTIVITY_RUNNING : ACTIVITY_WAIT_SIPI);
  recomputeDerived();
}

/** Start-up IPI: real mode at vector << 12. Ignored unless the processor waits for it. */
export function startupState(vector: u32): void {
  if (load<u32>(ACTIVITY) != ACTIVITY_WAIT_SIPI) return;
  const v = vector & 0xff;
  setSegment(CS, v << 8, <u64>v << 12);
  setRip(<u64>v << 12);
  store<u32>(ACTIVITY, ACTIVITY_RUNNING);
  recomputeDerived();
}

/** The linear address of the next instruction, in the run loop's global and in the context. */
function setRip(linear: u64): void {
  state.rip = linear;
  state.current = 0;
  store<u64>(RIP, linear);
}

/** The CPL that CS tells: its DPL, or its RPL when it is conforming. Between MOV CR0 and the far jump CS is still real mode's, with DPL 0. */
function levelOfCode(): u32 {
  if (!protectedMode()) return 0;
  const a = attributesOf(CS);
  return (a & (CODE | CONFORMING)) == (CODE | CONFORMING) ? selectorOf(CS) & 3 : dpl(a);
}

/** After the host wrote the registers of the running context: derives CPL, DEBUG_ARMED and MODE; forgets translations and which blocks may be entered. */
export function recomputeDerived(): void {
  store<u64>(ZERO, 0);
  store<u64>(SEGMENT_BASE, 0);
  store<u32>(SEGMENT_LIMIT, 0xffffffff);
  store<u32>(CPL, levelOfCode());
  updateArmed();
  updateMode();
  modeChanged();
  privilegeChanged();
  flushTlb();
}
