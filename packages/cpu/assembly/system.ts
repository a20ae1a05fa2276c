import { invalidate, loadMachineStatus, moveFromControl, moveFromDebug, moveToControl, moveToDebug, storeMachineStatus } from "./control";
import { beginShadow, joinPending, portAccess } from "./debug";
import { accessRights, loadLdt, loadTable, loadTask, readSelector, segmentLimit, storeSelector, storeTable, verify } from "./descriptors";
import { DB, generalProtection, invalidOpcode } from "./fault";
import { getFlags, setArithmetic } from "./flags";
import { ICEBP, SOFTWARE, deliver, flagsChanged, writeFlags } from "./interrupts";
import {
  ACTIVITY, ACTIVITY_HALTED, CR0, FLAGS_SYSTEM, GDTR_BASE, GDTR_LIMIT, IDTR_BASE, IDTR_LIMIT, LDTR_SELECTOR, LIMIT, SCRATCH, SHADOW_MOV_SS,
  SHADOW_STI, STOP, STOP_HALT, TR_ATTRIBUTES, TR_BASE, TR_LIMIT, TR_SELECTOR, TSC_AUX,
} from "./layout";
import { system_read16 } from "./mmu";
import { base, checkBaseInstruction, readMsr, setPair, swapGs, timestamp, writeBase, writeMsr } from "./msr";
import { gpr, readRegister, setGpr, writeRegister } from "./operand";
import { checkIopl, checkSmapFlag, checkSystemSegment, checkTimestamp, checkUmip, iopl, supervisor } from "./privilege";
import { CR0_TS, FLAG_AC, FLAG_IF, FLAG_RF, FLAG_VM } from "./profile";
import { CS, FS, GS, PRESENT, SS, cpl, in64, loadSegment, protectedMode, selectorOf, tableAddress, updateMode } from "./segments";
import { commitStack, openStack, pop, push } from "./stack";
import { Sys, U_AUX, U_DISPLACEMENT, U_IMMEDIATE, U_NUMBER, U_RM, U_SIZE } from "./uop";
import * as host from "./host";
import * as legacy from "./legacy";
import * as transfer from "./transfer";

/*
 * The system instructions (AMD64 volume 3, chapter 4, and the privileged part of chapter 3).
 *
 * `system` dispatches; the longer ones have a function below. Every check comes before the first change.
 */

/** Numbers of general registers. */
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

// ---- segment registers ----

function segmentLoaded(index: u32): void {
  if (!in64()) updateMode();
  if (index == SS) beginShadow(SHADOW_MOV_SS);
}

function moveToSegment(p: usize): void {
  const index = <u32>load<u8>(p, U_NUMBER) + 1;
  if (index == CS || index > GS) invalidOpcode();
  loadSegment(index, readSelector(p));
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
