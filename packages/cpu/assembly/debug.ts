import { DB, GP, fault, invalidOpcode } from "./fault";
import { CR4, DEBUG_ARMED, DEBUG_PENDING, DR, FLAGS_SYSTEM, INTERRUPT_WAITING, LIMIT, NMI_BLOCKED, NMI_PENDING, SHADOW, SHADOW_MOV_SS } from "./layout";
import { EXCEPTION, deliver } from "./interrupts";
import { flushTlb } from "./mmu";
import { CR4_DE, FLAG_IF, FLAG_RF, FLAG_TF } from "./profile";
import { updateMode } from "./segments";
import * as state from "./state";

/*
 * Debug registers, breakpoints and single step (AMD64 volume 2, 13.1).
 *
 * Instruction breakpoints and DR7.GD are faults: reported before the instruction. Data and I/O breakpoints and single step
 * are traps: their DR6 bits gather in DEBUG_PENDING and are reported at the instruction's end. While anything is armed,
 * MODE_STEP makes the run loop call `beforeInstruction` and `afterInstruction` around each instruction.
 */

export const DR6_BD: u32 = 0x2000, DR6_BS: u32 = 0x4000, DR6_BT: u32 = 0x8000;
const DR7_GD: u64 = 0x2000;
/** DR6 keeps B0-B3, BD, BS and BT; the other bits read as 1, bit 12 as 0. */
const DR6_WRITABLE: u64 = 0xe00f, DR6_ONES: u64 = 0xffff0ff0;
/** DR7 without bits 11, 12, 14 and 15; bit 10 reads as 1. */
const DR7_WRITABLE: u64 = 0xffff23ff, DR7_ONES: u64 = 0x400;

/** A single-step trap is due at the end of this instruction: TF was set when it began. */
let stepping: bool = false;
/** The run loop is between `beforeInstruction` and `afterInstruction`. */
let watched: bool = false;
/** Whether the running instruction ends with a single-step trap, which pushes RF as that instruction leaves it. */
export function isStepping(): bool { return stepping; }
/** The shadow under which this instruction runs. */
let shadowed: u32 = 0;

// Fields of breakpoint i.
@inline function address(i: u32): u64 { return load<u64>(DR + (<usize>i << 3)); }
@inline function control(): u64 { return load<u64>(DR + 56); }
@inline function kind(i: u32): u32 { return <u32>(control() >> (16 + 4 * i)) & 3; }
/** Bytes watched: LEN 0 1 2 3 = 1 2 8 4. */
function span(i: u32): u64 {
  const length = <u32>(control() >> (18 + 4 * i)) & 3;
  return length == 2 ? 8 : length + 1;
}

/** Derives DEBUG_ARMED from DR7 and CR4.DE. The caller then calls `updateMode()`. */
export function updateArmed(): void {
  let armed: u32 = 0;
  for (let i: u32 = 0; i < 4; i++) {
    if ((control() >> (2 * i) & 3) == 0) continue;
    const k = kind(i);
    if (k == 0) armed |= 1 << i;
    else if (k != 2) armed |= 0x10 << i;
    else if ((load<u64>(CR4) & CR4_DE) != 0) armed |= 0x100 << i;
  }
  store<u32>(DEBUG_ARMED, armed);
}

/** Reads DR0 to DR7. DR4 and DR5 mean DR6 and DR7 unless CR4.DE makes them #UD. CPL has been checked. */
export function readDebug(number: u32): u64 { return load<u64>(DR + (<usize>register(number) << 3)); }

function register(number: u32): u32 {
  if (number == 4 || number == 5) {
    if ((load<u64>(CR4) & CR4_DE) != 0) invalidOpcode();
    return number + 2;
  }
  return number;
}

/** Writes DR0 to DR7; upper halves of DR6 and DR7 must be 0. CPL has been checked. */
export function writeDebug(number: u32, value: u64): void {
  const n = register(number);
  if (n >= 6 && value >> 32 != 0) fault(GP, 0);
  if (n == 6) value = value & DR6_WRITABLE | DR6_ONES;
  if (n == 7) value = value & DR7_WRITABLE | DR7_ONES;
  store<u64>(DR + (<usize>n << 3), value);
  if (n != 6) rearm();
}

/** After a change of DR0-3, DR7 or CR4.DE. Pages with a data breakpoint must leave the TLB. */
export function rearm(): void {
  updateArmed();
  if ((load<u32>(DEBUG_ARMED) & 0xf0) != 0) flushTlb();
  updateMode();
}

/** #DB when DR7.GD guards the debug registers. */
export function checkDebugAccess(): void {
  if ((control() & DR7_GD) == 0) return;
  report(DR6_BD);
  fault(DB, 0);
}

/** B0-B3 tell of this #DB alone; the other bits are only ever set by the processor, and cleared by software. */
function report(bits: u32): void { store<u64>(DR + 48, load<u64>(DR + 48) & ~(<u64>15) | bits); }

/** INT1 is a #DB already: breakpoints that waited for the end of a MOV SS shadow are reported with it, not after it. */
export function joinPending(): void {
  const hit = load<u32>(DEBUG_PENDING);
  if (hit == 0) return;
  store<u32>(DEBUG_PENDING, 0);
  report(hit);
}

/** A #DB is delivered: GD is cleared so that the handler can use the debug registers. */
export function debugEntered(): void { store<u64>(DR + 56, control() & ~DR7_GD); }

