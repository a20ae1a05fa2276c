import { GP, NP, generalProtection, invalidOpcode } from "./fault";
import { setZero } from "./flags";
import { LDTR_ATTRIBUTES, LDTR_BASE, LDTR_LIMIT, LDTR_SELECTOR, TR_ATTRIBUTES, TR_BASE, TR_LIMIT, TR_SELECTOR } from "./layout";
import { probeWrite, read16, read32, read64, system_write8, write16, write32, write64 } from "./mmu";
import { addressToRead, addressToWrite, partToRead, partToWrite } from "./memoryoperand";
import { readRegister, writeRegister } from "./operand";
import { checkUmip, supervisor } from "./privilege";
import { VENDOR_AMD } from "./profile";
import {
  CODE, CONFORMING, NOT_SYSTEM, PRESENT, READABLE, WRITABLE, attributesIn, baseIn, canonical, cpl, descriptor, descriptorAt, descriptorHigh, dpl,
  fetch, fetchHigh, in64, limitIn, longMode, protectedMode, selectorFault,
} from "./segments";
import { U_IS_REG, U_REG, U_RM } from "./uop";

/* Instructions on descriptor tables: LGDT to LTR, LAR, LSL, VERR, VERW (AMD64 volume 2, 4.6 to 4.8). */

export function storeTable(p: usize, baseAt: usize, limitAt: usize): void {
  checkUmip();
  const length: u32 = in64() ? 8 : 4;
  const at = partToWrite(p, 0, 2), second = partToWrite(p, 2, length);
  probeWrite(at, 2);
  probeWrite(second, length);
  write16(at, <u16>load<u32>(limitAt));
  if (in64()) write64(second, load<u64>(baseAt));
  else write32(second, <u32>load<u64>(baseAt));
}

export function loadTable(p: usize, size: u32, baseAt: usize, limitAt: usize): void {
  supervisor();
  const limit = <u32>read16(partToRead(p, 0, 2));
  let value: u64;
  if (in64()) {
    value = <u64>read64(partToRead(p, 2, 8));
    if (!canonical(value)) generalProtection();
  } else {
    value = <u64>read32(partToRead(p, 2, 4));
    if (size == 1) value &= 0xffffff; // a 16-bit operand size loads 24 bits
  }
  store<u64>(baseAt, value);
  store<u32>(limitAt, limit);
}

/** A selector goes to a register in its operand size, zero-extended, and to memory in 16 bits. */
export function storeSelector(p: usize, size: u32, selector: u32): void {
  if (load<u8>(p, U_IS_REG)) writeRegister(load<u8>(p, U_RM), size, <u64>selector);
  else write16(addressToWrite(p, 2), <u16>selector);
}

/** A selector (or machine status word) from a register or from 16 bits of memory, whatever the operand size. */
export function readSelector(p: usize): u32 {
  return load<u8>(p, U_IS_REG) ? <u32>readRegister(load<u8>(p, U_RM), 1) : <u32>read16(addressToRead(p, 2));
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

export function loadLdt(p: usize): void {
  if (!protectedMode()) invalidOpcode();
  supervisor();
  const selector = readSelector(p);
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

export function loadTask(p: usize): void {
  if (!protectedMode()) invalidOpcode();
  supervisor();
  const selector = readSelector(p);
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
  const selector = readSelector(p);
  if ((selector & 0xfffc) == 0 || !fetch(selector)) return false;
  const a = attributesIn(descriptor);
  if ((a & (NOT_SYSTEM | CODE | CONFORMING)) == (NOT_SYSTEM | CODE | CONFORMING)) return true;
  return dpl(a) >= cpl() && dpl(a) >= (selector & 3);
}

export function verify(p: usize, write: bool): void {
  let accessible = inspect(p);
  if (accessible) {
    const a = attributesIn(descriptor);
    accessible = (a & NOT_SYSTEM) != 0 && (write ? (a & (CODE | WRITABLE)) == WRITABLE : (a & (CODE | READABLE)) != CODE);
  }
  setZero(accessible);
}

/** What LAR gives of a descriptor's upper half. Intel leaves bits 16-19 undefined; AMD keeps the bits of the limit there. */
const ACCESS_RIGHTS: u64 = VENDOR_AMD ? 0xffff00 : 0xf0ff00;

/** System descriptor types that LAR and LSL accept: 16-bit TSS, LDT, call gates, task gate (legacy only), TSS. */
const LAR_LEGACY: u32 = 0x1a3e, LAR_LONG: u32 = 0x1a04, LSL_LEGACY: u32 = 0x0a0e, LSL_LONG: u32 = 0x0a04;

export function accessRights(p: usize, size: u32): void {
  let valid = inspect(p);
  if (valid) {
    const a = attributesIn(descriptor);
    valid = (a & NOT_SYSTEM) != 0 || ((longMode() ? LAR_LONG : LAR_LEGACY) >> (a & 15) & 1) != 0;
  }
  if (valid) writeRegister(load<u8>(p, U_REG), size, descriptor >> 32 & (size == 1 ? 0xff00 : ACCESS_RIGHTS));
  setZero(valid);
}

export function segmentLimit(p: usize, size: u32): void {
  let valid = inspect(p);
  if (valid) {
    const a = attributesIn(descriptor);
    valid = (a & NOT_SYSTEM) != 0 || ((longMode() ? LSL_LONG : LSL_LEGACY) >> (a & 15) & 1) != 0;
  }
  if (valid) writeRegister(load<u8>(p, U_REG), size, <u64>limitIn(descriptor));
  setZero(valid);
}
