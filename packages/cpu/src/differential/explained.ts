/**
 * Results that processors may choose, or that the test cannot see natively: all that the comparison leaves out, and why.
 * The comparison takes its masks from here and specs/cpu.md prints this table, so there is no other exception.
 */

export const CF = 0x1;
export const PF = 0x4;
export const AF = 0x10;
export const ZF = 0x40;
export const SF = 0x80;
export const OF = 0x800;
export const ARITHMETIC = CF | PF | AF | ZF | SF | OF;

export interface Explanation {
  readonly instructions: string;
  /** What is not compared. */
  readonly omitted: string;
  readonly reason: string;
  /** The flags that are undefined after the instruction; they stay so until an instruction defines them. */
  readonly flags: number;
}

const MANUAL_FLAGS = "the architecture leaves the flag undefined and processors differ";

export const EXPLAINED = {
  logic: { instructions: "AND, OR, XOR, TEST", omitted: "AF", reason: MANUAL_FLAGS, flags: AF },
  shift: {
    instructions: "SHL, SHR, SAR by a count other than 0",
    omitted: "AF",
    reason: MANUAL_FLAGS,
    flags: AF,
  },
  "shift-count": {
    instructions: "SHL, SHR, SAR by a count that may differ from 1",
    omitted: "AF, OF",
    reason: MANUAL_FLAGS,
    flags: AF | OF,
  },
  "shift-narrow": {
    instructions: "SHL, SHR of 8 and 16 bits by a count that may exceed the operand size",
    omitted: "AF, OF, CF",
    reason: "beyond the operand size CF is undefined too",
    flags: AF | OF | CF,
  },
  rotate: {
    instructions: "ROL, ROR, RCL, RCR by a count that may differ from 1",
    omitted: "OF",
    reason: MANUAL_FLAGS,
    flags: OF,
  },
  "double-shift": {
    instructions: "SHLD, SHRD",
    omitted: "AF, OF; 16-bit forms run with counts up to 16 only",
    reason:
      "AF is undefined, OF too for a count other than 1; a count above the operand size leaves result and flags undefined",
    flags: AF | OF,
  },
  multiply: {
    instructions: "MUL, IMUL",
    omitted: "SF, ZF, AF, PF",
    reason: MANUAL_FLAGS,
    flags: SF | ZF | AF | PF,
  },
  divide: { instructions: "DIV, IDIV", omitted: "all six flags", reason: MANUAL_FLAGS, flags: ARITHMETIC },
  "bit-test": {
    instructions: "BT, BTS, BTR, BTC",
    omitted: "OF, SF, AF, PF",
    reason: MANUAL_FLAGS,
    flags: OF | SF | AF | PF,
  },
  "bit-scan": {
    instructions: "BSF, BSR",
    omitted: "CF, OF, SF, AF, PF",
    reason: MANUAL_FLAGS,
    flags: CF | OF | SF | AF | PF,
  },
  "decimal-sign": { instructions: "DAA, DAS", omitted: "OF", reason: MANUAL_FLAGS, flags: OF },
  "ascii-adjust": {
    instructions: "AAA, AAS",
    omitted: "OF, SF, ZF, PF",
    reason: MANUAL_FLAGS,
    flags: OF | SF | ZF | PF,
  },
  "ascii-multiply": {
    instructions: "AAM, AAD",
    omitted: "OF, AF, CF",
    reason: MANUAL_FLAGS,
    flags: OF | AF | CF,
  },
  transcendental: {
    instructions: "FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1",
    omitted: "the last bits of the result (a distance up to 4 units of the last place passes), C1, PE and UE",
    reason:
      "the architecture promises an error below one unit in the last place, not a value; processors differ",
    flags: 0,
  },
  "access-rights": {
    instructions: "LAR",
    omitted: "bits 16 to 19 of the result",
    reason: "Intel leaves them undefined, AMD puts bits of the limit there",
    flags: 0,
  },
  reciprocal: {
    instructions: "RCPPS, RCPSS, RSQRTPS, RSQRTSS",
    omitted: "a relative difference up to 3 x 2^-12 passes",
    reason: "the architecture bounds the error by 1.5 x 2^-12 and leaves the value to the processor",
    flags: 0,
  },
  "float-pointers": {
    instructions: "x87, FXSAVE, FNSTENV, FNSAVE",
    omitted: "FIP, FDP, FOP and their selectors",
    reason: "AMD keeps them only while an unmasked exception waits, other processors differ per model",
    flags: 0,
  },
  "fxsave-reserved": {
    instructions: "FXSAVE, FXRSTOR",
    omitted: "the MXCSR_MASK field, the reserved bytes, and the low 16 bits of the address of a page fault",
    reason:
      "the mask names the supported MXCSR bits (AMD has one of its own), reserved bytes may hold anything, and the 512 bytes may be touched in any order",
    flags: 0,
  },
  "masked-store": {
    instructions: "MASKMOVQ, MASKMOVDQU",
    omitted: "run on writable memory only",
    reason: "whether bytes that are masked out can fault, and where, is left to the processor",
    flags: 0,
  },
  "split-operand": {
    instructions: "FLD, FSTP, FBLD, FBSTP of 10 bytes",
    omitted: "operands that begin canonical and end beyond",
    reason: "AMD stores them in two parts and may report the page of the first",
    flags: 0,
  },
  "canonical-offset": {
    instructions: "any access through FS or GS",
    omitted: "offsets that are not canonical while offset plus base is",
    reason: "AMD checks the offset as well, which the architecture does not ask for",
    flags: 0,
  },
  trap: {
    instructions: "INT1",
    omitted: "not generated",
    reason: "under a hypervisor on AMD the saved RIP is that of INT1 itself, against the architecture",
    flags: 0,
  },
  "misaligned-exception": {
    instructions: "MXCSR bit 17 (AMD's misaligned mode)",
    omitted: "never set in a case",
    reason: "an AMD addition outside the common architecture",
    flags: 0,
  },
  "alignment-check": {
    instructions: "RFLAGS.AC",
    omitted: "never set in a case",
    reason:
      "Linux leaves CR0.AM set and would turn each misaligned access into a signal, in its own handlers too",
    flags: 0,
  },
  "kernel-address": {
    instructions: "any access to an address from 7FFF_FFFF_F000h up",
    omitted: "bit 0 (P) of the page-fault error code",
    reason:
      "Linux reports such pages to user code as always present, so that the layout of the kernel stays hidden",
    flags: 0,
  },
  "null-base": {
    instructions: "MOV and POP to FS or GS",
    omitted: "not generated",
    reason: "with a null selector AMD before Zen 2 keeps the base of the segment, others clear it",
    flags: 0,
  },
  "branch-width": {
    instructions: "near branches with an operand-size prefix in 64-bit code",
    omitted: "not generated",
    reason: "Intel ignores the prefix, AMD truncates RIP to 16 bits",
    flags: 0,
  },
  "far-pointer": {
    instructions: "LFS, LGS, LSS, far CALL and JMP through memory with REX.W",
    omitted: "not generated",
    reason: "AMD has no 64-bit far pointers and reads 32-bit ones",
    flags: 0,
  },
  "far-return": {
    instructions: "RETF with a count that leads out of the data",
    omitted: "not generated",
    reason: "AMD may touch the stack beyond the count before it looks at the selector",
    flags: 0,
  },
  "two-operands": {
    instructions: "MOVS, CMPS",
    omitted: "cases where both operands fault",
    reason: "which fault is reported is left to the processor",
    flags: 0,
  },
  "invalid-fetch": {
    instructions: "encodings without a meaning",
    omitted: "not generated at the end of a page that has no successor",
    reason: "how much of them is fetched before #UD differs",
    flags: 0,
  },
  "loop-prefix": {
    instructions: "LOOPE, LOOPNE with a repeat prefix",
    omitted: "not generated",
    reason: "AMD lets the prefix replace the condition",
    flags: 0,
  },
  "null-selector": {
    instructions: "loads of DS, ES, FS, GS with the null selectors 1 to 3",
    omitted: "the two low bits",
    reason: "the return from the kernel to the signal handler clears them before they can be read",
    flags: 0,
  },
  "narrow-extension": {
    instructions: "MOVSXD with an operand-size prefix",
    omitted: "not generated",
    reason: "AMD reads 32 bits from memory, Intel 16",
    flags: 0,
  },
  loop: {
    instructions: "code that does not end",
    omitted: "the state at the moment when it was stopped",
    reason: "the two sides stop it at different times",
    flags: 0,
  },
  "self-modified": {
    instructions: "code that has modified itself into one of the other rows, or beside its bytes",
    omitted:
      "the case; the six flags of all other code that has modified itself, and the case where that code branches on flags or reads them",
    reason: "the generator does not know what then runs",
    flags: 0,
  },
  "amd-choice": {
    instructions:
      "LAR (bits 16 to 19 of the result); CVTPI2PS, CVTPI2PD from memory (whether they touch the x87 state)",
    omitted: "run on AMD only",
    reason:
      "processors differ in whether they touch the x87 state; the software processor reports itself as AMD's and does as AMD's do",
    flags: 0,
  },
  observed: {
    instructions: "CPUID, RDTSC, RDTSCP, RDPMC, RDRAND, RDSEED, RDPID, XGETBV, SGDT, SIDT, SLDT, STR, SMSW",
    omitted: "not generated",
    reason: "the answer belongs to the machine, or the kernel answers in place of the processor (UMIP)",
    flags: 0,
  },
  kernel: {
    instructions: "SYSCALL, SYSENTER, INT 80h, VMCALL, VMMCALL",
    omitted: "not generated",
    reason: "they leave the processor for a kernel or hypervisor",
    flags: 0,
  },
  extensions: {
    instructions:
      "everything above SSE2 and POPCNT (SSE3, SSSE3, SSE4, AVX, BMI, LZCNT, TZCNT, MOVBE, ADX, AES, SHA, ...)",
    omitted: "not generated",
    reason:
      "the software processor does not offer them: they raise #UD there, or run as the older form of the encoding",
    flags: 0,
  },
  "string-fault-order": {
    instructions: "REP MOVS, REP CMPS with 16-bit addresses, both operands out of reach",
    omitted: "nothing: such a case counts as a mismatch, one in some 10,000,000",
    reason:
      "which of two faulting operands is reported is the processor's choice; AMD's differs between forms",
    flags: 0,
  },
  "misaligned-mode": {
    instructions: "LDMXCSR with bit 17 set",
    omitted: "nothing: such a case counts as a mismatch, two in some 10,000,000",
    reason:
      "the bit is AMD's misaligned SSE mode, which CPUID does not offer here: #GP, as MXCSR_MASK 0xFFFF says",
    flags: 0,
  },
  "ten-bytes-at-the-end": {
    instructions: "FLD m80, FBLD, FRSTOR whose operand runs over the end of its segment",
    omitted: "nothing: such a case counts as a mismatch, two in some 10,000,000",
    reason:
      "AMD accesses the parts of the operand one by one, wraps the second, and has loaded some when a later one faults; here the whole operand is checked first",
    flags: 0,
  },
} as const satisfies Record<string, Explanation>;

export type ExplanationKey = keyof typeof EXPLAINED;

/** The table as Markdown, for specs/cpu.md. */
export function explainedMarkdown(): string {
  const rows = Object.values(EXPLAINED).map((e) => `| ${e.instructions} | ${e.omitted} | ${e.reason} |`);
  return ["| instructions | not compared | why |", "|---|---|---|", ...rows, ""].join("\n");
}