/** Whether a data breakpoint lies on the page of `linear`: such a page is never put into the TLB. */
export function watchesPage(linear: u64): bool {
  const armed = load<u32>(DEBUG_ARMED);
  for (let i: u32 = 0; i < 4; i++) if ((armed & 0x10 << i) != 0 && (address(i) ^ linear) >> 12 == 0) return true;
  return false;
}

/** An access of `length` bytes: notes the data breakpoints that it touches. */
export function dataAccess(linear: u64, length: u32, write: bool): void {
  const armed = load<u32>(DEBUG_ARMED);
  if ((armed & 0xf0) == 0) return;
  for (let i: u32 = 0; i < 4; i++) {
    if ((armed & 0x10 << i) == 0 || (kind(i) == 1 && !write)) continue;
    const size = span(i);
    // The address is taken as aligned to the length. Differences mod 2^64: no overflow at the top.
    const first = address(i) & ~(size - 1);
    if (linear - first < size || first - linear < <u64>length) store<u32>(DEBUG_PENDING, load<u32>(DEBUG_PENDING) | 1 << i);
  }
}

/** Port access: notes the I/O breakpoints that it touches. */
export function portAccess(port: u32, width: u32): void {
  const armed = load<u32>(DEBUG_ARMED);
  if ((armed & 0xf00) == 0) return;
  for (let i: u32 = 0; i < 4; i++) {
    if ((armed & 0x100 << i) == 0) continue;
    const size = span(i);
    const first = address(i) & ~(size - 1);
    if (<u64>port - first < size || first - port < <u64>width) store<u32>(DEBUG_PENDING, load<u32>(DEBUG_PENDING) | 1 << i);
  }
}

/** Before each instruction in MODE_STEP. May raise #DB for an instruction breakpoint. */
export function beforeInstruction(): void {
  const flags = load<u64>(FLAGS_SYSTEM);
  shadowed = load<u32>(SHADOW);
  watched = true;
  stepping = (flags & FLAG_TF) != 0;
  const armed = load<u32>(DEBUG_ARMED) & 0xf;
  if (armed != 0 && (flags & FLAG_RF) == 0 && (shadowed & SHADOW_MOV_SS) == 0) {
    let hit: u32 = 0;
    for (let i: u32 = 0; i < 4; i++) if ((armed & 1 << i) != 0 && address(i) == state.rip) hit |= 1 << i;
    if (hit != 0) {
      state.current = 0;
      report(hit);
      fault(DB, 0);
    }
  }
  // The shadow and RF last for one instruction, which may set them anew.
  if (shadowed != 0) store<u32>(SHADOW, 0);
  if ((flags & FLAG_RF) != 0) store<u64>(FLAGS_SYSTEM, flags & ~FLAG_RF);
}

/** After each instruction in MODE_STEP: delivers the debug traps that it earned. */
export function afterInstruction(): void {
  let hit = load<u32>(DEBUG_PENDING);
  if (stepping) hit |= DR6_BS;
  stepping = false;
  watched = false;
  if ((load<u32>(SHADOW) & SHADOW_MOV_SS) != 0) return; // breakpoints wait for the next instruction, the step is lost
  if (hit != 0) { trap(hit); return; }
  if (shadowed != 0 && load<u32>(SHADOW) == 0) {
    shadowed = 0;
    updateMode();
    recognize();
  }
}

function trap(hit: u32): void {
  store<u32>(DEBUG_PENDING, 0);
  report(hit);
  state.current = 0; // the instruction is complete: a fault in delivery must not take it back
  deliver(DB, EXCEPTION, 0);
}

/** A trap of a task's T bit is being delivered. */
let trappingTask: bool = false;

/**
 * The task that was switched to has T set: #DB before its first instruction. When the handler of that is a task with T set too,
 * it is not trapped again: on a processor that goes on for ever.
 */
export function trapTask(): void {
  if (watched) { store<u32>(DEBUG_PENDING, load<u32>(DEBUG_PENDING) | DR6_BT); return; } // together with the step
  if (trappingTask) return;
  trappingTask = true;
  trap(DR6_BT);
  trappingTask = false;
}

/** Leaves the run loop when an interrupt or NMI can be taken now. */
export function recognize(): void {
  if (load<u32>(INTERRUPT_WAITING) != 0 && (load<u64>(FLAGS_SYSTEM) & FLAG_IF) != 0) store<i64>(LIMIT, 0);
  if (load<u32>(NMI_PENDING) != 0 && load<u32>(NMI_BLOCKED) == 0) store<i64>(LIMIT, 0);
}

/** The shadow of STI or MOV SS begins. Not within another: a row of such instructions must not hold interrupts off for ever. */
export function beginShadow(bits: u32): void {
  if (watched && shadowed != 0) return;
  store<u32>(SHADOW, bits);
  updateMode();
}

/** An exception, interrupt or INT n took the place of the instruction's end: no single step, and a shadow is over. */
export function endInstruction(): void {
  stepping = false;
  shadowed = 0;
  store<u32>(SHADOW, 0);
}

/** A fault: what the instruction touched does not count. */
export function abandonInstruction(): void {
  endInstruction();
  watched = false;
  trappingTask = false;
  store<u32>(DEBUG_PENDING, 0);
}

/** SYSCALL and SYSRET: unlike POPF and IRET they trap at once under the TF that they load. `state.rip` is the target. */
export function stepByNewFlags(): void {
  const set = (load<u64>(FLAGS_SYSTEM) & FLAG_TF) != 0;
  if (watched) stepping = set;
  else if (set) trap(DR6_BS);
}
