import { GP, NP, generalProtection, invalidOpcode } from "./fault";
import { getFlags } from "./flags";
import { stepByNewFlags } from "./debug";
import { returnOffset, unblockNmi, writeFlags } from "./interrupts";
import { CSTAR, EFER, FLAGS_SYSTEM, GPR, LSTAR, SEGMENT_ATTRIBUTES, SEGMENT_SELECTOR, SFMASK, STAR, SYSENTER_CS, SYSENTER_EIP, SYSENTER_ESP } from "./layout";
import {
  EFER_SCE, FLAGS_ARITHMETIC, FLAG_AC, FLAG_DF, FLAG_ID, FLAG_IF, FLAG_IOPL, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VIF, FLAG_VIP, FLAG_VM, VENDOR_AMD,
} from "./profile";
import {
  BIG, CODE, CONFORMING, CS, ES, GS, LONG, NOT_SYSTEM, PRESENT, SS, attributesIn, attributesOf, baseIn, baseOf, canonical, checkStackSegment,
  cpl, descriptor, descriptorAt, descriptorHigh, dpl, fetch, fetchHigh, in64, install, installFlat, installNull, installReal, limitIn, limitOf, longMode,
  markAccessed, nullStackAllowed, protectedMode, selectorFault, selectorOf, setCpl, updateMode,
} from "./segments";
import { commitStack, drop, innerDescriptor, innerSelector, longStack, openInnerStack, openStack, openStack64, parameter, peek, push, setStackPointer, stackMask } from "./stack";
import { returnToTask, transferToTask } from "./tasks";
import * as state from "./state";

/*
 * Far control transfers (AMD64 volume 2, 4.10 and 12.2; volume 3, CALL, JMP, RET, IRET): direct, through call gates, back to
 * outer levels, and the fast system calls.
 *
 * Each checks and pushes everything first and commits last. Sizes are 1, 2 or 3 for 16, 32 or 64 bits.
 */

const CODE_SEGMENT: u32 = NOT_SYSTEM | CODE;
// Attribute words of the segments that SYSCALL and SYSENTER make: present, accessed, G.
const FLAT_CODE64: u32 = 0xa09b, FLAT_CODE32: u32 = 0xc09b, FLAT_DATA: u32 = 0xc093, LEVEL3: u32 = 0x60;

// ---- the code segment of a transfer ----

/** Checks an entry point against the code segment `d`: canonical in 64-bit code, else within the limit, all 64 bits of it. */
function checkEntry(d: u64, offset: u64): void {
  if (longMode() && (attributesIn(d) & LONG) != 0) {
    if (!canonical(offset)) generalProtection();
  } else if (offset > <u64>limitIn(d)) generalProtection();
}

/** L and D together are reserved. */
function checkLongBits(selector: u32): void {
  if (longMode() && (attributesIn(descriptor) & (LONG | BIG)) == (LONG | BIG)) selectorFault(GP, selector);
}

function checkPresent(selector: u32): void {
  if ((attributesIn(descriptor) & PRESENT) == 0) selectorFault(NP, selector);
}

/** Commits CS with RPL = `level`, CPL, the mode, and the instruction pointer. */
function enter(selector: u32, d: u64, level: u32, offset: u64): void {
  install(CS, selector & 0xfffc | level, d);
  setCpl(level);
  updateMode();
  state.rip = in64() ? offset : baseIn(d) + (offset & 0xffffffff) & 0xffffffff;
}

function enterReal(selector: u32, offset: u64): void {
  installReal(CS, selector);
  updateMode();
  state.rip = baseOf(CS) + offset;
}

function truncate(offset: u64, size: u32): u64 {
  return size == 1 ? offset & 0xffff : size == 2 ? offset & 0xffffffff : offset;
}

// ---- JMP and CALL ----

