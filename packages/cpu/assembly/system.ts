import { beginShadow, checkDebugAccess, joinPending, portAccess, readDebug, rearm, writeDebug } from "./debug";
import { DB, GP, NP, generalProtection, invalidOpcode } from "./fault";
import { getFlags, setArithmetic, setZero } from "./flags";
import * as host from "./host";
import { ICEBP, SOFTWARE, deliver, flagsChanged, writeFlags } from "./interrupts";
import {
  ACTIVITY, ACTIVITY_HALTED, COUNT, CR0, CR2, CR3, CR4, CSTAR, EFER, FLAGS_SYSTEM, GDTR_BASE, GDTR_LIMIT, GPR, IDTR_BASE, IDTR_LIMIT,
  KERNEL_GS_BASE, LDTR_ATTRIBUTES, LDTR_BASE, LDTR_LIMIT, LDTR_SELECTOR, LIMIT, LSTAR, PHYSICAL_BITS, SCRATCH, SEGMENT_BASE, SFMASK, SHADOW_MOV_SS,
  SHADOW_STI, SKEW, STAR, STOP, STOP_HALT, SYSENTER_CS, SYSENTER_EIP, SYSENTER_ESP, TR_ATTRIBUTES, TR_BASE, TR_LIMIT, TR_SELECTOR, TSC_AUX, TSC_OFFSET,
} from "./layout";
import * as legacy from "./legacy";
import { flushPage, flushTlb, privilegeChanged, probeWrite, read16, read32, read64, system_read16, system_write8, write16, write32, write64 } from "./mmu";
import { effectiveAddress, gpr, readOperand, readRegister, setGpr, writeRegister } from "./operand";
import {
  CR0_CD, CR0_ET, CR0_NW, CR0_PE, CR0_PG, CR0_TS, CR0_WP, CR4_DE, CR4_FSGSBASE, CR4_PAE, CR4_PGE, CR4_PSE, CR4_SMAP, CR4_SMEP, CR4_SUPPORTED,
  CR4_TSD, CR4_UMIP, EFER_LMA, EFER_LME, EFER_NXE, EFER_SUPPORTED, FLAG_AC, FLAG_IF, FLAG_RF, FLAG_VM, VENDOR_AMD,
} from "./profile";
import {
  CODE, CONFORMING, CS, FS, GS, LONG, NOT_SYSTEM, PRESENT, READABLE, SS, WRITABLE, attributesIn, attributesOf, baseIn, canonical, cpl, descriptor,
  descriptorAt, descriptorHigh, dpl, fetch, fetchHigh, in64, limitIn, loadSegment, longMode, protectedMode, selectorFault, selectorOf, setCpl,
  tableAddress, updateMode,
} from "./segments";
import { commitStack, openStack, pop, push } from "./stack";
import * as transfer from "./transfer";
import { Sys, U_AUX, U_DISPLACEMENT, U_IMMEDIATE, U_IS_REG, U_NUMBER, U_REG, U_RM, U_SIZE } from "./uop";

/*
 * The system instructions (AMD64 volume 3, chapter 4, and the privileged part of chapter 3).
 *
 * `system` dispatches; the longer ones have a function below. Every check comes before the first change.
 */

const RAX: u32 = 0, RCX: u32 = 1, RDX: u32 = 2, RBX: u32 = 3;

