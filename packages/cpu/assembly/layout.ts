/*
 * The one memory of the processor: the fixed addresses that the wasm code and its host both use.
 *
 * This file is compiled twice, by asc into the module and by tsc for the host, so that there is one truth.
 * It therefore holds plain constants only. All integers are little-endian. Sizes in bytes unless said otherwise.
 *
 * 0x0000_1000  the running vCPU's context: one page, everything that a context switch moves
 * 0x0000_2000  shared words: limits, counters, fault record, scratch for calls out
 * 0x0001_0000  TLBs: read, write, execute
 * 0x0002_8000  contexts of the vCPUs that are not running, one page each
 * 0x0004_0000  block cache by linear address
 * 0x0010_0000  block hash by physical address
 * 0x0018_0000  one word per page of guest RAM: code generation
 * 0x0040_0000  arena of decoded blocks
 * 0x0800_0000  guest RAM
 */

// ---- the vCPU context (offsets from 0 of wasm memory; the page CONTEXT .. CONTEXT + CONTEXT_SIZE is what is swapped) ----
export const CONTEXT: usize = 0x1000;
export const CONTEXT_SIZE: usize = 0x1000;

/** RAX RCX RDX RBX RSP RBP RSI RDI R8..R15, u64 each. */
export const GPR: usize = 0x1000;
/** A constant 0: "no base" and "no index" of an address point here. */
export const ZERO: usize = 0x1080;
/** Linear address at which the running block starts. */
export const BLOCK_LINEAR: usize = 0x1088;
/** Segment bases, u64: [0] = 0 always ("no segment"), [1] ES [2] CS [3] SS [4] DS [5] FS [6] GS. */
export const SEGMENT_BASE: usize = 0x1090;
/** Segment limits in bytes, already scaled by G, u32, same index. [0] is 0xFFFFFFFF. */
export const SEGMENT_LIMIT: usize = 0x10d0;
/** Selectors, u16, same index. */
export const SEGMENT_SELECTOR: usize = 0x10f0;
/** Descriptor attributes, u16, same index: bits 0-7 = descriptor byte 5 (type, S, DPL, P), bits 12-15 = AVL, L, D/B, G. 0 = unusable (null). */
export const SEGMENT_ATTRIBUTES: usize = 0x1100;
/** Linear address of the next instruction: CS.base + EIP outside 64-bit mode. The run loop keeps it in a wasm global; it is stored here whenever the host may look. */
export const RIP: usize = 0x1110;
/** RFLAGS without the six arithmetic flags (bit 1 always set). */
export const FLAGS_SYSTEM: usize = 0x1118;
/** The three words of the lazy arithmetic flags as spilled for the host. See flags.ts. */
export const FLAGS_RESULT: usize = 0x1120;
export const FLAGS_CARRY: usize = 0x1128;
export const FLAGS_AUX: usize = 0x1130;
export const CR0: usize = 0x1138;
export const CR2: usize = 0x1140;
export const CR3: usize = 0x1148;
export const CR4: usize = 0x1150;
export const EFER: usize = 0x1158;
/** DR0..DR7, u64 each. */
export const DR: usize = 0x1160;
export const GDTR_BASE: usize = 0x11a0;
export const IDTR_BASE: usize = 0x11a8;
export const GDTR_LIMIT: usize = 0x11b0; // u32
export const IDTR_LIMIT: usize = 0x11b4; // u32
export const LDTR_BASE: usize = 0x11b8;
export const TR_BASE: usize = 0x11c0;
export const LDTR_LIMIT: usize = 0x11c8; // u32
export const TR_LIMIT: usize = 0x11cc; // u32
export const LDTR_SELECTOR: usize = 0x11d0; // u16
export const TR_SELECTOR: usize = 0x11d2; // u16
export const LDTR_ATTRIBUTES: usize = 0x11d4; // u16, as SEGMENT_ATTRIBUTES
export const TR_ATTRIBUTES: usize = 0x11d6; // u16
export const STAR: usize = 0x11d8;
export const LSTAR: usize = 0x11e0;
export const CSTAR: usize = 0x11e8;
export const SFMASK: usize = 0x11f0;
export const KERNEL_GS_BASE: usize = 0x11f8;
export const TSC_AUX: usize = 0x1200;
export const SYSENTER_CS: usize = 0x1208;
export const SYSENTER_ESP: usize = 0x1210;
export const SYSENTER_EIP: usize = 0x1218;
/** Added (mod 2^64) to virtual time to give the TSC. */
export const TSC_OFFSET: usize = 0x1220;
/** Current privilege level, u32. */
export const CPL: usize = 0x1228;
/** Decoding mode of the current code segment, u32: the MODE_* bits below. */
export const MODE: usize = 0x122c;
/** u32: one of ACTIVITY_*. */
export const ACTIVITY: usize = 0x1230;
/** u32: interrupts (and debug traps) are held off for one instruction: SHADOW_* bits. */
export const SHADOW: usize = 0x1234;
/** u32: 1 from the delivery of an NMI to the next IRET. */
export const NMI_BLOCKED: usize = 0x1238;
/** u32: 1 when an NMI waits (at most one is latched). */
export const NMI_PENDING: usize = 0x123c;
/** u32: 1 when the host knows of an interrupt that could not be taken; anything that sets IF then leaves the run loop. */
export const INTERRUPT_WAITING: usize = 0x1240;
/** u32: TLB tag of this vCPU, and the epoch in which it was given. */
export const TLB_TAG: usize = 0x1244;
export const TLB_EPOCH: usize = 0x1248;
/** u32: tag of this vCPU's block-cache entries, and the code epoch in which it was given. */
export const BLOCK_TAG: usize = 0x124c;
export const CODE_EPOCH: usize = 0x1250;
/** u32: DR6 bits collected by the current instruction (data and I/O breakpoints, single step), delivered at its end. */
export const DEBUG_PENDING: usize = 0x1254;
/** u32: bits 0-3: DR0-3 is an armed instruction breakpoint; 4-7 an armed data breakpoint; 8-11 an armed I/O breakpoint. Derived from DR7 and CR4.DE. */
export const DEBUG_ARMED: usize = 0x1258;
/** u32: index of this vCPU, 0 to 15; its x2APIC id. */
export const VCPU_INDEX: usize = 0x125c;
/** u32: PAUSEs since the last one that ended a slice. */
export const PAUSES: usize = 0x1260;

