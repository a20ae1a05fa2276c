/*
 * Operation numbers of uops: dense from 0, so that the run loop's switch becomes one jump table.
 * The regular families come first and are computed (base + form + size ...); gen/dispatch.mjs writes their cases.
 * Sizes: 0 = 8, 1 = 16, 2 = 32, 3 = 64 bits.
 */

/** + form * 32 + size * 8 + operation (ADD OR ADC SBB AND SUB XOR CMP). Forms: ALU_RR.. below. */
export const ALU: u32 = 0;
/** rm, reg / rm, imm / reg, memory / memory, reg / memory, imm */
export const ALU_RR: u32 = 0, ALU_RI: u32 = 32, ALU_RM: u32 = 64, ALU_MR: u32 = 96, ALU_MI: u32 = 128;
/** + size */
export const TEST_RR: u32 = 160, TEST_RI: u32 = 164, TEST_MR: u32 = 168, TEST_MI: u32 = 172;
export const MOV_RR: u32 = 176, MOV_RI: u32 = 180, MOV_RM: u32 = 184, MOV_MR: u32 = 188, MOV_MI: u32 = 192;
/** + kind * 2 + (size - 2): SHL SHR SAR ROL ROR by an immediate, not 0, in a register. */
export const SHIFT_RI: u32 = 196;
/** + source size (0, 1): registers, then memory. */
export const MOVZX_R: u32 = 206, MOVZX_M: u32 = 208;
/** 8 to 32, 8 to 64, 16 to 32, 16 to 64, 32 to 64. */
export const MOVSX_R: u32 = 210, MOVSX_M: u32 = 215;
/** + condition; 64-bit mode. */
export const JCC: u32 = 220;
/** Address = base + displacement, nothing else. + size */
export const LOAD: u32 = 236, STORE: u32 = 240;
/** + source size (0, 1) */
export const LOAD_ZX: u32 = 244;
/** + (size - 2) * 8 + operation: reg, [base + displacement] */
export const ALU_LOAD: u32 = 246;
/** + (size - 2) * 5 + ADD OR AND SUB XOR and then SHL SHR SAR ROL ROR in a register, when nobody can see the flags. */
export const QUIET_RR: u32 = 262, QUIET_RI: u32 = 272, QUIET_SHIFT: u32 = 282;
/** + (size - 2) * 2 + (INC, DEC) */
export const INCDEC_R: u32 = 292;
/** + condition * 2 + (size - 2) */
export const CMOV_R: u32 = 296;
/** + condition */
export const SETCC_R: u32 = 328;
/** + kind * 2 + (size - 2): SHL SHR SAR ROL ROR of a register by CL. */
export const SHIFT_CL: u32 = 344;
/** + (size - 2) * 2 + (NOT, NEG) */
export const NOTNEG_R: u32 = 354;
/** + (size - 2) * 2 + (INC, DEC) of memory */
export const INCDEC_M: u32 = 358;
/** Pairs of operations dispatched as one, listed in gen/pairs.mjs: from here up. */
export const FIRST_PAIR: u32 = 432;
export const FIRST_IRREGULAR: u32 = 362;

export const enum Op {
  /** Ends a block that has no branch at its end. */
  END = 362,
  /** Leaves the block before this instruction: code ahead may have changed. */
  EXIT,
  UD, GP, NOP, PAUSE,
  LEA64, LEA32, LEA,
  PUSH, PUSH_I, PUSH_M, POP, LEAVE64,
  CALL, CALL_R, CALL_M, JMP, JMP_R, JMP_M, RET, RET_I,
  /** Any mode, any size: see nearstack.ts. */
  STACK, NEAR,
  SETCC, CMOV, INCDEC, GROUP3, IMUL, SHIFT, DOUBLE_SHIFT, BIT, BIT_SCAN, CMPXCHG, CMPXCHG_WIDE, XADD, XCHG, BSWAP, WIDEN, SIGN_FILL,
  MOVZX16, FLAG, MOV_ABSOLUTE, STRING,
  IMUL32, IMUL64,
  SSE, X87, FWAIT, GROUP15, EMMS,
  /** A Sys code that leaves rip and mode alone; one that ends the block. */
  SYSTEM, SYSTEM_END,
  COUNT,
}
/** U_SUB of STACK. */
export const enum Stack { PUSH, PUSH_I, POP, LEAVE }
/** U_SUB of NEAR: control transfers outside 64-bit mode, and LOOP and JCXZ everywhere. JCC has its condition in U_AUX. */
export const enum Near { JCC, JMP, JMP_INDIRECT, CALL, CALL_INDIRECT, RET, LOOPNE, LOOPE, LOOP, JCXZ }
/** U_SUB of FLAG. */
export const enum Flag { CMC, CLC, STC, CLD, STD, LAHF, SAHF, SALC }
/** U_SUB of BIT. */
export const enum Bit { TEST, SET, RESET, COMPLEMENT }
/** U_SUB of STRING. */
export const enum Str { MOVS, CMPS, STOS, LODS, SCAS, INS, OUTS }