/** JMP FAR. */
export function jumpFar(selector: u32, target: u64, size: u32): void {
  const offset = truncate(target, size);
  if (!protectedMode()) {
    if (offset > <u64>limitOf(CS)) generalProtection();
    enterReal(selector, offset);
    return;
  }
  fetchTarget(selector);
  if ((attributesIn(descriptor) & NOT_SYSTEM) == 0) { throughGate(selector, false); return; }
  checkDirect(selector);
  checkEntry(descriptor, offset);
  enter(selector, markAccessed(descriptor, descriptorAt), cpl(), offset);
}

/** CALL FAR. */
export function callFar(selector: u32, target: u64, size: u32): void {
  const offset = truncate(target, size);
  if (!protectedMode()) {
    if (offset > <u64>limitOf(CS)) generalProtection();
    openStack();
    push(size, selectorOf(CS));
    push(size, returnOffset());
    commitStack();
    enterReal(selector, offset);
    return;
  }
  fetchTarget(selector);
  if ((attributesIn(descriptor) & NOT_SYSTEM) == 0) { throughGate(selector, true); return; }
  checkDirect(selector);
  openStack();
  push(size, selectorOf(CS));
  push(size, returnOffset());
  // AMD's processors write the return address before they look at the offset; the stack pointer stays when that fails.
  checkEntry(descriptor, offset);
  const code = markAccessed(descriptor, descriptorAt);
  commitStack();
  enter(selector, code, cpl(), offset);
}

function fetchTarget(selector: u32): void {
  if ((selector & 0xfffc) == 0) generalProtection();
  if (!fetch(selector)) selectorFault(GP, selector);
}

/** A code segment reached directly: conforming code of the same or an inner level, other code of the same level. */
function checkDirect(selector: u32): void {
  const a = attributesIn(descriptor);
  if ((a & CODE) == 0) selectorFault(GP, selector);
  if ((a & CONFORMING) != 0) { if (dpl(a) > cpl()) selectorFault(GP, selector); }
  else if ((selector & 3) > cpl() || dpl(a) != cpl()) selectorFault(GP, selector);
  checkLongBits(selector);
  checkPresent(selector);
}

/** A system descriptor in `descriptor`: a call gate, or outside long mode a task gate or TSS. */
function throughGate(gateSelector: u32, call: bool): void {
  const gate = descriptor;
  const ga = attributesIn(gate);
  const type = ga & 0xf;
  const wide = longMode();
  const task = (type & 7) == 1 || type == 5;
  if (type != 12 && (wide || (type != 4 && !task))) selectorFault(GP, gateSelector);
  if (dpl(ga) < cpl() || dpl(ga) < (gateSelector & 3)) selectorFault(GP, gateSelector);
  if (task) { transferToTask(gateSelector, gate, call); return; }
  // A 64-bit gate takes two entries; the type in the second must be 0.
  if (wide && !fetchHigh(gateSelector)) selectorFault(GP, gateSelector);
  if ((ga & PRESENT) == 0) selectorFault(NP, gateSelector);
  const selector = <u32>(gate >> 16) & 0xffff;
  let offset = gate & 0xffff;
  if (type == 12) offset |= gate >> 32 & 0xffff0000;
  if (wide) offset |= descriptorHigh << 32;

  fetchTarget(selector);
  const a = attributesIn(descriptor);
  if ((a & CODE_SEGMENT) != CODE_SEGMENT || dpl(a) > cpl()) selectorFault(GP, selector);
  const inward = call && (a & CONFORMING) == 0 && dpl(a) < cpl();
  if (!call && (a & CONFORMING) == 0 && dpl(a) != cpl()) selectorFault(GP, selector);
  if (wide && (a & (LONG | BIG)) != LONG) selectorFault(GP, selector);
  checkPresent(selector);
  const code = markAccessed(descriptor, descriptorAt);
  checkEntry(code, offset);
  if (!call) { enter(selector, code, cpl(), offset); return; }

  const level = inward ? dpl(a) : cpl();
  const size: u32 = wide ? 3 : type == 12 ? 2 : 1;
  const rsp = load<u64>(GPR + 32);
  const ss = selectorOf(SS);
  if (wide) {
    // No parameters are copied, and SS becomes null.
    openStack64(inward ? longStack(level, 0) : rsp & stackMask(), inward);
    if (inward) {
      push(3, ss);
      push(3, rsp);
    }
  } else if (inward) {
    const parameters = <u32>(gate >> 32) & 31;
    openInnerStack(level, parameters + 4 << size);
    push(size, ss);
    push(size, rsp);
    for (let i = parameters; i > 0; i--) push(size, parameter(size, i - 1));
  } else openStack();
  push(size, selectorOf(CS));
  push(size, returnOffset());
  commitStack();
  if (inward) {
    if (wide) installNull(SS, level);
    else install(SS, innerSelector, innerDescriptor);
  }
  enter(selector, code, level, offset);
}

