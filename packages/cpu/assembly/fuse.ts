/*
 * What a decoded block can do without: flags that nobody sees, and dispatches.
 *
 * An instruction's flags are dead when a later instruction of the block overwrites all six before anything can read them
 * or fault. (Interrupts and single steps come between blocks only, and a fault must show precise flags.)
 *
 * Two uops in a row that often stand together are dispatched as one: the first gets the number of the pair, the second
 * stays as it is. fast() does both; when the second cannot be finished it returns just that one, and slow() does only the
 * first of a pair. So a pair can begin and end anywhere, also at a store that changes the code behind it.
 * The second may itself be the first of a pair: then three go at once.
 */
import { U_OP } from "./uop";
import { HEADER } from "./blocks";
import {
  ALU_RI, ALU_RM, TEST_RR, TEST_MR, MOV_RR, MOV_RM, SHIFT_RI, MOVZX_R, MOVZX_M, MOVSX_R, MOVSX_M, QUIET_RR, QUIET_RI, QUIET_SHIFT, INCDEC_R, CMOV_R, NOTNEG_R, Op,
} from "./ops";
import { pairOf } from "../build/pairs";

const NONE: u32 = 0xffff;

/** QUIET_* for an ALU operation, by its number; NONE for ADC, SBB and CMP. */
function quiet(k: u32): u32 { return k == 0 ? 0 : k == 1 ? 1 : k == 4 ? 2 : k == 5 ? 3 : k == 6 ? 4 : NONE; }

function silence(first: usize, end: usize): void {
  let dead = false;
  for (let p = end - 32; p >= first; p -= 32) {
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
    } else if (op == NOTNEG_R + 1 || op == NOTNEG_R + 3) dead = true;
    else if (op == NOTNEG_R || op == NOTNEG_R + 2) { /* NOT touches no flag */ }
    else if (op == Op.IMUL32 || op == Op.IMUL64) dead = true;
    else if ((op >= MOV_RR && op < MOV_RM) || (op >= MOVZX_R && op < MOVZX_M) || (op >= MOVSX_R && op < MOVSX_M) || (op >= INCDEC_R && op < CMOV_R)
      || op == Op.LEA64 || op == Op.LEA32 || op == Op.LEA || op == Op.NOP || op == Op.BSWAP || op == Op.WIDEN || op == Op.SIGN_FILL) { /* neither read nor fault */ }
    else dead = false;
  }
}
/** From the end, so that a compare goes with its branch; a pair may take in the uop before it as a third. */
function pair(first: usize, end: usize): void {
  let p = end - 64;
  while (p >= first) {
    const two = pairOf(load<u16>(p, U_OP), load<u16>(p + 32, U_OP));
    if (!two) { p -= 32; continue; }
    store<u16>(p, <u16>two, U_OP);
    if (p > first) {
      const three = pairOf(load<u16>(p - 32, U_OP), two);
      if (three) { p -= 32; store<u16>(p, <u16>three, U_OP); }
    }
    p -= 64;
  }
}
/** Rewrites the uops of the block at `b`; `end` is its END. */
export function fuse(b: usize, end: usize, is64: bool): void {
  silence(b + HEADER, end);
  if (is64) pair(b + HEADER, end);
}