/** Executes uop `p`. For instructions that end a block `state.rip` is already the next instruction. */
export function system(p: usize, code: i32): void {
  const size = <u32>load<u8>(p, U_SIZE);
  switch (code) {
    case Sys.CLI: checkIopl(); changeFlags(FLAG_IF, false); break;
    case Sys.STI: setInterrupts(); break;
    case Sys.HLT: supervisor(); halt(); break;
    case Sys.CLTS: supervisor(); store<u64>(CR0, load<u64>(CR0) & ~CR0_TS); break;
    case Sys.INVD:
    case Sys.WBINVD: supervisor(); break; // no caches
    case Sys.PUSHF: pushFlags(size); break;
    case Sys.POPF: popFlags(size); break;
    case Sys.SWAPGS: swapGs(); break;
    case Sys.RDPMC: generalProtection(); break; // no counters: every index is out of range, whatever CR4.PCE says

    case Sys.INT3: deliver(3, SOFTWARE, 0); break;
    case Sys.INT1: joinPending(); deliver(DB, ICEBP, 0); break;
    case Sys.INT_N: deliver(<u32>load<u8>(p, U_IMMEDIATE), SOFTWARE, 0); break;
    case Sys.INTO: if ((getFlags() & 0x800) != 0) deliver(4, SOFTWARE, 0); break;
    case Sys.IRET: transfer.interruptReturn(size); break;
    case Sys.UD: invalidOpcode(); break;
    case Sys.SYSCALL: transfer.systemCall(); break;
    case Sys.SYSRET: transfer.systemReturn(size); break;
    case Sys.SYSENTER: transfer.systemEnter(); break;
    case Sys.SYSEXIT: transfer.systemExit(size); break;

    case Sys.RDMSR: readMsr(); break;
    case Sys.WRMSR: writeMsr(); break;
    case Sys.RDTSC: checkTimestamp(); setPair(timestamp()); break;
    case Sys.RDTSCP: checkTimestamp(); setPair(timestamp()); setGpr(RCX, <u64>load<u32>(TSC_AUX)); break;
    case Sys.CPUID: cpuid(); break;
    case Sys.RDRAND:
    case Sys.RDSEED: random(p, size); break;

    case Sys.MOV_FROM_CR: moveFromControl(p); break;
    case Sys.MOV_TO_CR: moveToControl(p); break;
    case Sys.MOV_FROM_DR: moveFromDebug(p); break;
    case Sys.MOV_TO_DR: moveToDebug(p); break;

    case Sys.SLDT: checkSystemSegment(); storeSelector(p, size, load<u16>(LDTR_SELECTOR)); break;
    case Sys.STR: checkSystemSegment(); storeSelector(p, size, load<u16>(TR_SELECTOR)); break;
    case Sys.LLDT: loadLdt(p); break;
    case Sys.LTR: loadTask(p); break;
    case Sys.VERR: verify(p, false); break;
    case Sys.VERW: verify(p, true); break;
    case Sys.SGDT: storeTable(p, GDTR_BASE, GDTR_LIMIT); break;
    case Sys.SIDT: storeTable(p, IDTR_BASE, IDTR_LIMIT); break;
    case Sys.LGDT: loadTable(p, size, GDTR_BASE, GDTR_LIMIT); break;
    case Sys.LIDT: loadTable(p, size, IDTR_BASE, IDTR_LIMIT); break;
    case Sys.SMSW: checkUmip(); storeMachineStatus(p, size); break;
    case Sys.LMSW: loadMachineStatus(p); break;
    case Sys.INVLPG: supervisor(); invalidate(p); break;
    case Sys.LAR: accessRights(p, size); break;
    case Sys.LSL: segmentLimit(p, size); break;

    case Sys.MOV_FROM_SEG: storeSelector(p, size, selectorOf(<u32>load<u8>(p, U_NUMBER) + 1)); break;
    case Sys.MOV_TO_SEG: moveToSegment(p); break;
    case Sys.PUSH_SEG: pushSegment(p, size); break;
    case Sys.POP_SEG: popSegment(p, size); break;
    case Sys.LOAD_FAR: legacy.loadFar(p, size); break;

    case Sys.JMP_FAR: transfer.jumpFar(<u32>load<u16>(p, U_DISPLACEMENT), load<u64>(p, U_IMMEDIATE), size); break;
    case Sys.CALL_FAR: transfer.callFar(<u32>load<u16>(p, U_DISPLACEMENT), load<u64>(p, U_IMMEDIATE), size); break;
    case Sys.JMP_FAR_MEMORY: {
      const selector = legacy.readFarPointer(p, size);
      transfer.jumpFar(selector, legacy.farOffset, size);
      break;
    }
    case Sys.CALL_FAR_MEMORY: {
      const selector = legacy.readFarPointer(p, size);
      transfer.callFar(selector, legacy.farOffset, size);
      break;
    }
    case Sys.RET_FAR: transfer.returnFar(size, <u32>load<u16>(p, U_IMMEDIATE)); break;

    case Sys.IN: portIn(p, size); break;
    case Sys.OUT: portOut(p, size); break;

    case Sys.PUSHA: legacy.pushAll(size); break;
    case Sys.POPA: legacy.popAll(size); break;
    case Sys.ARPL: legacy.adjustRpl(p); break;
    case Sys.BOUND: legacy.bound(p, size); break;
    case Sys.DAA: legacy.decimalAdjust(false); break;
    case Sys.DAS: legacy.decimalAdjust(true); break;
    case Sys.AAA: legacy.asciiAdjust(false); break;
    case Sys.AAS: legacy.asciiAdjust(true); break;
    case Sys.AAM: legacy.asciiMultiply(p); break;
    case Sys.AAD: legacy.asciiDivide(p); break;
    case Sys.ENTER: legacy.enter(p, size); break;
    case Sys.XLAT: legacy.translate(p); break;

    case Sys.VMCALL: hypercall(0); break;
    case Sys.VMMCALL: hypercall(1); break;
    case Sys.CLAC: checkSmapFlag(); changeFlags(FLAG_AC, false); break;
    case Sys.STAC: checkSmapFlag(); changeFlags(FLAG_AC, true); break;
    case Sys.RDFSBASE: checkBaseInstruction(); writeRegister(load<u8>(p, U_RM), size, base(FS)); break;
    case Sys.RDGSBASE: checkBaseInstruction(); writeRegister(load<u8>(p, U_RM), size, base(GS)); break;
    case Sys.WRFSBASE: writeBase(p, size, FS); break;
    case Sys.WRGSBASE: writeBase(p, size, GS); break;
    default: invalidOpcode(); // MONITOR, MWAIT: not in CPUID
  }
}

