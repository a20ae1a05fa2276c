/*
 * What a decoded block can do without: a dispatch (compare and branch become one uop) and flags that nobody sees.
 *
 * An instruction's flags are dead when a later instruction of the block overwrites all six before anything can read them
 * or fault. (Interrupts and single steps come between blocks only, and a fault must show precise flags.)
 */
import { U_OP, U_IMMEDIATE, U_NEXT } from "./uop";
import { B_COUNT, HEADER } from "./blocks";
import {
  ALU_RR, ALU_RI, ALU_RM, TEST_RR, TEST_RI, TEST_MR, MOV_RR, MOV_RM, SHIFT_RI, MOVZX_R, MOVZX_M, MOVSX_R, MOVSX_M, JCC, CMP_RR_JCC, CMP_RI_JCC, TEST_RR_JCC,
  TEST_RI_JCC, LOAD, QUIET_RR, QUIET_RI, QUIET_SHIFT, INCDEC_R, CMOV_R, Op,
} from "./ops";

const NONE: u32 = 0xffff;
const CMP: u32 = 7;

/** The fused operation for a compare `op` before a branch, less its condition. */
function comparing(op: u32): u32 {
  if (op == ALU_RR + 2 * 8 + CMP) return CMP_RR_JCC;
  if (op == ALU_RR + 3 * 8 + CMP) return CMP_RR_JCC + 16;
  if (op == ALU_RI + 2 * 8 + CMP) return CMP_RI_JCC;
  if (op == ALU_RI + 3 * 8 + CMP) return CMP_RI_JCC + 16;
  if (op == TEST_RR) return TEST_RR_JCC;
  if (op == TEST_RR + 2) return TEST_RR_JCC + 16;
  if (op == TEST_RR + 3) return TEST_RR_JCC + 32;
  if (op == TEST_RI) return TEST_RI_JCC;
  if (op == TEST_RI + 2) return TEST_RI_JCC + 16;
  return NONE;
}
/** QUIET_* for an ALU operation, by its number; NONE for ADC, SBB and CMP. */
function quiet(k: u32): u32 { return k == 0 ? 0 : k == 1 ? 1 : k == 4 ? 2 : k == 5 ? 3 : k == 6 ? 4 : NONE; }

/** Rewrites the block at `b`, whose closing END stands before `end`; returns the end of its memory. */
export function fuse(b: usize, end: usize, is64: bool): usize {
  const n = load<u32>(b, B_COUNT);
  let last = end - 64; // the last instruction
  if (is64 && n >= 2) {
    const branch = <u32>load<u16>(last, U_OP), compare = last - 32;
    if (branch >= JCC && branch < JCC + 16) {
      const fused = comparing(load<u16>(compare, U_OP));
      const target = load<i64>(last, U_IMMEDIATE);
      if (fused != NONE && target == <i64><i32>target) {
        store<u16>(compare, <u16>(fused + branch - JCC), U_OP);
        store<i32>(compare, <i32>target, U_IMMEDIATE + 4);
        store<u16>(compare, load<u16>(last, U_NEXT), U_NEXT);
        memory.copy(last, end - 32, 32); // END moves up
        end -= 32;
        last -= 32;
      }
    }
  }
  let dead = false;
  for (let p = last; p >= b + HEADER; p -= 32) {
    const op = <u32>load<u16>(p, U_OP);
    if (op < ALU_RM) {
      const k = op & 7, size = (op >> 3) & 3;
      const q = quiet(k);
      if (dead && size >= 2 && q != NONE) store<u16>(p, <u16>((op < ALU_RI ? QUIET_RR : QUIET_RI) + (size - 2) * 5 + q), U_OP);
      dead = k != 2 && k != 3;
    } else if (op >= TEST_RR && op < TEST_MR) dead = true;
    else if (op >= SHIFT_RI && op < MOVZX_R) {
      const kind = (op - SHIFT_RI) >> 1, wide = (op - SHIFT_RI) & 1;
      if (dead) store<u16>(p, <u16>(QUIET_SHIFT + wide * 5 + kind), U_OP);
      else dead = kind < 3; // rotates write CF and OF only
    } else if (op >= CMP_RR_JCC && op < LOAD) dead = true;
    else if (op == Op.IMUL32 || op == Op.IMUL64) dead = true;
    else if ((op >= MOV_RR && op < MOV_RM) || (op >= MOVZX_R && op < MOVZX_M) || (op >= MOVSX_R && op < MOVSX_M) || (op >= INCDEC_R && op < CMOV_R)
      || op == Op.LEA64 || op == Op.LEA32 || op == Op.LEA || op == Op.NOP || op == Op.BSWAP || op == Op.WIDEN || op == Op.SIGN_FILL) { /* neither read nor fault */ }
    else dead = false;
  }
  return end;
}
