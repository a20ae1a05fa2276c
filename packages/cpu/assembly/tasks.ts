import { GP, NP, TS, fault } from "./fault";
import { rearm, trapTask } from "./debug";
import { getFlags } from "./flags";
import { returnOffset, unblockNmi, writeFlags } from "./interrupts";
import {
  CR0, DR, GDTR_BASE, GPR, LDTR_ATTRIBUTES, LDTR_BASE, LDTR_LIMIT, LDTR_SELECTOR, TR_ATTRIBUTES, TR_BASE, TR_LIMIT, TR_SELECTOR,
} from "./layout";
import {
  system_probeRead, system_probeWrite, system_read16, system_read32, system_read8, system_write16, system_write32, system_write8,
} from "./mmu";
import { CR0_PG, CR0_TS, FLAG_NT, FLAG_VM } from "./profile";
import {
  CODE, CONFORMING, CS, DS, ES, GS, NOT_SYSTEM, PRESENT, SS, attributesIn, baseIn, checkDataSegment, checkStackSegment, descriptor, descriptorAt,
  dpl, fetch, getExternal, install, installNull, limitIn, limitOf, markAccessed, selectorFault, selectorOf, setCpl, tableAddress, updateMode,
} from "./segments";
import { commitStack, openStack, push } from "./stack";
import { writeCr3 } from "./control";
import { TASK_IMAGE } from "./state";
import * as state from "./state";

/*
 * Hardware tasks (AMD64 volume 2, 12.2 and 12.3; the order of the steps and which fault belongs to which task: SDM 3A, 8.3).
 * Long mode has none.
 *
 * A switch has two halves. Up to `leave` every fault belongs to the old task, which has not changed. From there on the new
 * task's registers are in place and the instruction is over: a bad segment of the new task is a fault of the new task, before
 * its first instruction. Until its own CS and SS are loaded it stands at CPL 3 with null segments, so that a handler with an
 * inner stack is still reached.
 */

/** JMP leaves no way back; CALL, and interrupts and exceptions, link the new task to the old one; IRET follows the link. */
export const JUMP: u32 = 0, CALL: u32 = 1, RETURN: u32 = 2;

const BUSY: u32 = 2, WIDE: u32 = 8;
/** A TSS descriptor's type without WIDE: available, or with BUSY too. */
const AVAILABLE: u32 = 1;
/** Local breakpoints and LE, which belong to the task. */
const DR7_LOCAL: u64 = 0x155;

// Offsets in a TSS of 32 bits; TASK_IMAGE has the same. Registers and segments follow in the order of their numbers.
const CR3_IMAGE: u32 = 0x1c, EIP: u32 = 0x20, EFLAGS: u32 = 0x24, REGISTERS: u32 = 0x28, SEGMENTS: u32 = 0x48, LDT: u32 = 0x60, TRAP: u32 = 0x64;
// And in one of 16 bits, which has neither CR3, FS, GS nor T.
const IP16: u32 = 0x0e, FLAGS16: u32 = 0x10, REGISTERS16: u32 = 0x12, SEGMENTS16: u32 = 0x22, LDT16: u32 = 0x2a;

/** Bytes that a TSS must have to be switched to, and that of the running task to be left. */
@inline function sizeOf(wide: bool): u32 { return wide ? 0x68 : 0x2c; }
@inline function savedSize(wide: bool): u32 { return wide ? 0x60 : 0x2a; }

@inline function at(base: u64, offset: u32): u64 { return tableAddress(base + offset); }

// ---- which task ----

/** Reads the TSS descriptor of a task to switch to: in the GDT, available (busy for a return), present and large enough. */
function fetchTask(selector: u32, kind: u32): void {
  const vector = kind == RETURN ? TS : GP;
  if ((selector & 4) != 0 || (selector & 0xfffc) == 0 || !fetch(selector)) selectorFault(vector, selector);
  const a = attributesIn(descriptor);
  if ((a & (NOT_SYSTEM | 7)) != (kind == RETURN ? AVAILABLE | BUSY : AVAILABLE)) selectorFault(vector, selector);
  if ((a & PRESENT) == 0) selectorFault(NP, selector);
  if (limitIn(descriptor) < sizeOf((a & WIDE) != 0) - 1) selectorFault(TS, selector);
}

/** JMP or CALL to a TSS, or through a task gate; `d` is that descriptor, whose privilege has been checked. */
export function transferToTask(selector: u32, d: u64, call: bool): void {
  const kind = call ? CALL : JUMP;
  let task = selector;
  if ((attributesIn(d) & 7) == 5) {
    if ((attributesIn(d) & PRESENT) == 0) selectorFault(NP, selector);
    task = <u32>(d >> 16) & 0xffff;
  }
  fetchTask(task, kind);
  switchTask(task, kind, getFlags(), false, 0);
  if (trapDue()) trapTask();
}

