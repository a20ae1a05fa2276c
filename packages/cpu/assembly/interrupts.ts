import { privilegeChanged, system_read16, system_read64 } from "./mmu";
import { abandonInstruction, debugEntered, endInstruction, isStepping, recognize, trapTask } from "./debug";
import { DB, DF, GP, NP, fault } from "./fault";
import { getFlags, setFlags } from "./flags";
import {
  ACTIVITY, ACTIVITY_HALTED, ACTIVITY_RUNNING, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_SIPI, COUNT, COUNTERS, COUNTER_FAULTS, COUNTER_INTERRUPTS, DEBUG_ARMED,
  FAULT_ERROR, FAULT_VECTOR, FLAGS_SYSTEM, GPR, IDTR_BASE, IDTR_LIMIT, LIMIT, NMI_BLOCKED, NMI_PENDING, RIP, SHADOW, STOP, STOP_HALT, STOP_SHUTDOWN,
} from "./layout";
import { FLAG_AC, FLAG_IF, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VM } from "./profile";
import { rollback } from "./run";
import {
  BIG, CODE, CONFORMING, CS, LONG, NOT_SYSTEM, PRESENT, SS, attributesIn, attributesOf, baseOf, canonical, cpl, descriptor, descriptorAt, dpl, fetch,
  getExternal, in64, install, installNull, installReal, limitIn, longMode, markAccessed, protectedMode, selectorFault, selectorOf, setCpl,
  setExternal, tableAddress, updateMode,
} from "./segments";
import { commitStack, innerDescriptor, innerSelector, longStack, openInnerStack, openStack, openStack64, push } from "./stack";
import { deliverToTask, trapDue } from "./tasks";
import * as state from "./state";

/*
 * Interrupts and exceptions: delivery through the IDT, faults within faults, NMI blocking (AMD64 volume 2, chapter 8).
 *
 * A fault inside a delivery unwinds to the host, which calls `resolveFault` again. Each such round moves one step along
 * event -> fault -> #DF -> shutdown, so the host's loop is bounded by four.
 */

/** Kinds of event. SOFTWARE: INT n, INT3, INTO, whose gate must have DPL >= CPL. */
export const EXCEPTION: u32 = 0, EXTERNAL: u32 = 1, SOFTWARE: u32 = 2, ICEBP: u32 = 3;

/** Vectors with an error code: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX. */
const HAS_ERROR: u32 = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30;
/** Exceptions that are not faults, or (#DB) push RF as it is: their image of RF is not set. */
const NOT_FAULT: u32 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 8 | 1 << 18;
/** Contributory exceptions (table 8-5): #DE #TS #NP #SS #GP #CP #VC. */
const CONTRIBUTORY: u32 = 1 << 0 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 21 | 1 << 29;

const NOTHING: u32 = 0xffff;
/** Vector of the exception that is being delivered; BENIGN for other events; NOTHING. */
let delivering: u32 = NOTHING;
const BENIGN: u32 = 1;

function count(counter: u32): void {
  const at = COUNTERS + (<usize>counter << 3);
  store<u64>(at, load<u64>(at) + 1);
}

// ---- flags with consequences ----

/** Sets RFLAGS as a whole, and what follows from TF, IF and AC. RF is kept only for what can see it: an armed instruction breakpoint, the trap of this instruction. */
export function writeFlags(value: u64): void {
  const before = load<u64>(FLAGS_SYSTEM);
  if ((load<u32>(DEBUG_ARMED) & 0xf) == 0 && !isStepping()) value &= ~FLAG_RF;
  setFlags(value);
  flagsChanged(before);
}

/** After FLAGS_SYSTEM changed from `before`. */
export function flagsChanged(before: u64): void {
  const changed = load<u64>(FLAGS_SYSTEM) ^ before;
  if ((changed & FLAG_TF) != 0) updateMode();
  if ((changed & FLAG_AC) != 0) privilegeChanged();
  if ((changed & FLAG_IF) != 0) recognize();
}

// ---- delivery ----

/**
 * Delivers an event; `state.rip` is the address that is pushed. A fault on the way raises, with no register changed, or after
 * a task gate in the new task (tasks.ts).
 * `error` is pushed for exceptions that have one.
 */
export function deliver(vector: u32, kind: u32, error: u32): void {
  delivering = kind == EXCEPTION ? vector : BENIGN;
  setExternal(kind == SOFTWARE ? 0 : 1);
  let image = getFlags();
  if (kind == EXCEPTION && (NOT_FAULT >> vector & 1) == 0) image |= FLAG_RF;
  const hasError = kind == EXCEPTION && (HAS_ERROR >> vector & 1) != 0;
  const before = load<u64>(FLAGS_SYSTEM);
  if (!protectedMode()) deliverReal(vector, image);
  else if (longMode()) deliverLong(vector, kind, image, hasError, error);
  else deliverLegacy(vector, kind, image, hasError, error);
  setExternal(0);
  delivering = NOTHING;
  endInstruction();
  updateMode();
  if (((load<u64>(FLAGS_SYSTEM) ^ before) & FLAG_AC) != 0) privilegeChanged();
  if (vector == DB) debugEntered();
  wake();
  recognize(); // a trap gate that ended a shadow leaves IF set
  if (trapDue()) trapTask();
}

