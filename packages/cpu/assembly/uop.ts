/*
 * A decoded instruction: 32 bytes. Field offsets, for `load<T>(p, FIELD)`.
 * A block is a 32-byte header and then its uops; see blocks.ts.
 */
/** u16: what to do: an Op. */
export const U_OP: usize = 0;
/** u8: instruction length in bytes. */
export const U_LENGTH: usize = 2;
/** u8: operand size: 0 = 1 byte, 1 = 2, 2 = 4, 3 = 8. */
export const U_SIZE: usize = 3;
/** u8: the ModRM.reg register as byte offset into GPR (so AH is 1, CH 9). */
export const U_REG: usize = 4;
/** u8: the ModRM.rm register (when U_IS_REG) as byte offset into GPR. */
export const U_RM: usize = 5;
/** u8: base and index registers as byte offsets from GPR: ZERO - GPR when absent, BLOCK_LINEAR - GPR for RIP-relative. */
export const U_BASE: usize = 6;
export const U_INDEX: usize = 7;
/** u8: shift of the index, 0 to 3. */
export const U_SCALE: usize = 8;
/** u8: bits 0-2 index into SEGMENT_BASE (0 = none); ADDRESS_* bits. */
export const U_SEGMENT: usize = 9;
/** u16: offset of the instruction in its block. */
export const U_OFFSET: usize = 10;
/** i32: displacement (RIP-relative: already relative to the block's start). */
export const U_DISPLACEMENT: usize = 12;
/** i64: immediate, sign-extended; for relative branches the target relative to the block's start. */
export const U_IMMEDIATE: usize = 16;
/** u8: sub-operation. */
export const U_SUB: usize = 24;
/** u8: 1 when ModRM.rm is a register. */
export const U_IS_REG: usize = 25;
/** u8: auxiliary; for SSE the mandatory prefix: 0 none, 1 = 66, 2 = F3, 3 = F2; for strings REP: 0 none, 1 = F3, 2 = F2. */
export const U_AUX: usize = 26;
/** u8: number (0-15) of ModRM.reg, for XMM, CR, DR, segment and x87 operands. ModRM.rm's number is U_RM >> 3 (x87, XMM: U_RM is number << 3). */
export const U_NUMBER: usize = 27;
/** u16: offset in the block of the following instruction. */
export const U_NEXT: usize = 28;
/** u16: instructions in the block from this one to the end, this one included. */
export const U_LEFT: usize = 30;

export const ADDRESS_32: u32 = 8;
export const ADDRESS_16: u32 = 16;
/** The segment's limit must be checked (MODE_CHECKED). */
export const ADDRESS_CHECKED: u32 = 32;

/** Irregular operations that system.ts and its neighbours execute: U_SUB of Op.SYSTEM. U_SIZE is always the operand size (2 or 3 for "64 in long mode" where that is fixed). */
export const enum Sys {
  CLI, STI, HLT, CLTS, INVD, WBINVD, PUSHF, POPF, SWAPGS, RDPMC,
  INT3, INT1, INT_N, INTO, IRET, UD,
  SYSCALL, SYSRET, SYSENTER, SYSEXIT,
  RDMSR, WRMSR, RDTSC, RDTSCP, CPUID, RDRAND, RDSEED,
  /** MOV to and from control and debug registers: register in U_RM, number in U_NUMBER. */
  MOV_FROM_CR, MOV_TO_CR, MOV_FROM_DR, MOV_TO_DR,
  SLDT, STR, LLDT, LTR, VERR, VERW, SGDT, SIDT, LGDT, LIDT, SMSW, LMSW, INVLPG, LAR, LSL,
  /** MOV Sreg: number (0 ES 1 CS 2 SS 3 DS 4 FS 5 GS) in U_NUMBER, other operand in ModRM.rm. */
  MOV_FROM_SEG, MOV_TO_SEG, PUSH_SEG, POP_SEG,
  /** LES LDS LSS LFS LGS: segment number in U_AUX, far pointer at the memory operand, offset to U_REG. */
  LOAD_FAR,
  /** Far transfers. Direct: offset in U_IMMEDIATE, selector u16 in U_DISPLACEMENT. RETF: bytes to drop in U_IMMEDIATE. */
  JMP_FAR, CALL_FAR, JMP_FAR_MEMORY, CALL_FAR_MEMORY, RET_FAR,
  /** Port I/O: U_AUX 1 = port in U_IMMEDIATE, 0 = DX. (String I/O is in strings.ts.) */
  IN, OUT,
  /** 16- and 32-bit only. */
  PUSHA, POPA, ARPL, BOUND, DAA, DAS, AAA, AAS, AAM, AAD,
  ENTER, XLAT,
  VMCALL, VMMCALL, CLAC, STAC, MONITOR, MWAIT,
  /** RDFSBASE RDGSBASE WRFSBASE WRGSBASE: register in U_RM. */
  RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE,
}
