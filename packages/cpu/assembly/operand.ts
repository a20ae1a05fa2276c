// Operands of a decoded instruction: registers by byte offset, memory by effective address.
import { GPR, SEGMENT_BASE } from "./layout";
import {
  U_SIZE, U_RM, U_BASE, U_INDEX, U_SCALE, U_SEGMENT, U_DISPLACEMENT, U_IS_REG, U_OP, U_SUB, ADDRESS_16, ADDRESS_32, ADDRESS_CHECKED, Sys,
} from "./uop";
import { checkAccess } from "./segments";
import { ALU_MR, TEST_RR, MOV_MR, SHIFT_RI, MOVZX_M, MOVSX_R, MOVSX_M, JCC, STORE, LOAD_ZX, INCDEC_M, Op, Stack, Bit } from "./ops";
import * as mmu from "./mmu";

/** U_SEGMENT bit 6: not 64-bit mode: the linear address wraps at 4 GiB. */
export const ADDRESS_LEGACY: u32 = 64;

/** What every address form has in common: base + index * scale + displacement, not yet cut to the address size. */
@inline export function sum(p: usize): u64 {
  return load<u64>(<usize>load<u8>(p, U_BASE), GPR) + (load<u64>(<usize>load<u8>(p, U_INDEX), GPR) << <u64>load<u8>(p, U_SCALE)) + <u64><i64>load<i32>(p, U_DISPLACEMENT);
}
/** Whether the integer instruction at `p` writes its memory operand. */
function writes(p: usize): bool {
  const op = <u32>load<u16>(p, U_OP), sub = <u32>load<u8>(p, U_SUB);
  if (op >= ALU_MR && op < TEST_RR) return (op & 7) != 7;
  if ((op >= MOV_MR && op < SHIFT_RI) || (op >= STORE && op < LOAD_ZX) || (op >= INCDEC_M && op < INCDEC_M + 4)) return true;
  switch (<i32>op) {
    case Op.SETCC: case Op.INCDEC: case Op.SHIFT: case Op.DOUBLE_SHIFT: case Op.CMPXCHG: case Op.CMPXCHG_WIDE: case Op.XADD: case Op.XCHG: return true;
    case Op.GROUP3: return sub < 4;
    case Op.BIT: return sub != Bit.TEST;
    case Op.STACK: return sub == Stack.POP;
    case Op.SYSTEM: return sub == Sys.MOV_FROM_SEG || sub == Sys.SLDT || sub == Sys.STR || sub == Sys.SMSW || sub == Sys.SGDT || sub == Sys.SIDT || sub == Sys.ARPL;
    default: return false;
  }
}
/** Bytes of the memory operand, for its segment's limit. */
function lengthOf(p: usize): u32 {
  const word: u32 = <u32>1 << load<u8>(p, U_SIZE), op = <u32>load<u16>(p, U_OP);
  if (op == Op.CMPXCHG_WIDE) return 2 * word;
  // U_SIZE is that of the destination.
  if (op == Op.MOVZX16) return <u32>1 << (<u32>load<u8>(p, U_SUB) & 1);
  if (op >= MOVZX_M && op < MOVSX_R) return 1 << (op - MOVZX_M);
  if (op >= MOVSX_M && op < JCC) return 1 << ((op - MOVSX_M) >> 1);
  if (op != Op.SYSTEM && op != Op.SYSTEM_END) return word;
  switch (<i32>load<u8>(p, U_SUB)) {
    case Sys.BOUND: return 2 * word;
    case Sys.MOV_FROM_SEG: case Sys.MOV_TO_SEG: case Sys.SLDT: case Sys.STR: case Sys.LLDT: case Sys.LTR: case Sys.VERR: case Sys.VERW: case Sys.SMSW: case Sys.LMSW: case Sys.ARPL: return 2;
    case Sys.SGDT: case Sys.SIDT: case Sys.LGDT: case Sys.LIDT: return 6;
    case Sys.LAR: case Sys.LSL: return 2;
    case Sys.INVLPG: return 1;
    case Sys.LOAD_FAR: case Sys.JMP_FAR_MEMORY: case Sys.CALL_FAR_MEMORY: return word + 2;
    default: return word;
  }
}
/** Whether a read or write of the instruction at `p` is one of the stack segment: a push or pop, or an address that starts from RSP or RBP. */
export function usesStack(p: usize, write: bool): bool {
  const byRegister = load<u8>(p, U_IS_REG) != 0;
  switch (<i32>load<u16>(p, U_OP)) {
    case Op.PUSH: case Op.PUSH_I: case Op.POP: case Op.LEAVE64: case Op.CALL: case Op.CALL_R: case Op.RET: case Op.RET_I: return true;
    case Op.PUSH_M: case Op.CALL_M: if (write) return true; break;
    case Op.STACK: if (byRegister || load<u8>(p, U_SUB) == Stack.PUSH_I || load<u8>(p, U_SUB) == Stack.LEAVE || write == (load<u8>(p, U_SUB) == Stack.PUSH)) return true; break;
    case Op.STRING: return false;
    default:
  }
  const base = load<u8>(p, U_BASE);
  return !byRegister && load<u8>(p, U_SEGMENT) == 0 && (base == 32 || base == 40);
}
/** `offset` cut to the address size, checked against the segment's limit where that matters, plus the segment's base. */
export function segmented(p: usize, offset: u64, segment: u32): u64 {
  return segment & ADDRESS_CHECKED ? segmentedFor(offset, segment, lengthOf(p), writes(p)) : segmentedUnchecked(offset, segment);
}
/** The same for an access of `length` bytes that is a write or not. */
export function segmentedFor(offset: u64, segment: u32, length: u32, write: bool): u64 {
  if (segment & ADDRESS_16) offset &= 0xffff;
  else if (segment & ADDRESS_32) offset = <u64><u32>offset;
  if (segment & ADDRESS_CHECKED) checkAccess(segment & 7, offset, length, write);
  const linear = offset + load<u64>(<usize>(segment & 7) << 3, SEGMENT_BASE);
  return segment & ADDRESS_LEGACY ? <u64><u32>linear : linear;
}
/** As segmented() where ADDRESS_CHECKED is not set; calls nothing. */
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
@inline export function sizeMask(size: u32): u64 { return <u64>-1 >> (64 - (<u64>8 << <u64>size)); }
/** Sign-extends the low `8 << size` bits. */
@inline export function extend(v: u64, size: u32): i64 { const s = 64 - (<u64>8 << <u64>size); return <i64>(v << s) >> <i64>s; }

@inline export function gpr(i: u32): u64 { return load<u64>(GPR + (<usize>i << 3)); }
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