// ---- privilege ----

/** CPL 0, else #GP(0). */
function supervisor(): void { if (cpl() != 0) generalProtection(); }

/** CLI and STI: CPL <= IOPL. Real mode has CPL 0. */
function checkIopl(): void { if (cpl() > iopl()) generalProtection(); }
@inline function iopl(): u32 { return <u32>(load<u64>(FLAGS_SYSTEM) >> 12) & 3; }

/** SGDT, SIDT, SLDT, STR and SMSW outside CPL 0 under CR4.UMIP: #GP(0). */
function checkUmip(): void { if (cpl() != 0 && (load<u64>(CR4) & CR4_UMIP) != 0) generalProtection(); }
/** LDT and TR do not exist in real mode. */
function checkSystemSegment(): void {
  if (!protectedMode()) invalidOpcode();
  checkUmip();
}
function checkTimestamp(): void { if (cpl() != 0 && (load<u64>(CR4) & CR4_TSD) != 0) generalProtection(); }
/** CLAC and STAC: #UD unless SMAP exists and CPL is 0. */
function checkSmapFlag(): void { if ((CR4_SUPPORTED & CR4_SMAP) == 0 || cpl() != 0) invalidOpcode(); }

// ---- flags ----

function changeFlags(bit: u64, set: bool): void {
  const before = load<u64>(FLAGS_SYSTEM);
  store<u64>(FLAGS_SYSTEM, set ? before | bit : before & ~bit);
  flagsChanged(before);
}

function setInterrupts(): void {
  checkIopl();
  const before = load<u64>(FLAGS_SYSTEM);
  if ((before & FLAG_IF) != 0) return;
  store<u64>(FLAGS_SYSTEM, before | FLAG_IF);
  beginShadow(SHADOW_STI);
}

