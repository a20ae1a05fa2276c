/*
 * What kind of processor this is, where the architecture leaves it to the vendor or to a feature bit.
 * The CPUID leaves that a guest sees are the host's; these words must agree with them.
 */

/**
 * CPUID says AuthenticAMD. It decides:
 * SYSENTER and SYSEXIT in long mode: AMD #UD, Intel works; SYSCALL and SYSRET outside 64-bit mode: AMD works, Intel #UD;
 * SYSRET to a non-canonical address: AMD faults at the target with CPL 3, Intel #GP(0) before it leaves CPL 0;
 * the 64-bit SYSENTER registers: AMD has 32 bits, Intel canonical addresses; a null SS in 64-bit mode: AMD any RPL, Intel RPL = CPL;
 * SYSRET's SS: AMD changes only the selector, Intel loads a flat segment of DPL 3.
 */
export const VENDOR_AMD: bool = true;

/** CR4 bits that can be set: TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT UMIP FSGSBASE SMEP SMAP. Any other is #GP. */
export const CR4_SUPPORTED: u64 = 0x310ffc;
/** EFER bits that can be set: SCE LME NXE. LMA (bit 10) is read-only and ignored on a write. Any other is #GP. */
export const EFER_SUPPORTED: u64 = 0x901;

// ---- names of architectural bits ----
export const CR0_PE: u64 = 0x1;
export const CR0_TS: u64 = 0x8;
export const CR0_ET: u64 = 0x10;
export const CR0_WP: u64 = 0x10000;
export const CR0_NW: u64 = 0x20000000;
export const CR0_CD: u64 = 0x40000000;
export const CR0_PG: u64 = 0x80000000;

export const CR4_TSD: u64 = 0x4;
export const CR4_DE: u64 = 0x8;
export const CR4_PSE: u64 = 0x10;
export const CR4_PAE: u64 = 0x20;
export const CR4_PGE: u64 = 0x80;
export const CR4_UMIP: u64 = 0x800;
export const CR4_FSGSBASE: u64 = 0x10000;
export const CR4_SMEP: u64 = 0x100000;
export const CR4_SMAP: u64 = 0x200000;

export const EFER_SCE: u64 = 0x1;
export const EFER_LME: u64 = 0x100;
export const EFER_LMA: u64 = 0x400;
export const EFER_NXE: u64 = 0x800;

/** The six arithmetic flags: CF PF AF ZF SF OF. */
export const FLAGS_ARITHMETIC: u64 = 0x8d5;
export const FLAG_TF: u64 = 0x100;
export const FLAG_IF: u64 = 0x200;
export const FLAG_DF: u64 = 0x400;
export const FLAG_IOPL: u64 = 0x3000;
export const FLAG_NT: u64 = 0x4000;
export const FLAG_RF: u64 = 0x10000;
export const FLAG_VM: u64 = 0x20000;
export const FLAG_AC: u64 = 0x40000;
export const FLAG_VIF: u64 = 0x80000;
export const FLAG_VIP: u64 = 0x100000;
export const FLAG_ID: u64 = 0x200000;