// ---- RET and IRET ----

/** The stack segment that an outward return or IRET popped, checked by `checkReturnStack`. */
let stackDescriptor: u64 = 0;
let stackIsNull: bool = false;

/**
 * Stack pointer and SS of an outer level, which lie above the return address. AMD reads the upper word of each pair first, and
 * this pair whenever RPL differs from CPL, before it looks at any descriptor; which page fault is reported depends on it.
 */
let outerPointer: u64 = 0, outerStack: u32 = 0;
function popOuterStack(size: u32): void {
  outerStack = <u32>peek(size, 1) & 0xffff;
  outerPointer = peek(size, 0);
}

/** The code segment of a far return: of RPL's level, not inward. Leaves the accessed descriptor as result. */
function checkReturn(selector: u32): u64 {
  fetchReturn(selector);
  return markAccessed(descriptor, descriptorAt);
}

function fetchReturn(selector: u32): void {
  if ((selector & 0xfffc) == 0) generalProtection();
  if ((selector & 3) < cpl()) selectorFault(GP, selector);
  if (!fetch(selector)) selectorFault(GP, selector);
  const a = attributesIn(descriptor);
  if ((a & CODE_SEGMENT) != CODE_SEGMENT) selectorFault(GP, selector);
  if ((a & CONFORMING) != 0 ? dpl(a) > (selector & 3) : dpl(a) != (selector & 3)) selectorFault(GP, selector);
  checkLongBits(selector);
  checkPresent(selector);
}

function checkReturnStack(selector: u32, level: u32, to64: bool): void {
  stackIsNull = (selector & 0xfffc) == 0;
  if (!stackIsNull) stackDescriptor = checkStackSegment(selector, level, GP);
  else if (!nullStackAllowed(selector, level, to64)) generalProtection();
}

function commitReturnStack(selector: u32, pointer: u64, to64: bool): void {
  if (stackIsNull) installNull(SS, selector);
  else install(SS, selector, stackDescriptor);
  setStackPointer(pointer, to64 ? ~(<u64>0) : (attributesOf(SS) & BIG) != 0 ? 0xffffffff : 0xffff);
}

/** Data segments that the outer level must not use become null. Their bases stay: FS and GS of 64-bit code do not come from here. */
function dropInnerSegments(level: u32): void {
  for (let i = ES; i <= GS; i++) {
    if (i == CS || i == SS) continue;
    const a = attributesOf(i);
    if (a == 0 || dpl(a) >= level || (a & (CODE | CONFORMING)) == (CODE | CONFORMING)) continue;
    store<u16>(SEGMENT_SELECTOR + (<usize>i << 1), 0);
    store<u16>(SEGMENT_ATTRIBUTES + (<usize>i << 1), 0);
  }
}