function wake(): void {
  if (load<u32>(ACTIVITY) != ACTIVITY_HALTED) return;
  store<u32>(ACTIVITY, ACTIVITY_RUNNING);
  if (load<u32>(STOP) == STOP_HALT) store<u32>(STOP, 0);
}

/** The interrupt vector table of real mode: 4 bytes per vector, offset and segment. */
function deliverReal(vector: u32, image: u64): void {
  if (vector * 4 + 3 > load<u32>(IDTR_LIMIT)) fault(GP, 0);
  const entry = tableAddress(load<u64>(IDTR_BASE) + vector * 4);
  const offset = <u64>system_read16(entry);
  const selector = <u32>system_read16(tableAddress(entry + 2));
  openStack();
  push(1, image & ~FLAG_RF);
  push(1, selectorOf(CS));
  push(1, returnOffset());
  commitStack();
  setFlags(load<u64>(FLAGS_SYSTEM) & ~(FLAG_IF | FLAG_TF | FLAG_RF | FLAG_AC) | image & 0x8d5);
  installReal(CS, selector);
  state.rip = baseOf(CS) + offset;
}

/** The offset of the next instruction in CS. */
export function returnOffset(): u64 { return in64() ? state.rip : state.rip - baseOf(CS) & 0xffffffff; }

/** Reads the code segment of a gate into `descriptor`: it must be at least as privileged as CPL. */
function fetchHandler(selector: u32): void {
  if ((selector & 0xfffc) == 0) fault(GP, getExternal());
  if (!fetch(selector)) selectorFault(GP, selector);
  const a = attributesIn(descriptor);
  if ((a & (NOT_SYSTEM | CODE)) != (NOT_SYSTEM | CODE) || dpl(a) > cpl()) selectorFault(GP, selector);
  if ((a & PRESENT) == 0) selectorFault(NP, selector);
}

/** Gate `vector`'s error code: the IDT bit and EXT. */
function gateFault(fault_: u32, vector: u32): void { fault(fault_, vector << 3 | 2 | getExternal()); }

function enterHandler(selector: u32, code: u64, level: u32, target: u64, interruptGate: bool, image: u64): void {
  setCpl(level);
  install(CS, selector & 0xfffc | level, code);
  const cleared = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | (interruptGate ? FLAG_IF : 0);
  setFlags(image & ~cleared);
  state.rip = target;
}

/** 32-bit protected mode (8.7): interrupt and trap gates of 16 and 32 bits, task gates. */
function deliverLegacy(vector: u32, kind: u32, image: u64, hasError: bool, error: u32): void {
  const entry = vector << 3;
  if (entry + 7 > load<u32>(IDTR_LIMIT)) gateFault(GP, vector);
  const gate = <u64>system_read64(tableAddress(load<u64>(IDTR_BASE) + entry));
  const a = attributesIn(gate);
  const type = a & 0x1f;
  if (type != 5 && type != 6 && type != 7 && type != 14 && type != 15) gateFault(GP, vector);
  if (kind == SOFTWARE && dpl(a) < cpl()) gateFault(GP, vector);
  if ((a & PRESENT) == 0) gateFault(NP, vector);
  if (type == 5) { deliverToTask(gate, image, hasError, error); return; }
  const size: u32 = (type & 8) != 0 ? 2 : 1;
  const selector = <u32>(gate >> 16) & 0xffff;
  const offset = gate & 0xffff | ((type & 8) != 0 ? gate >> 32 & 0xffff0000 : 0);
  fetchHandler(selector);
  const ca = attributesIn(descriptor);
  const level = (ca & CONFORMING) != 0 ? cpl() : dpl(ca);
  const code = markAccessed(descriptor, descriptorAt);
  if (offset > <u64>limitIn(code)) fault(GP, getExternal());
  const inward = level < cpl();
  if (inward) {
    openInnerStack(level, (hasError ? 6 : 5) << size);
    push(size, selectorOf(SS));
    push(size, load<u64>(GPR + 32));
  } else openStack();
  push(size, image);
  push(size, selectorOf(CS));
  push(size, returnOffset());
  if (hasError) push(size, error);
  commitStack();
  if (inward) install(SS, innerSelector, innerDescriptor);
  enterHandler(selector, code, level, (<u64>((code >> 16 & 0xffffff) | (code >> 32 & 0xff000000)) + offset) & 0xffffffff, (type & 1) == 0, image);
}