function pushFlags(size: u32): void {
  openStack();
  push(size, getFlags() & ~(FLAG_RF | FLAG_VM));
  commitStack();
}

function popFlags(size: u32): void {
  openStack();
  const image = pop(size);
  const flags = transfer.poppedFlags(image, size, false);
  commitStack();
  writeFlags(flags);
}

/** HLT: the host wakes the processor with an interrupt. */
function halt(): void {
  store<u32>(ACTIVITY, ACTIVITY_HALTED);
  store<u32>(STOP, STOP_HALT);
  store<i64>(LIMIT, 0);
}

// ---- CPUID, time, random numbers, hypercalls ----

function setPair(value: u64): void {
  setGpr(RAX, value & 0xffffffff);
  setGpr(RDX, value >> 32);
}
function pair(): u64 { return gpr(RAX) & 0xffffffff | gpr(RDX) << 32; }

/** The time-stamp counter, in ns of virtual time (1 GHz). */
function timestamp(): u64 { return load<u64>(COUNT) + load<u64>(SKEW) + load<u64>(TSC_OFFSET); }

function cpuid(): void {
  host.cpuid(<u32>gpr(RAX), <u32>gpr(RCX));
  setGpr(RAX, <u64>load<u32>(SCRATCH));
  setGpr(RBX, <u64>load<u32>(SCRATCH, 4));
  setGpr(RCX, <u64>load<u32>(SCRATCH, 8));
  setGpr(RDX, <u64>load<u32>(SCRATCH, 12));
}

/** CF = 1: a value was delivered; the other arithmetic flags are cleared. */
function random(p: usize, size: u32): void {
  host.random();
  writeRegister(load<u8>(p, U_RM), size, load<u64>(SCRATCH));
  setArithmetic(1);
}

function hypercall(kind: u32): void { if (host.hypercall(kind) == 0) invalidOpcode(); }

// ---- model-specific registers ----

function readMsr(): void {
  supervisor();
  const msr = <u32>gpr(RCX);
  let value: u64 = 0;
  switch (msr) {
    case 0x10: value = timestamp(); break;
    case 0x174: value = load<u64>(SYSENTER_CS); break;
    case 0x175: value = load<u64>(SYSENTER_ESP); break;
    case 0x176: value = load<u64>(SYSENTER_EIP); break;
    case 0xc0000080: value = load<u64>(EFER); break;
    case 0xc0000081: value = load<u64>(STAR); break;
    case 0xc0000082: value = load<u64>(LSTAR); break;
    case 0xc0000083: value = load<u64>(CSTAR); break;
    case 0xc0000084: value = load<u64>(SFMASK); break;
    case 0xc0000100: value = base(FS); break;
    case 0xc0000101: value = base(GS); break;
    case 0xc0000102: value = load<u64>(KERNEL_GS_BASE); break;
    case 0xc0000103: value = <u64>load<u32>(TSC_AUX); break;
    default:
      if (host.readMsr(msr) == 0) generalProtection();
      value = load<u64>(SCRATCH);
  }
  setPair(value);
}

function writeMsr(): void {
  supervisor();
  const msr = <u32>gpr(RCX);
  const value = pair();
  switch (msr) {
    case 0x10: store<u64>(TSC_OFFSET, value - load<u64>(COUNT) - load<u64>(SKEW)); break;
    case 0x174: store<u64>(SYSENTER_CS, value & 0xffffffff); break;
    case 0x175: writeSysenter(SYSENTER_ESP, value); break;
    case 0x176: writeSysenter(SYSENTER_EIP, value); break;
    case 0xc0000080: writeEfer(value); break;
    case 0xc0000081: store<u64>(STAR, value); break;
    case 0xc0000082: storeCanonical(LSTAR, value); break;
    case 0xc0000083: storeCanonical(CSTAR, value); break;
    case 0xc0000084: store<u64>(SFMASK, value & 0xffffffff); break;
    case 0xc0000100: storeCanonical(SEGMENT_BASE + (<usize>FS << 3), value); break;
    case 0xc0000101: storeCanonical(SEGMENT_BASE + (<usize>GS << 3), value); break;
    case 0xc0000102: storeCanonical(KERNEL_GS_BASE, value); break;
    case 0xc0000103: store<u64>(TSC_AUX, value & 0xffffffff); break;
    default: if (host.writeMsr(msr, <u32>value, <u32>(value >> 32)) == 0) generalProtection();
  }
}