/** An interrupt or exception through a task gate. `flags` is the old task's image. The caller ends with `trapDue`. */
export function deliverToTask(gate: u64, flags: u64, hasError: bool, error: u32): void {
  const selector = <u32>(gate >> 16) & 0xffff;
  fetchTask(selector, CALL);
  switchTask(selector, CALL, flags, hasError, error);
}

/** IRET with NT: back to the task that the running one links to. */
export function returnToTask(flags: u64): void {
  checkOld();
  const selector = <u32>system_read16(load<u64>(TR_BASE));
  fetchTask(selector, RETURN);
  switchTask(selector, RETURN, flags & ~FLAG_NT, false, 0);
  if (trapDue()) trapTask();
}

/** The new task's TSS asks for a debug trap before its first instruction. */
let trapBit: bool = false;
export function trapDue(): bool {
  const due = trapBit;
  trapBit = false;
  return due;
}

// ---- the switch ----

/** The running task must have a TSS with room for its state. */
function checkOld(): void {
  const a = <u32>load<u16>(TR_ATTRIBUTES);
  if ((a & (PRESENT | NOT_SYSTEM | 7)) != (PRESENT | AVAILABLE | BUSY) || load<u32>(TR_LIMIT) < savedSize((a & WIDE) != 0) - 1) {
    selectorFault(TS, load<u16>(TR_SELECTOR));
  }
}

/** To the task of `descriptor`, which `fetchTask` has left there. */
function switchTask(selector: u32, kind: u32, flags: u64, hasError: bool, error: u32): void {
  const d = descriptor;
  const accessAt = at(descriptorAt, 5);
  const base = baseIn(d);
  const wide = (attributesIn(d) & WIDE) != 0;
  trapBit = false;
  checkOld();

  // Everything that is touched must be there before anything changes.
  const oldSelector = load<u16>(TR_SELECTOR);
  const oldAccessAt = tableAddress(load<u64>(GDTR_BASE) + (oldSelector & 0xfff8) + 5);
  const oldBase = load<u64>(TR_BASE);
  const oldWide = (load<u16>(TR_ATTRIBUTES) & WIDE) != 0;
  const first: u32 = oldWide ? EIP : IP16;
  system_probeWrite(at(oldBase, first), savedSize(oldWide) - first);
  system_probeRead(base, sizeOf(wide));
  if (kind == CALL) system_probeWrite(base, 2);
  else system_probeWrite(oldAccessAt, 1);
  if (kind != RETURN) system_probeWrite(accessAt, 1);
  // There is no virtual-8086 mode: such a task is not valid.
  if (wide && (<u64>system_read32(at(base, EFLAGS)) & FLAG_VM) != 0) selectorFault(TS, selector);

  if (oldWide) save32(oldBase, flags);
  else save16(oldBase, flags);
  if (kind == CALL) system_write16(base, <u16>oldSelector);
  else system_write8(oldAccessAt, <u8>(system_read8(oldAccessAt) & ~BUSY));
  if (kind != RETURN) system_write8(accessAt, <u8>(attributesIn(d) | BUSY));
  if (wide) read32(base);
  else read16(base);

  leave(selector, d, kind);
  enter(wide);
  if (hasError) {
    openStack();
    push(wide ? 2 : 1, error);
    commitStack();
  }
  if (<u64>load<u32>(TASK_IMAGE + EIP) > <u64>limitOf(CS)) fault(GP, getExternal());
  trapBit = (load<u8>(TASK_IMAGE + TRAP) & 1) != 0;
}

/** What a task leaves behind; CR3, LDT and the inner stacks are only ever read from its TSS. */
function save32(base: u64, flags: u64): void {
  system_write32(at(base, EIP), <u32>returnOffset());
  system_write32(at(base, EFLAGS), <u32>flags);
  for (let i: u32 = 0; i < 8; i++) system_write32(at(base, REGISTERS + 4 * i), load<u32>(GPR + (<usize>i << 3)));
  for (let i = ES; i <= GS; i++) system_write16(at(base, SEGMENTS + 4 * (i - ES)), <u16>selectorOf(i));
}

function save16(base: u64, flags: u64): void {
  system_write16(at(base, IP16), <u16>returnOffset());
  system_write16(at(base, FLAGS16), <u16>flags);
  for (let i: u32 = 0; i < 8; i++) system_write16(at(base, REGISTERS16 + 2 * i), load<u16>(GPR + (<usize>i << 3)));
  for (let i = ES; i <= DS; i++) system_write16(at(base, SEGMENTS16 + 2 * (i - ES)), <u16>selectorOf(i));
}

function read32(base: u64): void {
  for (let offset = CR3_IMAGE; offset < sizeOf(true); offset += 4) store<u32>(TASK_IMAGE + offset, system_read32(at(base, offset)));
}

