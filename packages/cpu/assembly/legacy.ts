import { BR, DE, fault, invalidOpcode } from "./fault";
import { getArithmetic, setArithmetic, setZero } from "./flags";
import { read8, write16 } from "./mmu";
import { readSelector } from "./descriptors";
import { addressToWrite, partToRead } from "./memoryoperand";
import { gpr, readMemory, readRegister, segmented, sum, writeRegister } from "./operand";
import { in64, loadSegment, protectedMode, updateMode } from "./segments";
import { commitStack, drop, frameWord, openStack, pop, probeTop, push, stackTop } from "./stack";
import { U_AUX, U_IMMEDIATE, U_IS_REG, U_REG, U_RM, U_SEGMENT } from "./uop";

/*
 * Instructions that only old code uses: decimal arithmetic, PUSHA, BOUND, ARPL, ENTER, XLAT and far pointers.
 */

const AL: usize = 0, AH: usize = 1;
const RBP: u32 = 5;
const CF: u64 = 1, AF: u64 = 0x10;

// ---- decimal arithmetic ----

/** SF, ZF and PF of a byte. */
function byteFlags(value: u32): u64 {
  return (value & 0x80) | (value == 0 ? 0x40 : 0) | ((popcnt(value) & 1) == 0 ? 4 : 0);
}

/** DAA, DAS: OF, which is undefined, becomes 0. */
export function decimalAdjust(subtract: bool): void {
  const flags = getArithmetic();
  const before = <u32>readRegister(AL, 0);
  let value = before;
  let cf = flags & CF;
  let af: u64 = 0;
  const high = before > 0x99 || cf != 0;
  if ((before & 15) > 9 || (flags & AF) != 0) {
    value = subtract ? value - 6 : value + 6;
    if (value > 0xff) cf = 1;
    af = AF;
  }
  if (high) {
    value = subtract ? value - 0x60 : value + 0x60;
    cf = 1;
  } else if (!subtract) cf = 0;
  value &= 0xff;
  writeRegister(AL, 0, value);
  setArithmetic(byteFlags(value) | af | cf);
}

/** AAA, AAS. */
export function asciiAdjust(subtract: bool): void {
  let ax = <u32>readRegister(AL, 1);
  let carry: u64 = 0;
  if ((ax & 15) > 9 || (getArithmetic() & AF) != 0) {
    ax = subtract ? ax - 0x106 : ax + 0x106;
    carry = AF | CF;
  }
  ax &= 0xff0f;
  writeRegister(AL, 1, ax);
  setArithmetic(byteFlags(ax & 15) | carry);
}

/** AAM: AH := AL / base, AL := the rest; base 0 is #DE. */
export function asciiMultiply(p: usize): void {
  const base = <u32>load<u8>(p, U_IMMEDIATE);
  if (base == 0) fault(DE, 0);
  const value = <u32>readRegister(AL, 0);
  const low = value % base;
  writeRegister(AL, 1, value / base << 8 | low);
  setArithmetic(byteFlags(low));
}

/** AAD: AL := AL + AH * base, AH := 0. */
export function asciiDivide(p: usize): void {
  const value = <u32>readRegister(AL, 0) + <u32>readRegister(AH, 0) * <u32>load<u8>(p, U_IMMEDIATE) & 0xff;
  writeRegister(AL, 1, value);
  setArithmetic(byteFlags(value));
}

// ---- stack frames ----

export function pushAll(size: u32): void {
  openStack();
  for (let i: u32 = 0; i < 8; i++) push(size, gpr(i));
  commitStack();
}

/** DI SI BP (SP is skipped) BX DX CX AX. */
export function popAll(size: u32): void {
  openStack();
  // As on AMD, a fault half-way finds the registers before it loaded; rSP moves last.
  for (let number: i32 = 7; number >= 0; number--) {
    const value = pop(size);
    if (number != 4) writeRegister(<usize>number << 3, size, value);
  }
  commitStack();
}

/** ENTER: U_IMMEDIATE = bytes of locals, U_AUX = nesting level. */
export function enter(p: usize, size: u32): void {
  const level = <u32>load<u8>(p, U_AUX) & 31;
  openStack();
  push(size, gpr(RBP));
  const frame = stackTop();
  let outer = gpr(RBP);
  for (let i: u32 = 1; i < level; i++) {
    outer -= 1 << size;
    push(size, frameWord(outer, size));
  }
  if (level > 0) push(size, frame);
  drop(<u64>0 - <u64>load<u16>(p, U_IMMEDIATE));
  probeTop(size); // the locals are not touched, but the new top must be writable
  commitStack();
  writeRegister(RBP << 3, size, frame);
}

// ---- the rest ----

/** XLAT: AL := byte at rBX + AL of the segment. The decoder gives rBX as base. */
export function translate(p: usize): void {
  writeRegister(AL, 0, <u64>read8(segmented(p, sum(p) + readRegister(AL, 0), <u32>load<u8>(p, U_SEGMENT))));
}

/** BOUND: #BR unless lower <= index <= upper, signed. */
export function bound(p: usize, size: u32): void {
  const length: u32 = 1 << size;
  const index = readRegister(load<u8>(p, U_REG), size);
  const lower = readMemory(partToRead(p, 0, length), size);
  const upper = readMemory(partToRead(p, length, length), size);
  const outside = size == 1
    ? <i16>index < <i16>lower || <i16>index > <i16>upper
    : <i32>index < <i32>lower || <i32>index > <i32>upper;
  if (outside) fault(BR, 0);
}

/** ARPL: raises the RPL of the destination to that of the source; ZF tells whether it did. */
export function adjustRpl(p: usize): void {
  if (!protectedMode()) invalidOpcode();
  const target = readSelector(p);
  const rpl = <u32>readRegister(load<u8>(p, U_REG), 1) & 3;
  const raise = (target & 3) < rpl;
  if (raise) {
    const raised = target & 0xfffc | rpl;
    if (load<u8>(p, U_IS_REG)) writeRegister(load<u8>(p, U_RM), 1, raised);
    else write16(addressToWrite(p, 2), <u16>raised);
  }
  setZero(raise);
}

/** The offset that `readFarPointer` found. */
export let farOffset: u64 = 0;

/** Reads offset (2, 4 or 8 bytes) and selector at the memory operand; returns the selector. */
export function readFarPointer(p: usize, size: u32): u32 {
  const length: u32 = 1 << size;
  farOffset = readMemory(partToRead(p, 0, length), size);
  return <u32>readMemory(partToRead(p, length, 2), 1);
}

/** LES LDS LSS LFS LGS. LSS casts no shadow: it loads the stack pointer as well. */
export function loadFar(p: usize, size: u32): void {
  const selector = readFarPointer(p, size);
  loadSegment(<u32>load<u8>(p, U_AUX) + 1, selector);
  writeRegister(load<u8>(p, U_REG), size, farOffset);
  if (!in64()) updateMode();
}