/** AMD has no 64-bit SYSENTER: its registers have 32 bits and the rest is ignored. Intel: canonical, else #GP. */
function writeSysenter(at: usize, value: u64): void {
  if (VENDOR_AMD) store<u64>(at, value & 0xffffffff);
  else storeCanonical(at, value);
}

function storeCanonical(at: usize, value: u64): void {
  if (!canonical(value)) generalProtection();
  store<u64>(at, value);
}

/** LME changes only while paging is off; LMA follows CR0.PG. */
function writeEfer(value: u64): void {
  if ((value & ~(EFER_SUPPORTED | EFER_LMA)) != 0) generalProtection();
  const before = load<u64>(EFER);
  if (((value ^ before) & EFER_LME) != 0 && (load<u64>(CR0) & CR0_PG) != 0) generalProtection();
  const after = value & EFER_SUPPORTED | before & EFER_LMA;
  store<u64>(EFER, after);
  if (((after ^ before) & EFER_NXE) != 0) flushTlb();
}

// ---- FS and GS bases ----

@inline function base(index: u32): u64 { return load<u64>(SEGMENT_BASE + (<usize>index << 3)); }

function swapGs(): void {
  if (!in64()) invalidOpcode();
  supervisor();
  const at = SEGMENT_BASE + (<usize>GS << 3);
  const user = load<u64>(at);
  store<u64>(at, load<u64>(KERNEL_GS_BASE));
  store<u64>(KERNEL_GS_BASE, user);
}

function checkBaseInstruction(): void { if (!in64() || (load<u64>(CR4) & CR4_FSGSBASE) == 0) invalidOpcode(); }

function writeBase(p: usize, size: u32, index: u32): void {
  checkBaseInstruction();
  storeCanonical(SEGMENT_BASE + (<usize>index << 3), readRegister(load<u8>(p, U_RM), size));
}

// ---- control and debug registers ----

function controlSize(): u32 { return in64() ? 3 : 2; }

function moveFromControl(p: usize): void {
  const number = <u32>load<u8>(p, U_NUMBER);
  checkControl(number);
  let value: u64 = 0;
  switch (number) {
    case 0: value = load<u64>(CR0); break;
    case 2: value = load<u64>(CR2); break;
    case 3: value = load<u64>(CR3); break;
    case 4: value = load<u64>(CR4); break;
    default: value = <u64>(host.readTaskPriority() & 15);
  }
  writeRegister(load<u8>(p, U_RM), controlSize(), value);
}

/** CR1, CR5-7 and CR9 up do not exist: #UD, before the privilege check. */
function checkControl(number: u32): void {
  if (number > 8 || (0x11d >> number & 1) == 0) invalidOpcode();
  supervisor();
}

function moveToControl(p: usize): void {
  const number = <u32>load<u8>(p, U_NUMBER);
  checkControl(number);
  const value = readRegister(load<u8>(p, U_RM), controlSize());
  switch (number) {
    case 0: writeCr0(value); break;
    case 2: store<u64>(CR2, value); break;
    case 3: writeCr3(value); break;
    case 4: writeCr4(value); break;
    default:
      if ((value & ~(<u64>15)) != 0) generalProtection();
      host.writeTaskPriority(<u32>value);
  }
}

/** PE MP EM TS ET NE WP AM NW CD PG; the other bits of the low half are ignored and read as 0. */
const CR0_DEFINED: u64 = 0xe005003f;