/** The upper halves of the registers, which the architecture leaves undefined, and FS and GS become 0. */
function read16(base: u64): void {
  memory.fill(TASK_IMAGE, 0, sizeOf(true));
  store<u32>(TASK_IMAGE + EIP, system_read16(at(base, IP16)));
  store<u32>(TASK_IMAGE + EFLAGS, system_read16(at(base, FLAGS16)));
  for (let i: u32 = 0; i < 8; i++) store<u32>(TASK_IMAGE + REGISTERS + 4 * i, system_read16(at(base, REGISTERS16 + 2 * i)));
  for (let i: u32 = 0; i < 4; i++) store<u32>(TASK_IMAGE + SEGMENTS + 4 * i, system_read16(at(base, SEGMENTS16 + 2 * i)));
  store<u32>(TASK_IMAGE + LDT, system_read16(at(base, LDT16)));
}

@inline function selectorIn(index: u32): u32 { return load<u16>(TASK_IMAGE + SEGMENTS + 4 * (index - ES)); }

/** The point of no return: TR, flags, registers and selectors of the new task, its segments still null. */
function leave(selector: u32, d: u64, kind: u32): void {
  state.current = 0; // what comes is not the instruction's fault
  store<u64>(TR_BASE, baseIn(d));
  store<u32>(TR_LIMIT, limitIn(d));
  store<u16>(TR_ATTRIBUTES, <u16>(attributesIn(d) | BUSY));
  store<u16>(TR_SELECTOR, <u16>selector);
  store<u64>(CR0, load<u64>(CR0) | CR0_TS);
  for (let i: u32 = 0; i < 8; i++) store<u64>(GPR + (<usize>i << 3), <u64>load<u32>(TASK_IMAGE + REGISTERS + 4 * i));
  for (let i = ES; i <= GS; i++) installNull(i, selectorIn(i));
  store<u16>(LDTR_SELECTOR, load<u16>(TASK_IMAGE + LDT));
  store<u16>(LDTR_ATTRIBUTES, 0);
  state.rip = <u64>load<u32>(TASK_IMAGE + EIP);
  setCpl(3);
  updateMode();
  if ((load<u64>(DR + 56) & DR7_LOCAL) != 0) {
    store<u64>(DR + 56, load<u64>(DR + 56) & ~DR7_LOCAL);
    rearm();
  }
  writeFlags(<u64>load<u32>(TASK_IMAGE + EFLAGS) & ~FLAG_VM | (kind == CALL ? FLAG_NT : 0));
  if (kind == RETURN) unblockNmi();
}

/** Loads what the new task's selectors mean, in the address space of the new task. */
function enter(wide: bool): void {
  if (wide && (load<u64>(CR0) & CR0_PG) != 0) writeCr3(<u64>load<u32>(TASK_IMAGE + CR3_IMAGE));
  loadLdt(load<u16>(TASK_IMAGE + LDT));

  const code = selectorIn(CS), stack = selectorIn(SS), level = code & 3;
  if ((stack & 0xfffc) == 0) selectorFault(TS, stack);
  install(SS, stack, checkStackSegment(stack, level, TS));
  setCpl(level);
  updateMode(); // a fault of CS pushes its frame there

  if ((code & 0xfffc) == 0 || !fetch(code)) selectorFault(TS, code);
  const a = attributesIn(descriptor);
  if ((a & (NOT_SYSTEM | CODE)) != (NOT_SYSTEM | CODE)) selectorFault(TS, code);
  if ((a & CONFORMING) != 0 ? dpl(a) > level : dpl(a) != level) selectorFault(TS, code);
  if ((a & PRESENT) == 0) selectorFault(NP, code);
  const d = markAccessed(descriptor, descriptorAt);
  install(CS, code, d);
  state.rip = baseIn(d) + load<u32>(TASK_IMAGE + EIP) & 0xffffffff;
  updateMode();

  for (let i = ES; i <= GS; i++) {
    if (i == CS || i == SS) continue;
    const data = selectorIn(i);
    if ((data & 0xfffc) != 0) install(i, data, checkDataSegment(data, TS));
  }
  updateMode();
}

function loadLdt(selector: u32): void {
  if ((selector & 0xfffc) == 0) return;
  if ((selector & 4) != 0 || !fetch(selector)) selectorFault(TS, selector);
  if ((attributesIn(descriptor) & (PRESENT | NOT_SYSTEM | 15)) != (PRESENT | 2)) selectorFault(TS, selector);
  store<u64>(LDTR_BASE, baseIn(descriptor));
  store<u32>(LDTR_LIMIT, limitIn(descriptor));
  store<u16>(LDTR_ATTRIBUTES, <u16>attributesIn(descriptor));
}
