/**
 * One case of the differential test as both sides see it: the state before, and after the run the state at the
 * fault or end marker. Native (native.c gets these constants as -D options) and software core overwrite a record in place.
 * All integers are little-endian; the x87 and SSE part is the legacy area of FXSAVE.
 */

export const R_GPR = 0; // 16 x u64, RAX RCX RDX RBX RSP RBP RSI RDI R8..R15
export const R_RIP = 128; // u64; before the run also where the code bytes go
export const R_FLAGS = 136; // u64
export const R_FS_BASE = 144; // u64
export const R_GS_BASE = 152; // u64
export const R_CR2 = 160; // u64, 0 unless the vector is 14
export const R_STRAY = 168; // u64: hash of what was written beside the windows and the modifiable code, 0 = nothing
export const R_SELECTORS = 176; // 6 x u16: ES CS SS DS FS GS
export const R_VECTOR = 188; // u32: vector of the exception that ended the case, or VECTOR_*
export const R_ERROR = 192; // u32: its error code, 0 when it has none
export const R_LENGTH = 196; // u32: code bytes
// What the generator tells the comparison; native.c leaves it alone.
export const R_UNDEFINED_END = 200; // u16: flags without a defined value when the case reaches its end marker
export const R_UNDEFINED_ANY = 202; // u16: the same when it stops anywhere else
export const R_RULE = 204; // u8: RULE_*: a comparison rule of its own
export const R_RULE_AT = 206; // u16: where in the record the memory operand of that rule is, 0 = nowhere
export const R_FX = 208; // FXSAVE layout up to XMM15
export const R_FX_SIZE = 416;
export const R_CROSS = 624; // the window around the boundary of the two data pages
export const R_CROSS_SIZE = 512;
export const R_HEAD = 1136; // the first bytes of the data pages; the page before is not present
export const R_HEAD_SIZE = 64;
export const R_TAIL = 1200; // the last bytes of the data pages; the page behind is not present
export const R_TAIL_SIZE = 64;
export const R_CODE = 1264;
export const R_CODE_SIZE = 112;
export const R_SIZE = 1376;

/** Not an exception: the code reached the kernel by SYSCALL, SYSENTER or INT 0x80, or did not end. */
export const R_VECTOR_SYSCALL = 0x100;
export const R_VECTOR_TIMEOUT = 0x101;
/** The native process was lost with the case: see native.ts. */
export const R_VECTOR_LOST = 0x102;

/** Comparison rules, one per explanation that is not about flags. */
export const RULE_NONE = 0;
export const RULE_TRANSCENDENTAL = 1;
export const RULE_RECIPROCAL = 2;
export const RULE_FXSAVE = 3;
/** FNSTENV and FNSAVE, with 32-bit and 16-bit operands. */
export const RULE_ENVIRONMENT = 4;
export const RULE_ENVIRONMENT_16 = 5;
export const RULE_ACCESS_RIGHTS = 6;

// Inside the FXSAVE area.
export const FX_CONTROL = R_FX; // u16
export const FX_STATUS = R_FX + 2; // u16
export const FX_TAG = R_FX + 4; // u8, abridged: 1 = in use
export const FX_OPCODE = R_FX + 6; // u16
export const FX_CODE = R_FX + 8; // u64
export const FX_DATA = R_FX + 16; // u64
export const FX_MXCSR = R_FX + 24; // u32
export const FX_MXCSR_MASK = R_FX + 28; // u32
export const FX_ST = R_FX + 32; // 8 x 16 bytes, ST(0) first
export const FX_XMM = R_FX + 160; // 16 x 16 bytes

/**
 * The linear addresses that exist in a case, all below 4 GiB for the sake of 32-bit code, each region with a page
 * before and behind it that is not present:
 * code (read, execute), code that may modify itself (read, write, execute), two data pages, one read-only page.
 */
export const A_BASE = 0x10000000;
export const PAGE = 4096;
export const A_CODE = A_BASE + PAGE;
export const A_CODE_SIZE = 64 * PAGE;
export const A_MODIFIABLE = A_CODE + A_CODE_SIZE + PAGE;
export const A_MODIFIABLE_SIZE = 8 * PAGE;
export const A_DATA = A_BASE + 128 * PAGE;
export const A_DATA_SIZE = 2 * PAGE;
export const A_CONSTANT = A_DATA + A_DATA_SIZE + PAGE;
export const A_HEAD = A_DATA;
export const A_CROSS = A_DATA + PAGE - R_CROSS_SIZE / 2;
export const A_TAIL = A_DATA + A_DATA_SIZE - R_TAIL_SIZE;

/** Byte `index` of the read-only page. */
export function constantByte(index: number): number {
  return (index * 167 + (index >> 3) * 13) & 0xff;
}

/** HLT: a fault at privilege level 3, so wherever execution leaves the code bytes the case ends. */
export const END_MARKER = 0xf4;

// The selectors of a Linux process; the software core's GDT is made alike.
export const CS_64 = 0x33;
export const CS_32 = 0x23;
export const DS_USER = 0x2b;
/** Entries of an LDT of our own: 16-bit code based at A_CODE, and data with a base and a limit. */
export const CS_16 = 0x07;
export const DS_LIMITED = 0x0f;
export const A_SEGMENT = A_DATA - 0x100;
/** The last byte of both segments: of the data one 8 bytes before the end of the data pages. */
export const CODE_LIMIT = 0xffff;
export const DATA_LIMIT = A_DATA + A_DATA_SIZE - 9 - A_SEGMENT;

/** Hash of what differs from `idle` in a region, which native.c computes alike; 0 when nothing does. */
export function strayHash(words: Int32Array, idle: number): number {
  let any = 0;
  for (let i = 0; i < words.length; i++) any |= (words[i] as number) ^ idle;
  if (any === 0) return 0;
  let hash = 1;
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as number;
    if (word !== idle) hash = (Math.imul(hash ^ word, 0x9e3779b1) + i) | 0;
  }
  return hash === 0 ? 1 : hash >>> 0;
}

/** The constants that native.c needs. */
export function nativeDefinitions(): string[] {
  const values: Record<string, number> = {
    R_GPR,
    R_RIP,
    R_FLAGS,
    R_FS_BASE,
    R_GS_BASE,
    R_CR2,
    R_STRAY,
    R_SELECTORS,
    R_VECTOR,
    R_ERROR,
    R_LENGTH,
    R_FX,
    R_FX_SIZE,
    R_CROSS,
    R_CROSS_SIZE,
    R_HEAD,
    R_HEAD_SIZE,
    R_TAIL,
    R_TAIL_SIZE,
    R_CODE,
    R_SIZE,
    R_VECTOR_SYSCALL,
    R_VECTOR_TIMEOUT,
    A_CODE,
    A_CODE_SIZE,
    A_MODIFIABLE,
    A_MODIFIABLE_SIZE,
    A_DATA,
    A_DATA_SIZE,
    A_CONSTANT,
    A_HEAD,
    A_CROSS,
    A_TAIL,
    A_SEGMENT,
    CODE_LIMIT,
    DATA_LIMIT,
    CS_16,
  };
  return Object.entries(values).map(([name, value]) => `-D${name}=${value}`);
}