/** RETF, dropping `bytes` of parameters. */
export function returnFar(size: u32, bytes: u32): void {
  openStack();
  const selector = <u32>peek(size, 1) & 0xffff;
  const offset = peek(size, 0);
  drop((<u64>2 << size) + bytes);
  if (!protectedMode()) {
    if (offset > <u64>limitOf(CS)) generalProtection();
    commitStack();
    enterReal(selector, offset);
    return;
  }
  const level = selector & 3;
  const outward = level > cpl();
  if (level != cpl()) popOuterStack(size);
  const code = checkReturn(selector);
  const to64 = longMode() && (attributesIn(code) & LONG) != 0;
  checkEntry(code, offset);
  if (outward) {
    checkReturnStack(outerStack, level, to64);
    // The parameters are dropped from both stacks.
    commitReturnStack(outerStack, outerPointer + bytes, to64);
    enter(selector, code, level, offset);
    dropInnerSegments(level);
    updateMode();
    return;
  }
  commitStack();
  enter(selector, code, level, offset);
}

/** RFLAGS after POPF or IRET popped `image` in `size` at the present CPL. RF is what IRET may set besides. */
export function poppedFlags(image: u64, size: u32, interruptReturn: bool): u64 {
  const level = protectedMode() ? cpl() : 0;
  let writable = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT;
  if (size != 1) {
    writable |= FLAG_AC | FLAG_ID;
    if (interruptReturn) {
      writable |= FLAG_RF;
      if (level == 0 && protectedMode()) writable |= FLAG_VIF | FLAG_VIP;
    }
  }
  const old = getFlags();
  if (level == 0) writable |= FLAG_IOPL;
  if (level <= <u32>(old >> 12 & 3)) writable |= FLAG_IF;
  if (!interruptReturn || size == 1) return (old & ~writable | image & writable) & ~FLAG_RF;
  return old & ~writable | image & writable;
}

/** IRET, IRETD, IRETQ. */
export function interruptReturn(size: u32): void {
  const long = longMode();
  if (protectedMode() && (load<u64>(FLAGS_SYSTEM) & FLAG_NT) != 0) {
    if (long) generalProtection(); // no tasks
    returnToTask(getFlags());
    return;
  }
  openStack();
  const image = peek(size, 2);
  const selector = <u32>peek(size, 1) & 0xffff;
  const offset = peek(size, 0);
  drop(<u64>3 << size);
  if (!protectedMode()) {
    if (offset > <u64>limitOf(CS)) generalProtection();
    commitStack();
    enterReal(selector, offset);
    writeFlags(poppedFlags(image, size, true));
    unblockNmi();
    return;
  }
  // A return to virtual-8086 mode, which does not exist here.
  if (!long && size == 2 && (image & FLAG_VM) != 0 && cpl() == 0) generalProtection();
  const level = selector & 3;
  const outward = level > cpl();
  // From 64-bit mode SS:RSP is popped always.
  const switches = outward || in64();
  if (switches || level != cpl()) popOuterStack(size);
  const code = checkReturn(selector);
  const to64 = long && (attributesIn(code) & LONG) != 0;
  checkEntry(code, offset);
  const flags = poppedFlags(image, size, true);
  if (switches) {
    checkReturnStack(outerStack, level, to64);
    commitReturnStack(outerStack, outerPointer, to64);
  } else commitStack();
  enter(selector, code, level, offset);
  if (outward) {
    dropInnerSegments(level);
    updateMode();
  }
  writeFlags(flags);
  unblockNmi();
}

// ---- fast system calls ----

function installCode(selector: u32, attributes: u32): void { installFlat(CS, selector, attributes); }

/** SYSCALL. Outside 64-bit mode it exists on AMD processors only. */
export function systemCall(): void {
  if ((load<u64>(EFER) & EFER_SCE) == 0 || !protectedMode() || (!VENDOR_AMD && !in64())) invalidOpcode();
  const star = load<u64>(STAR);
  const selector = <u32>(star >> 32) & 0xfffc;
  const flags = getFlags() & ~FLAG_RF;
  let target: u64;
  if (longMode()) {
    store<u64>(GPR + 8, returnOffset());
    store<u64>(GPR + 88, flags);
    target = in64() ? load<u64>(LSTAR) : load<u64>(CSTAR);
    installCode(selector, FLAT_CODE64);
  } else {
    store<u64>(GPR + 8, returnOffset());
    target = star & 0xffffffff;
    installCode(selector, FLAT_CODE32);
  }
  installFlat(SS, selector + 8 & 0xffff, FLAT_DATA);
  setCpl(0);
  updateMode();
  state.rip = target;
  writeFlags(longMode() ? flags & ~load<u64>(SFMASK) : flags & ~(FLAG_IF | FLAG_VM));
  stepByNewFlags();
}