/** x87: eight registers by physical number (not by stack position), 16 bytes each: 64-bit significand, then u16 sign and exponent, 6 bytes 0. */
export const X87: usize = 0x1300;
export const X87_CONTROL: usize = 0x1380; // u16
export const X87_STATUS: usize = 0x1382; // u16, TOP kept in bits 11-13
/** One bit per physical register: 1 = not empty (the abridged tag word of FXSAVE), u8. */
export const X87_TAG: usize = 0x1384;
export const X87_OPCODE: usize = 0x1386; // u16, 11 bits
export const X87_CODE: usize = 0x1388; // u64 instruction pointer
export const X87_DATA: usize = 0x1390; // u64 operand pointer
export const X87_CODE_SELECTOR: usize = 0x1398; // u16
export const X87_DATA_SELECTOR: usize = 0x139a; // u16
export const MXCSR: usize = 0x139c; // u32
/** XMM0..XMM15, 16 bytes each. */
export const XMM: usize = 0x1400;

// ---- shared by all vCPUs ----
/** i64: run() returns at the first block boundary at which COUNT >= LIMIT. Writing 0 stops it there. */
export const LIMIT: usize = 0x2000;
/** i64: instructions executed by all vCPUs. */
export const COUNT: usize = 0x2008;
/** i64: virtual nanoseconds that passed without instructions (HLT, PAUSE). Virtual time in ns = COUNT + SKEW. */
export const SKEW: usize = 0x2010;
/** The fault that was raised: vector u32, error code u32. */
export const FAULT_VECTOR: usize = 0x2018;
export const FAULT_ERROR: usize = 0x201c;
/** u32: why run() returned early: STOP_* (0 = limit reached). */
export const STOP: usize = 0x2020;
/** u32: number of vCPUs; with more than one, each PAUSES_OF_A_SLICE-th PAUSE of a vCPU ends its slice. */
export const VCPU_COUNT: usize = 0x2024;
/** u64: bytes of guest RAM, from guest physical 0. */
export const RAM_SIZE: usize = 0x2028;
/** Results of calls out: CPUID EAX EBX ECX EDX (u32 each); MSR value (u64); random value (u64). */
export const SCRATCH: usize = 0x2040;
/** u64 counters for the host: see COUNTER_*. */
export const COUNTERS: usize = 0x2080;
/** Number of physical address bits (guest pages beyond give reserved-bit faults), u32. */
export const PHYSICAL_BITS: usize = 0x2100;