function writeCr0(value: u64): void {
  if (value >> 32 != 0) generalProtection();
  const after = value & CR0_DEFINED | CR0_ET;
  if ((after & CR0_PG) != 0 && (after & CR0_PE) == 0) generalProtection();
  if ((after & CR0_NW) != 0 && (after & CR0_CD) == 0) generalProtection();
  const before = load<u64>(CR0);
  const efer = load<u64>(EFER);
  const changed = after ^ before;
  if ((changed & CR0_PG) != 0) {
    if ((after & CR0_PG) != 0) {
      if ((efer & EFER_LME) != 0) {
        // Into long mode: PAE is a must, and CS must not claim 64-bit code yet (volume 2, 14.6.1).
        if ((load<u64>(CR4) & CR4_PAE) == 0 || (attributesOf(CS) & LONG) != 0) generalProtection();
        store<u64>(EFER, efer | EFER_LMA);
      }
    } else {
      // Long mode can be left from compatibility mode only.
      if (longMode() && in64()) generalProtection();
      store<u64>(EFER, efer & ~EFER_LMA);
    }
  }
  store<u64>(CR0, after);
  if ((changed & CR0_PE) != 0) setCpl(0);
  if ((changed & (CR0_PG | CR0_WP | CR0_PE)) != 0) {
    flushTlb();
    privilegeChanged();
    updateMode();
  }
}

function writeCr3(value: u64): void {
  if (longMode() && value >> <u64>load<u32>(PHYSICAL_BITS) != 0) generalProtection();
  store<u64>(CR3, value);
  flushTlb();
}

function writeCr4(value: u64): void {
  if ((value & ~CR4_SUPPORTED) != 0) generalProtection();
  if (longMode() && (value & CR4_PAE) == 0) generalProtection();
  const changed = value ^ load<u64>(CR4);
  store<u64>(CR4, value);
  if ((changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP)) != 0) {
    flushTlb();
    privilegeChanged();
  }
  if ((changed & CR4_DE) != 0) rearm();
}

function moveFromDebug(p: usize): void {
  const number = <u32>load<u8>(p, U_NUMBER);
  if (number > 7) invalidOpcode();
  supervisor();
  const value = readDebug(number);
  checkDebugAccess();
  writeRegister(load<u8>(p, U_RM), controlSize(), value);
}

function moveToDebug(p: usize): void {
  const number = <u32>load<u8>(p, U_NUMBER);
  if (number > 7) invalidOpcode();
  supervisor();
  readDebug(number); // #UD of DR4 and DR5
  checkDebugAccess();
  writeDebug(number, readRegister(load<u8>(p, U_RM), controlSize()));
}

/** A register gets CR0 in its operand size, memory always 16 bits. */
function storeMachineStatus(p: usize, size: u32): void {
  const value = load<u64>(CR0);
  if (load<u8>(p, U_IS_REG)) writeRegister(load<u8>(p, U_RM), size, value);
  else write16(effectiveAddress(p), <u16>value);
}

/** PE MP EM TS; PE can be set but not cleared. */
function loadMachineStatus(p: usize): void {
  supervisor();
  const value = readOperand(p, 1);
  const before = load<u64>(CR0);
  writeCr0(before & ~(<u64>14) | value & 15);
}

/** A page that is not canonical has no translation: nothing to do. */
function invalidate(p: usize): void {
  const linear = effectiveAddress(p);
  if (canonical(linear)) flushPage(linear);
}

// ---- descriptor tables ----

function storeTable(p: usize, baseAt: usize, limitAt: usize): void {
  checkUmip();
  const at = effectiveAddress(p);
  const second = in64() ? at + 2 : at + 2 & 0xffffffff;
  probeWrite(at, in64() ? 10 : 6);
  write16(at, <u16>load<u32>(limitAt));
  if (in64()) write64(second, load<u64>(baseAt));
  else write32(second, <u32>load<u64>(baseAt));
}