/** SYSRET; `size` 3 returns to 64-bit code, else to 32-bit code. */
export function systemReturn(size: u32): void {
  if ((load<u64>(EFER) & EFER_SCE) == 0 || (!VENDOR_AMD && !in64())) invalidOpcode();
  if (!protectedMode() || cpl() != 0) generalProtection();
  const star = load<u64>(STAR);
  const base = <u32>(star >> 48);
  const rcx = load<u64>(GPR + 8);
  const from64 = in64();
  const wide = from64 && size == 3;
  // AMD: a non-canonical RCX faults at its target, in CPL 3.
  if (!VENDOR_AMD && wide && !canonical(rcx)) generalProtection();
  if (wide) installCode(base + 16 & 0xffff | 3, FLAT_CODE64 | LEVEL3);
  else installCode(base & 0xffff | 3, FLAT_CODE32 | LEVEL3);
  if (VENDOR_AMD) store<u16>(SEGMENT_SELECTOR + (<usize>SS << 1), <u16>(base + 8)); // base, limit and attributes stay
  else installFlat(SS, base + 8 & 0xffff | 3, FLAT_DATA | LEVEL3);
  // RF and VM are cleared; IOPL comes from R11 as well. Outside 64-bit mode R11 is not used: IF is set.
  const flags = from64 ? load<u64>(GPR + 88) & ~(FLAG_RF | FLAG_VM) : getFlags() | FLAG_IF;
  setCpl(3);
  updateMode();
  state.rip = wide ? rcx : rcx & 0xffffffff;
  writeFlags(flags);
  stepByNewFlags();
}

/** SYSENTER: #UD in long mode on AMD processors. */
export function systemEnter(): void {
  if (VENDOR_AMD && longMode()) invalidOpcode();
  const selector = load<u32>(SYSENTER_CS) & 0xfffc;
  if (!protectedMode() || selector == 0) generalProtection();
  const wide = longMode();
  installCode(selector, wide ? FLAT_CODE64 : FLAT_CODE32);
  installFlat(SS, selector + 8 & 0xffff, FLAT_DATA);
  setCpl(0);
  updateMode();
  store<u64>(GPR + 32, wide ? load<u64>(SYSENTER_ESP) : load<u64>(SYSENTER_ESP) & 0xffffffff);
  state.rip = wide ? load<u64>(SYSENTER_EIP) : load<u64>(SYSENTER_EIP) & 0xffffffff;
  writeFlags(getFlags() & ~(FLAG_IF | FLAG_VM | FLAG_RF));
}

/** SYSEXIT; `size` 3 returns to 64-bit code. */
export function systemExit(size: u32): void {
  const base = load<u32>(SYSENTER_CS) & 0xfffc;
  if (!protectedMode() || cpl() != 0) generalProtection(); // before #UD, as processors do
  if (VENDOR_AMD && longMode()) invalidOpcode();
  if (base == 0) generalProtection();
  const wide = longMode() && size == 3;
  const rip = load<u64>(GPR + 16);
  const rsp = load<u64>(GPR + 8);
  if (wide && !(canonical(rip) && canonical(rsp))) generalProtection();
  installCode(base + (wide ? 32 : 16) & 0xffff | 3, (wide ? FLAT_CODE64 : FLAT_CODE32) | LEVEL3);
  installFlat(SS, base + (wide ? 40 : 24) & 0xffff | 3, FLAT_DATA | LEVEL3);
  setCpl(3);
  updateMode();
  store<u64>(GPR + 32, wide ? rsp : rsp & 0xffffffff);
  state.rip = wide ? rip : rip & 0xffffffff;
}