/** Long mode (8.9): 16-byte gates, 64-bit handlers, IST, SS:RSP always pushed, the stack aligned to 16. */
function deliverLong(vector: u32, kind: u32, image: u64, hasError: bool, error: u32): void {
  const entry = vector << 4;
  if (entry + 15 > load<u32>(IDTR_LIMIT)) gateFault(GP, vector);
  const gate = <u64>system_read64(load<u64>(IDTR_BASE) + entry);
  const high = <u64>system_read64(load<u64>(IDTR_BASE) + entry + 8);
  const a = attributesIn(gate);
  const type = a & 0x1f;
  if ((type != 14 && type != 15) || (high >> 40 & 0x1f) != 0) gateFault(GP, vector);
  if (kind == SOFTWARE && dpl(a) < cpl()) gateFault(GP, vector);
  if ((a & PRESENT) == 0) gateFault(NP, vector);
  const selector = <u32>(gate >> 16) & 0xffff;
  const offset = gate & 0xffff | gate >> 32 & 0xffff0000 | high << 32;
  const ist = <u32>(gate >> 32) & 7;
  fetchHandler(selector);
  const ca = attributesIn(descriptor);
  if ((ca & (LONG | BIG)) != LONG) selectorFault(GP, selector);
  const level = (ca & CONFORMING) != 0 ? cpl() : dpl(ca);
  const code = markAccessed(descriptor, descriptorAt);
  if (!canonical(offset)) fault(GP, getExternal());
  const inward = level < cpl();
  let top = load<u64>(GPR + 32);
  if (ist != 0 || inward) top = longStack(level, ist);
  else if (!in64()) top &= (attributesOf(SS) & BIG) != 0 ? 0xffffffff : 0xffff;
  openStack64(top & ~(<u64>15), inward);
  push(3, selectorOf(SS));
  push(3, load<u64>(GPR + 32));
  push(3, image);
  push(3, selectorOf(CS));
  push(3, returnOffset());
  if (hasError) push(3, error);
  commitStack();
  if (inward) installNull(SS, level);
  enterHandler(selector, code, level, offset, (type & 1) == 0, image);
}

// ---- what the host calls ----

/** After `raise()`: takes the instruction back and delivers the fault, or the double fault that it makes, or shuts down. */
export function resolveFault(): void {
  let vector = load<u32>(FAULT_VECTOR);
  let error = load<u32>(FAULT_ERROR);
  const first = delivering;
  delivering = NOTHING;
  setExternal(0);
  rollback();
  abandonInstruction();
  count(COUNTER_FAULTS);
  // A fault costs time: a handler that faults on its first instruction, on an IST stack, would otherwise never reach the limit.
  store<i64>(COUNT, load<i64>(COUNT) + 1);
  store<u64>(RIP, state.rip);
  if (first == DF) { shutdown(); return; }
  if (first != NOTHING) {
    const contributes = (CONTRIBUTORY >> vector & 1) != 0;
    if (((CONTRIBUTORY >> first & 1) != 0 && contributes) || (first == 14 && (contributes || vector == 14))) {
      vector = DF;
      error = 0;
    }
  }
  deliver(vector, EXCEPTION, error);
  store<u64>(RIP, state.rip);
}

/** The host may have changed the context since the run loop left: no instruction is under way, and RIP is in the context. */
function enterFromHost(): void {
  state.current = 0;
  state.rip = load<u64>(RIP);
}

/** Triple fault: the processor stops until INIT or reset. */
function shutdown(): void {
  store<u32>(ACTIVITY, ACTIVITY_SHUTDOWN);
  store<u32>(STOP, STOP_SHUTDOWN);
  store<i64>(LIMIT, 0);
  updateMode();
}

function listening(): bool {
  const activity = load<u32>(ACTIVITY);
  return activity != ACTIVITY_WAIT_SIPI && activity != ACTIVITY_SHUTDOWN;
}

/** 1 when `interrupt` may be called: IF set, no shadow, and the processor listens. */
export function canInterrupt(): u32 {
  return (load<u64>(FLAGS_SYSTEM) & FLAG_IF) != 0 && load<u32>(SHADOW) == 0 && listening() ? 1 : 0;
}

/** 1 when an NMI may be delivered: not blocked by an earlier one or by a shadow. */
export function canNonMaskable(): u32 {
  return load<u32>(NMI_BLOCKED) == 0 && load<u32>(SHADOW) == 0 && listening() ? 1 : 0;
}

/** Delivers an external interrupt; wakes from HLT. */
export function interrupt(vector: u32): void {
  enterFromHost();
  count(COUNTER_INTERRUPTS);
  wake();
  deliver(vector & 0xff, EXTERNAL, 0);
  store<u64>(RIP, state.rip);
}

/** Delivers the latched NMI and blocks further ones until IRET. */
export function nonMaskableInterrupt(): void {
  enterFromHost();
  store<u32>(NMI_PENDING, 0);
  store<u32>(NMI_BLOCKED, 1);
  wake();
  deliver(2, EXTERNAL, 0);
  store<u64>(RIP, state.rip);
}

/** IRET: NMIs are open again. */
export function unblockNmi(): void {
  if (load<u32>(NMI_BLOCKED) == 0) return;
  store<u32>(NMI_BLOCKED, 0);
  recognize();
}