// ---- tables ----
/** Per access kind 32 KiB: [supervisor, user] x 1024 entries x 16 bytes. */
export const TLB_READ: usize = 0x10000;
export const TLB_WRITE: usize = 0x18000;
export const TLB_EXECUTE: usize = 0x20000;
/** Contexts of the 16 vCPUs, CONTEXT_SIZE each; the running one's is stale, the live one is at CONTEXT. */
export const CONTEXTS: usize = 0x28000;
/** 32768 x 16 bytes: block u32, stamp u32, linear address u64. */
export const BLOCK_CACHE: usize = 0x40000;
/** 65536 x u32: list of blocks by hash of the physical address. */
export const BLOCK_HASH: usize = 0x100000;
/** u32 per page of guest RAM (4 GiB at most): generation << 1 | has decoded code. Ends at 0x580000. */
export const PAGE_CODE: usize = 0x180000;
export const ARENA: usize = 0x600000;
export const ARENA_END: usize = 0x8000000;
/** Guest physical 0. */
export const RAM: usize = 0x8000000;

// ---- values ----
/** MODE: bits 0-1 code size (0 = 64, 1 = 32, 2 = 16 bit). */
export const MODE_SIZE: u32 = 3;
/** MODE bit 2: SS.B = 0 outside 64-bit mode, so the stack pointer is SP. */
export const MODE_STACK16: u32 = 4;
/** MODE bit 3: some data segment is not flat (base 0, limit 4 GiB), so legacy addresses are checked against limits. Never in 64-bit mode. */
export const MODE_CHECKED: u32 = 8;
/** MODE bit 4: one instruction per block: TF, an armed breakpoint, or a shadow. */
export const MODE_STEP: u32 = 16;

export const ACTIVITY_RUNNING: u32 = 0;
export const ACTIVITY_HALTED: u32 = 1;
export const ACTIVITY_WAIT_SIPI: u32 = 2;
export const ACTIVITY_SHUTDOWN: u32 = 3;

export const SHADOW_STI: u32 = 1;
export const SHADOW_MOV_SS: u32 = 2;

export const STOP_LIMIT: u32 = 0;
export const STOP_HALT: u32 = 1;
export const STOP_SHUTDOWN: u32 = 2;
export const STOP_PAUSE: u32 = 3;
/** A loop that waits for another vCPU goes round so often before that one has its turn; one that waits for time passes. */
export const PAUSES_OF_A_SLICE: u32 = 256;

export const COUNTER_WALKS: u32 = 0;
export const COUNTER_DECODED: u32 = 1;
export const COUNTER_BLOCK_MISSES: u32 = 2;
export const COUNTER_TLB_FLUSHES: u32 = 3;
export const COUNTER_CODE_INVALIDATIONS: u32 = 4;
export const COUNTER_FAULTS: u32 = 5;
export const COUNTER_INTERRUPTS: u32 = 6;
