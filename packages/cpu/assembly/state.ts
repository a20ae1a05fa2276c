/*
 * The state of the running vCPU that does not live in its context page, and the words derived from that page.
 *
 * Hot words live in linear memory, not in wasm globals: V8 reaches memory at a constant address in one instruction
 * and a global in two.
 */
import { SEGMENT_BASE } from "./layout";

/** Linear address of the next instruction: CS.base + EIP outside 64-bit mode. Exact between blocks. */
export let rip: u64 = 0;
/** The uop being executed, for the fault path and for writes into the running block; 0 when there is none. */
export let current: usize = 0;

/**
 * u32: what an index into the TLBs is xored with: the half in use (0 supervisor, TLB_HALF_SIZE user, from CPL), and a salt in
 * bits 4-13 that differs per vCPU, so that vCPUs which use the same addresses do not evict each other.
 */
export const TLB_HALF: usize = 0x2200;
/** u64: generation of valid TLB entries of this vCPU, 1 to 4095: kept in the page-offset bits of an entry's tag. */
export const TLB_STAMP: usize = 0x2208;
/** u32: what a block's stamp must be so that it may be entered without a look-up. Equals CODE_STAMP, or NEVER when single-stepping. */
export const ENTRY_STAMP: usize = 0x2210;
/** u32: tag << 6 | MODE << 1 | (CPL = 3) of the running vCPU. */
export const CODE_STAMP: usize = 0x2214;
/** u32: 1 while the one instruction of a MODE_STEP block runs. */
export const STEPPING: usize = 0x2218;
/** u64 linear address of the next block, and u32 address of the word that may know it: between dispatch and the door. */
export const NEXT: usize = 0x2220;
export const NEXT_SLOT: usize = 0x2228;
/** u32: the same for the block cache's index. */
export const CACHE_SALT: usize = 0x2230;
/** u32: the uop with which fast() begins. */
export const UOP: usize = 0x222c;
/** Addresses of the page-table entries that the current walk used, u32 each, at most 4. */
export const WALK_ENTRIES: usize = 0x2240;
/** u32 count, then u32 TLB entries (at most 60) that exist only because EFLAGS.AC lifts SMAP. */
export const SMAP_WINDOW: usize = 0x2300;
/** 16 bytes that no guest address reaches, for operands built from pieces. */
export const PIECES: usize = 0x2280;
/**
 * u64: the constant 1, in the unused place of a seventh segment base. As the index of an address it stands for its scale: the part of
 * a displacement that does not fit 32 bits. Stored with every context that is put in place.
 */
export const ONE: usize = SEGMENT_BASE + 56;
/** 104 bytes: the TSS of the task that is being switched to, in the layout of 32 bits. */
export const TASK_IMAGE: usize = 0x2400;
/** 4 KiB bit filter: regions of 2 MiB and 1 GiB that were mapped by large pages, so that INVLPG knows when one slot is not enough. */
export const LARGE_PAGES: usize = 0x3000;

export const TLB_HALF_SIZE: u32 = 0x4000;
export const NEVER: u32 = 0xffffffff;
