import { XMM } from "./layout";
import { U_IS_REG, U_NUMBER, U_RM, U_SEGMENT } from "./uop";
import { generalProtection } from "./fault";
import { readMemory, readRegister, segmentedUnchecked, sum, writeMemory, writeRegister } from "./operand";
import { addressToRead, addressToWrite } from "./memoryoperand";
import * as mmu from "./mmu";

/*
 * Operands of SSE instructions. ModRM.reg is always an XMM register (or a general one, which the caller takes
 * from operand.ts); ModRM.rm is an XMM register or memory.
 */

/** Address of the XMM register that ModRM.reg names. */
@inline export function xmmOfReg(p: usize): usize { return XMM + (<usize>load<u8>(p, U_NUMBER) << 4); }
/** Address of the XMM register that ModRM.rm names (U_RM is its number << 3). */
@inline export function xmmOfRm(p: usize): usize { return XMM + (<usize>load<u8>(p, U_RM) << 1); }
@inline export function rmIsRegister(p: usize): bool { return load<u8>(p, U_IS_REG) != 0; }

/** Address of a memory operand that must be aligned to 16 bytes, else #GP(0): before any page fault, and before #SS for its limit. */
export function alignedToRead(p: usize, length: u32): u64 {
  checkAlignment(p);
  return addressToRead(p, length);
}
export function alignedToWrite(p: usize, length: u32): u64 {
  checkAlignment(p);
  return addressToWrite(p, length);
}
@inline function checkAlignment(p: usize): void {
  if (segmentedUnchecked(sum(p), load<u8>(p, U_SEGMENT)) & 15) generalProtection();
}

/** 16-byte source of the legacy SSE forms: memory must be aligned. */
@inline export function readAligned128(p: usize): v128 {
  return rmIsRegister(p) ? v128.load(xmmOfRm(p)) : mmu.read128(alignedToRead(p, 16));
}
/** 16-byte source of the MOVU forms. */
@inline export function read128(p: usize): v128 {
  return rmIsRegister(p) ? v128.load(xmmOfRm(p)) : mmu.read128(addressToRead(p, 16));
}
/** The low 64, 32 bits of an XMM register, or as much memory at any alignment. */
@inline export function read64(p: usize): u64 {
  return rmIsRegister(p) ? load<u64>(xmmOfRm(p)) : mmu.read64(addressToRead(p, 8));
}
@inline export function read32(p: usize): u32 {
  return rmIsRegister(p) ? load<u32>(xmmOfRm(p)) : <u32>mmu.read32(addressToRead(p, 4));
}

/** A general register, or 2 (size 1), 4 (size 2) or 8 (size 3) bytes of memory: MOVD, PINSRW, CVTSI2SD. */
export function readGeneral(p: usize, size: u32): u64 {
  if (rmIsRegister(p)) return readRegister(load<u8>(p, U_RM), size);
  return readMemory(addressToRead(p, <u32>1 << size), size);
}
export function writeGeneral(p: usize, size: u32, value: u64): void {
  if (rmIsRegister(p)) writeRegister(load<u8>(p, U_RM), size, value);
  else writeMemory(addressToWrite(p, <u32>1 << size), size, value);
}