function loadTable(p: usize, size: u32, baseAt: usize, limitAt: usize): void {
  supervisor();
  const at = effectiveAddress(p);
  const limit = <u32>read16(at);
  let value: u64;
  if (in64()) {
    value = <u64>read64(at + 2);
    if (!canonical(value)) generalProtection();
  } else {
    value = <u64>read32(at + 2 & 0xffffffff);
    if (size == 1) value &= 0xffffff; // a 16-bit operand size loads 24 bits
  }
  store<u64>(baseAt, value);
  store<u32>(limitAt, limit);
}

/** A selector goes to a register in its operand size, zero-extended, and to memory in 16 bits. */
function storeSelector(p: usize, size: u32, selector: u32): void {
  if (load<u8>(p, U_IS_REG)) writeRegister(load<u8>(p, U_RM), size, <u64>selector);
  else write16(effectiveAddress(p), <u16>selector);
}

/** Reads the descriptor of LLDT and LTR: in the GDT, of a type in `types`, present; 16 bytes in long mode. */
function fetchSystem(selector: u32, types: u32): u64 {
  if ((selector & 4) != 0 || !fetch(selector)) selectorFault(GP, selector);
  const d = descriptor;
  const a = attributesIn(d);
  if ((a & NOT_SYSTEM) != 0 || (types >> (a & 15) & 1) == 0) selectorFault(GP, selector);
  let address = baseIn(d);
  if (longMode()) {
    if (!fetchHigh(selector)) selectorFault(GP, selector);
    address |= descriptorHigh << 32;
    if (!canonical(address)) selectorFault(GP, selector);
  }
  if ((a & PRESENT) == 0) selectorFault(NP, selector);
  return address;
}

function loadLdt(p: usize): void {
  if (!protectedMode()) invalidOpcode();
  supervisor();
  const selector = <u32>readOperand(p, 1);
  if ((selector & 0xfffc) == 0) {
    store<u16>(LDTR_SELECTOR, <u16>selector);
    store<u16>(LDTR_ATTRIBUTES, 0);
    return;
  }
  const address = fetchSystem(selector, 1 << 2);
  store<u64>(LDTR_BASE, address);
  store<u32>(LDTR_LIMIT, limitIn(descriptor));
  store<u16>(LDTR_ATTRIBUTES, <u16>attributesIn(descriptor));
  store<u16>(LDTR_SELECTOR, <u16>selector);
}

function loadTask(p: usize): void {
  if (!protectedMode()) invalidOpcode();
  supervisor();
  const selector = <u32>readOperand(p, 1);
  if ((selector & 0xfffc) == 0) generalProtection();
  // Available TSS of 16 (not in long mode) or 32/64 bits; it becomes busy in the table.
  const address = fetchSystem(selector, longMode() ? 1 << 9 : 1 << 1 | 1 << 9);
  const attributes = attributesIn(descriptor) | 2;
  const limit = limitIn(descriptor);
  system_write8(descriptorAt + 5, <u8>attributes);
  store<u64>(TR_BASE, address);
  store<u32>(TR_LIMIT, limit);
  store<u16>(TR_ATTRIBUTES, <u16>attributes);
  store<u16>(TR_SELECTOR, <u16>selector);
}

/** Fetches the descriptor that LAR, LSL, VERR or VERW ask about; false when there is none or it is out of reach of CPL and RPL. */
function inspect(p: usize): bool {
  if (!protectedMode()) invalidOpcode();
  const selector = <u32>readOperand(p, 1);
  if ((selector & 0xfffc) == 0 || !fetch(selector)) return false;
  const a = attributesIn(descriptor);
  if ((a & (NOT_SYSTEM | CODE | CONFORMING)) == (NOT_SYSTEM | CODE | CONFORMING)) return true;
  return dpl(a) >= cpl() && dpl(a) >= (selector & 3);
}

function verify(p: usize, write: bool): void {
  let accessible = inspect(p);
  if (accessible) {
    const a = attributesIn(descriptor);
    accessible = (a & NOT_SYSTEM) != 0 && (write ? (a & (CODE | WRITABLE)) == WRITABLE : (a & (CODE | READABLE)) != CODE);
  }
  setZero(accessible);
}

