import * as host from "./host";
import { readSelector } from "./descriptors";
import { checkDebugAccess, readDebug, rearm, writeDebug } from "./debug";
import { generalProtection, invalidOpcode } from "./fault";
import { CR0, CR2, CR3, CR4, EFER, PHYSICAL_BITS, RAM, RAM_SIZE } from "./layout";
import { flushPage, flushTlb, privilegeChanged, write16 } from "./mmu";
import { base } from "./msr";
import { addressToWrite } from "./memoryoperand";
import { addressOffset, readRegister, writeRegister } from "./operand";
import { supervisor } from "./privilege";
import {
  CR0_CD, CR0_ET, CR0_NW, CR0_PE, CR0_PG, CR0_WP, CR4_DE, CR4_PAE, CR4_PGE, CR4_PSE, CR4_SMAP, CR4_SMEP, CR4_SUPPORTED, EFER_LMA, EFER_LME,
} from "./profile";
import { CS, LONG, attributesOf, canonical, in64, longMode, setCpl, updateMode } from "./segments";
import { U_IS_REG, U_NUMBER, U_RM, U_SEGMENT } from "./uop";

/* MOV to and from control and debug registers, SMSW, LMSW, INVLPG; entering and leaving protected and long mode (AMD64 volume 2, 3.1 and 14.6). */

function controlSize(): u32 { return in64() ? 3 : 2; }

export function moveFromControl(p: usize): void {
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

export function moveToControl(p: usize): void {
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
      } else if ((load<u64>(CR4) & CR4_PAE) != 0) checkPointers(load<u64>(CR3));
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

/** Bits 1, 2 and 5 to 8 of a page-directory-pointer entry of legacy PAE paging, and those beyond the physical address, must be 0. */
const POINTER_RESERVED: u64 = 0x1e6;

/**
 * Legacy PAE paging takes its four page-directory pointers when CR3 is loaded, or when CR0 or CR4 begins such paging: a present
 * one with a reserved bit is #GP then, not #PF later (volume 2, 5.2.3). Entries beyond RAM are not present.
 */
function checkPointers(cr3: u64): void {
  const reserved = POINTER_RESERVED | ~((<u64>1 << <u64>load<u32>(PHYSICAL_BITS)) - 1);
  let at = cr3 & 0xffffffe0;
  for (let i = 0; i < 4; i++, at += 8) {
    if (at + 8 > load<u64>(RAM_SIZE)) continue;
    const entry = load<u64>(RAM + <usize>at);
    if ((entry & 1) != 0 && (entry & reserved) != 0) generalProtection();
  }
}

export function writeCr3(value: u64): void {
  if (longMode()) {
    if (value >> <u64>load<u32>(PHYSICAL_BITS) != 0) generalProtection();
  } else if ((load<u64>(CR0) & CR0_PG) != 0 && (load<u64>(CR4) & CR4_PAE) != 0) checkPointers(value);
  store<u64>(CR3, value);
  flushTlb();
}

function writeCr4(value: u64): void {
  if ((value & ~CR4_SUPPORTED) != 0) generalProtection();
  if (longMode() && (value & CR4_PAE) == 0) generalProtection();
  const changed = value ^ load<u64>(CR4);
  if ((changed & CR4_PAE) != 0 && (value & CR4_PAE) != 0 && (load<u64>(CR0) & CR0_PG) != 0) checkPointers(load<u64>(CR3));
  store<u64>(CR4, value);
  if ((changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP)) != 0) {
    flushTlb();
    privilegeChanged();
  }
  if ((changed & CR4_DE) != 0) rearm();
}

export function moveFromDebug(p: usize): void {
  const number = <u32>load<u8>(p, U_NUMBER);
  if (number > 7) invalidOpcode();
  supervisor();
  const value = readDebug(number);
  checkDebugAccess();
  writeRegister(load<u8>(p, U_RM), controlSize(), value);
}

export function moveToDebug(p: usize): void {
  const number = <u32>load<u8>(p, U_NUMBER);
  if (number > 7) invalidOpcode();
  supervisor();
  readDebug(number); // #UD of DR4 and DR5
  checkDebugAccess();
  writeDebug(number, readRegister(load<u8>(p, U_RM), controlSize()));
}

/** A register gets CR0 in its operand size, memory always 16 bits. */
export function storeMachineStatus(p: usize, size: u32): void {
  const value = load<u64>(CR0);
  if (load<u8>(p, U_IS_REG)) writeRegister(load<u8>(p, U_RM), size, value);
  else write16(addressToWrite(p, 2), <u16>value);
}

/** PE MP EM TS; PE can be set but not cleared. */
export function loadMachineStatus(p: usize): void {
  supervisor();
  const value = <u64>readSelector(p);
  const before = load<u64>(CR0);
  writeCr0(before & ~(<u64>14) | value & 15);
}

/** No limit is checked, and an address that is not canonical has no translation: nothing to do. */
export function invalidate(p: usize): void {
  const sum = addressOffset(p) + base(<u32>load<u8>(p, U_SEGMENT) & 7);
  const linear = in64() ? sum : sum & 0xffffffff;
  if (canonical(linear)) flushPage(linear);
}
