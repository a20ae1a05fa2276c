// Operands of a decoded instruction: registers by byte offset, memory by effective address.
import { GPR, SEGMENT_BASE } from "./layout";
import {
  U_SIZE, U_RM, U_BASE, U_INDEX, U_SCALE, U_SEGMENT, U_DISPLACEMENT, U_IS_REG, ADDRESS_16, ADDRESS_32, ADDRESS_CHECKED,
} from "./uop";
import { checkLimit } from "./segments";
import * as mmu from "./mmu";

/** U_SEGMENT bit 6: not 64-bit mode: the linear address wraps at 4 GiB. */
export const ADDRESS_LEGACY: u32 = 64;

/** What every address form has in common: base + index * scale + displacement, not yet cut to the address size. */
// @ts-ignore: decorator
@inline export function sum(p: usize): u64 {
  return load<u64>(<usize>load<u8>(p, U_BASE), GPR) + (load<u64>(<usize>load<u8>(p, U_INDEX), GPR) << <u64>load<u8>(p, U_SCALE)) + <u64><i64>load<i32>(p, U_DISPLACEMENT);
}
/** `offset` cut to the address size, checked against the segment's limit where that matters, plus the segment's base. */
export function segmented(p: usize, offset: u64, segment: u32): u64 {
  if (segment & ADDRESS_16) offset &= 0xffff;
  else if (segment & ADDRESS_32) offset = <u64><u32>offset;
  if (segment & ADDRESS_CHECKED) checkLimit(segment & 7, offset, <u32>1 << load<u8>(p, U_SIZE));
  const linear = offset + load<u64>(<usize>(segment & 7) << 3, SEGMENT_BASE);
  return segment & ADDRESS_LEGACY ? <u64><u32>linear : linear;
}
/** As segmented() where ADDRESS_CHECKED is not set; calls nothing. */
// @ts-ignore: decorator
@inline export function segmentedUnchecked(offset: u64, segment: u32): u64 {
  if (segment > 7) {
    if (segment & ADDRESS_16) offset &= 0xffff;
    else if (segment & ADDRESS_32) offset = <u64><u32>offset;
  }
  const linear = offset + load<u64>(<usize>(segment & 7) << 3, SEGMENT_BASE);
  return segment & ADDRESS_LEGACY ? <u64><u32>linear : linear;
}
/** Linear address of the memory operand. */
export function effectiveAddress(p: usize): u64 {
  const segment = <u32>load<u8>(p, U_SEGMENT);
  return segment ? segmented(p, sum(p), segment) : sum(p);
}
/** Address without its segment, cut to the address size: LEA. */
export function addressOffset(p: usize): u64 {
  const segment = <u32>load<u8>(p, U_SEGMENT);
  const offset = sum(p);
  return segment & ADDRESS_16 ? offset & 0xffff : segment & ADDRESS_32 ? <u64><u32>offset : offset;
}
/** Bits of an operand size, as a mask. */
// @ts-ignore: decorator
@inline export function sizeMask(size: u32): u64 { return <u64>-1 >> (64 - (<u64>8 << <u64>size)); }
/** Sign-extends the low `8 << size` bits. */
// @ts-ignore: decorator
@inline export function extend(v: u64, size: u32): i64 { const s = 64 - (<u64>8 << <u64>size); return <i64>(v << s) >> <i64>s; }

// @ts-ignore: decorator
@inline export function gpr(i: u32): u64 { return load<u64>(GPR + (<usize>i << 3)); }
// @ts-ignore: decorator
@inline export function setGpr(i: u32, v: u64): void { store<u64>(GPR + (<usize>i << 3), v); }

/** `offset` in bytes from GPR; `size` 0 to 3. */
export function readRegister(offset: usize, size: u32): u64 {
  switch (size) {
    case 0: return load<u8>(offset, GPR);
    case 1: return load<u16>(offset, GPR);
    case 2: return load<u32>(offset, GPR);
    default: return load<u64>(offset, GPR);
  }
}
/** A 32-bit write clears the upper half, as in 64-bit mode. */
export function writeRegister(offset: usize, size: u32, v: u64): void {
  switch (size) {
    case 0: store<u8>(offset, <u8>v, GPR); break;
    case 1: store<u16>(offset, <u16>v, GPR); break;
    case 2: store<u64>(offset, <u64><u32>v, GPR); break;
    default: store<u64>(offset, v, GPR);
  }
}
export function readMemory(linear: u64, size: u32): u64 {
  switch (size) {
    case 0: return mmu.read8(linear);
    case 1: return mmu.read16(linear);
    case 2: return mmu.read32(linear);
    default: return mmu.read64(linear);
  }
}
export function writeMemory(linear: u64, size: u32, v: u64): void {
  switch (size) {
    case 0: mmu.write8(linear, <u8>v); break;
    case 1: mmu.write16(linear, <u16>v); break;
    case 2: mmu.write32(linear, <u32>v); break;
    default: mmu.write64(linear, v);
  }
}
/** Reads what is about to be written: faults as a write, before anything has changed. */
export function readForWrite(linear: u64, size: u32): u64 {
  switch (size) {
    case 0: return mmu.readForWrite8(linear);
    case 1: return mmu.readForWrite16(linear);
    case 2: return mmu.readForWrite32(linear);
    default: return mmu.readForWrite64(linear);
  }
}
export function readOperand(p: usize, size: u32): u64 {
  return load<u8>(p, U_IS_REG) ? readRegister(load<u8>(p, U_RM), size) : readMemory(effectiveAddress(p), size);
}
export function writeOperand(p: usize, size: u32, v: u64): void {
  if (load<u8>(p, U_IS_REG)) writeRegister(load<u8>(p, U_RM), size, v);
  else writeMemory(effectiveAddress(p), size, v);
}