/** System descriptor types that LAR and LSL accept: 16-bit TSS, LDT, call gates, task gate (legacy only), TSS. */
const LAR_LEGACY: u32 = 0x1a3e, LAR_LONG: u32 = 0x1a04, LSL_LEGACY: u32 = 0x0a0e, LSL_LONG: u32 = 0x0a04;

function accessRights(p: usize, size: u32): void {
  let valid = inspect(p);
  if (valid) {
    const a = attributesIn(descriptor);
    valid = (a & NOT_SYSTEM) != 0 || ((longMode() ? LAR_LONG : LAR_LEGACY) >> (a & 15) & 1) != 0;
  }
  if (valid) writeRegister(load<u8>(p, U_REG), size, descriptor >> 32 & (size == 1 ? 0xff00 : 0xf0ff00));
  setZero(valid);
}

function segmentLimit(p: usize, size: u32): void {
  let valid = inspect(p);
  if (valid) {
    const a = attributesIn(descriptor);
    valid = (a & NOT_SYSTEM) != 0 || ((longMode() ? LSL_LONG : LSL_LEGACY) >> (a & 15) & 1) != 0;
  }
  if (valid) writeRegister(load<u8>(p, U_REG), size, <u64>limitIn(descriptor));
  setZero(valid);
}

// ---- segment registers ----

function segmentLoaded(index: u32): void {
  if (!in64()) updateMode();
  if (index == SS) beginShadow(SHADOW_MOV_SS);
}

function moveToSegment(p: usize): void {
  const index = <u32>load<u8>(p, U_NUMBER) + 1;
  if (index == CS || index > GS) invalidOpcode();
  loadSegment(index, <u32>readOperand(p, 1));
  segmentLoaded(index);
}

function pushSegment(p: usize, size: u32): void {
  openStack();
  push(size, selectorOf(<u32>load<u8>(p, U_NUMBER) + 1));
  commitStack();
}

function popSegment(p: usize, size: u32): void {
  const index = <u32>load<u8>(p, U_NUMBER) + 1;
  openStack();
  const selector = <u32>pop(size) & 0xffff;
  loadSegment(index, selector);
  commitStack();
  segmentLoaded(index);
}

// ---- ports ----

/**
 * #GP(0) unless CPL <= IOPL or the TSS's I/O bitmap has a 0 for every port of the access (volume 2, 12.2.4). The processor reads
 * two bytes of the map, so both must lie within the limit. Notes I/O breakpoints. For IN, OUT and their string forms.
 */
export function checkPort(port: u32, width: u32): void {
  if (protectedMode() && cpl() > iopl()) {
    const a = <u32>load<u16>(TR_ATTRIBUTES);
    const limit = <u64>load<u32>(TR_LIMIT);
    if ((a & (PRESENT | 9)) != (PRESENT | 9) || limit < 0x67) generalProtection();
    const at = load<u64>(TR_BASE);
    const offset = <u64>system_read16(tableAddress(at + 0x66)) + (port >> 3);
    if (offset + 1 > limit) generalProtection();
    const bits = <u32>system_read16(tableAddress(at + offset));
    if ((bits >> (port & 7) & (1 << width) - 1) != 0) generalProtection();
  }
  portAccess(port, width);
}

@inline function portOf(p: usize): u32 { return load<u8>(p, U_AUX) ? <u32>load<u8>(p, U_IMMEDIATE) : <u32>gpr(RDX) & 0xffff; }

function portIn(p: usize, size: u32): void {
  const port = portOf(p);
  checkPort(port, 1 << size);
  writeRegister(0, size, <u64>host.portIn(port, 1 << size));
}

function portOut(p: usize, size: u32): void {
  const port = portOf(p);
  checkPort(port, 1 << size);
  host.portOut(port, 1 << size, <u32>readRegister(0, size));
}
