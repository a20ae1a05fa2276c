import { DECODED_BYTES, isExcluded } from "./excluded.ts";
import { ARITHMETIC } from "./explained.ts";
import {
  A_MODIFIABLE,
  CS_16,
  CS_64,
  END_MARKER,
  FX_CONTROL,
  FX_DATA,
  FX_MXCSR,
  FX_MXCSR_MASK,
  FX_OPCODE,
  FX_ST,
  FX_STATUS,
  FX_TAG,
  FX_XMM,
  R_CODE,
  R_CODE_SIZE,
  R_CR2,
  R_CROSS,
  R_CROSS_SIZE,
  R_ERROR,
  R_FLAGS,
  R_FS_BASE,
  R_FX,
  R_FX_SIZE,
  R_GPR,
  R_GS_BASE,
  R_HEAD,
  R_HEAD_SIZE,
  R_LENGTH,
  R_RIP,
  R_RULE,
  R_RULE_AT,
  R_SELECTORS,
  R_SIZE,
  R_STRAY,
  R_TAIL,
  R_TAIL_SIZE,
  R_UNDEFINED_ANY,
  R_UNDEFINED_END,
  R_VECTOR,
  R_VECTOR_LOST,
  R_VECTOR_SYSCALL,
  R_VECTOR_TIMEOUT,
  RULE_ACCESS_RIGHTS,
  RULE_ENVIRONMENT,
  RULE_ENVIRONMENT_16,
  RULE_FXSAVE,
  RULE_RECIPROCAL,
  RULE_TRANSCENDENTAL,
} from "./record.ts";

/** One thing that the two processors disagree about. Values are hexadecimal, most significant digit first. */
export interface Difference {
  readonly field: string;
  readonly native: string;
  readonly ours: string;
}

interface Field {
  readonly name: string;
  readonly at: number;
  readonly size: number;
}

const REGISTERS = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
];

const FIELDS: readonly Field[] = [
  { name: "vector", at: R_VECTOR, size: 4 },
  { name: "error", at: R_ERROR, size: 4 },
  { name: "rip", at: R_RIP, size: 8 },
  { name: "cr2", at: R_CR2, size: 8 },
  { name: "flags", at: R_FLAGS, size: 8 },
  ...REGISTERS.map((name, i) => ({ name, at: R_GPR + 8 * i, size: 8 })),
  { name: "fsbase", at: R_FS_BASE, size: 8 },
  { name: "gsbase", at: R_GS_BASE, size: 8 },
  ...["es", "cs", "ss", "ds", "fs", "gs"].map((name, i) => ({ name, at: R_SELECTORS + 2 * i, size: 2 })),
  { name: "fcw", at: FX_CONTROL, size: 2 },
  { name: "fsw", at: FX_STATUS, size: 2 },
  { name: "ftw", at: FX_TAG, size: 1 },
  ...Array.from({ length: 8 }, (_, i) => ({ name: `st${i}`, at: FX_ST + 16 * i, size: 10 })),
  { name: "mxcsr", at: FX_MXCSR, size: 4 },
  ...Array.from({ length: 16 }, (_, i) => ({ name: `xmm${i}`, at: FX_XMM + 16 * i, size: 16 })),
  ...windowFields("cross", R_CROSS, R_CROSS_SIZE),
  ...windowFields("head", R_HEAD, R_HEAD_SIZE),
  ...windowFields("tail", R_TAIL, R_TAIL_SIZE),
  { name: "stray", at: R_STRAY, size: 4 },
  ...windowFields("code", R_CODE, R_CODE_SIZE),
];

function windowFields(name: string, at: number, size: number): Field[] {
  return Array.from({ length: size / 8 }, (_, i) => ({ name: `${name}+${8 * i}`, at: at + 8 * i, size: 8 }));
}

const WORDS = R_SIZE / 4;

/** The bits of a record that are compared in every case. */
const ALWAYS = buildMask();

function buildMask(): Int32Array {
  const bytes = new Uint8Array(R_SIZE);
  for (const { at, size } of FIELDS) bytes.fill(0xff, at, at + size);
  bytes.fill(0, FX_OPCODE, FX_DATA + 8);
  bytes.fill(0, FX_MXCSR_MASK, FX_MXCSR_MASK + 4);
  bytes.fill(0, R_FX + R_FX_SIZE, R_CROSS);
  bytes.fill(0xff, R_STRAY, R_STRAY + 4);
  return new Int32Array(bytes.buffer);
}

/**
 * Compares outcomes under the masks of explained.ts. `input` gives the code's place and length and the comparison rule.
 * One instance holds its own scratch; nothing is allocated for a case that agrees.
 */
export class Comparison {
  readonly #mask = new Int32Array(WORDS);
  readonly #maskBytes = new Uint8Array(this.#mask.buffer);

  /** True when the outcomes agree. The views must be 4-byte aligned. */
  agree(input: DataView, native: DataView, ours: DataView): boolean {
    // Where the case ended decides which flags are defined; a different place is a mismatch anyway.
    const flagsMask = ~undefinedFlags(input, native);
    const rule = input.getUint8(R_RULE);
    const mask = rule === 0 ? ALWAYS : this.#special(input, native, ours, rule);
    for (let at = 0; at < R_SIZE; at += 4) {
      let different = (native.getInt32(at, true) ^ ours.getInt32(at, true)) & (mask[at >> 2] as number);
      if (different === 0) continue;
      if (at === R_FLAGS) different &= flagsMask;
      if (at === R_ERROR && isKernelAddress(native)) different &= ~1;
      if (different === 0) continue;
      return isUnforeseen(input, native, ours);
    }
    return true;
  }

  /** The fields that differ, for a case that does not agree. */
  differences(input: DataView, native: DataView, ours: DataView): Difference[] {
    const rule = input.getUint8(R_RULE);
    const mask = new Uint8Array((rule === 0 ? ALWAYS : this.#special(input, native, ours, rule)).buffer);
    const undefinedMask = undefinedFlags(input, native);
    const found: Difference[] = [];
    for (const { name, at, size } of FIELDS) {
      let nativeText = "";
      let oursText = "";
      let differs = false;
      for (let i = size - 1; i >= 0; i--) {
        let keep = mask[at + i] as number;
        if (name === "flags") keep &= ~(undefinedMask >> (8 * i));
        if (name === "error" && i === 0 && isKernelAddress(native)) keep &= ~1;
        const a = native.getUint8(at + i);
        const b = ours.getUint8(at + i);
        if ((a ^ b) & keep) differs = true;
        nativeText += a.toString(16).padStart(2, "0");
        oursText += b.toString(16).padStart(2, "0");
      }
      if (differs) found.push({ field: name, native: nativeText, ours: oursText });
    }
    return found;
  }

  /** The mask of a case with a rule of its own. */
  #special(input: DataView, native: DataView, ours: DataView, rule: number): Int32Array {
    this.#mask.set(ALWAYS);
    const bytes = this.#maskBytes;
    const operand = input.getUint16(R_RULE_AT, true);
    switch (rule) {
      case RULE_FXSAVE:
        // Which byte of the 512 a page fault names.
        bytes.fill(0, R_CR2, R_CR2 + 2);
        if (operand !== 0) {
          bytes.fill(0, operand + 5, operand + 24);
          bytes.fill(0, operand + 28, operand + 32);
          for (let i = 0; i < 8; i++) bytes.fill(0, operand + 32 + 16 * i + 10, operand + 48 + 16 * i);
          bytes.fill(0, operand + 416, operand + 512);
        }
        break;
      case RULE_ENVIRONMENT:
        if (operand !== 0) bytes.fill(0, operand + 12, operand + 28);
        break;
      case RULE_ENVIRONMENT_16:
        if (operand !== 0) bytes.fill(0, operand + 6, operand + 14);
        break;
      case RULE_TRANSCENDENTAL:
        bytes[FX_STATUS] = 0xff & ~0x30;
        bytes[FX_STATUS + 1] = 0xff & ~0x02;
        for (let i = 0; i < 2; i++) {
          const at = FX_ST + 16 * i;
          if (near80(native, ours, at)) bytes.fill(0, at, at + 10);
        }
        break;
      case RULE_ACCESS_RIGHTS:
        for (let i = 0; i < 16; i++) bytes[R_GPR + 8 * i + 2] = 0xf0;
        break;
      case RULE_RECIPROCAL:
        for (let at = FX_XMM; at < FX_XMM + 256; at += 4) {
          const a = native.getFloat32(at, true);
          const b = ours.getFloat32(at, true);
          if (Math.abs(a - b) <= Math.abs(a) * 3 * 2 ** -12) bytes.fill(0, at, at + 4);
        }
        break;
      default:
    }
    return this.#mask;
  }
}

/** The outcome without the bits that no comparison looks at, which take the values of the input: less to store. */
export function maskedOutcome(input: DataView, native: DataView): DataView {
  const outcome = new DataView(new ArrayBuffer(R_SIZE));
  for (let i = 0; i < WORDS; i++) {
    const mask = ALWAYS[i] as number;
    outcome.setInt32(
      4 * i,
      (native.getInt32(4 * i, true) & mask) | (input.getInt32(4 * i, true) & ~mask),
      true,
    );
  }
  return outcome;
}

/** Whether the case ran to its end marker. */
export function reachedEnd(input: DataView, outcome: DataView): boolean {
  return (
    outcome.getUint32(R_VECTOR, true) === 13 &&
    outcome.getUint32(R_RIP + 4, true) === 0 &&
    outcome.getUint32(R_RIP, true) === input.getUint32(R_RIP, true) + input.getUint32(R_LENGTH, true)
  );
}

/** Addresses whose page tables Linux hides: the upper half, and the last page of the lower one. */
function isKernelAddress(outcome: DataView): boolean {
  const high = outcome.getUint32(R_CR2 + 4, true);
  return high > 0x7fff || (high === 0x7fff && outcome.getUint32(R_CR2, true) >= 0xfffff000);
}

/** Code that has modified itself is no longer what the generator knew. */
function wasModified(input: DataView, native: DataView): boolean {
  if (input.getUint32(R_RIP, true) < A_MODIFIABLE) return false;
  if (native.getUint32(R_STRAY, true) !== 0) return true;
  for (let i = 0; i < R_CODE_SIZE; i++) {
    if (input.getUint8(R_CODE + i) !== native.getUint8(R_CODE + i)) return true;
  }
  return false;
}

/** Jcc, SETcc, CMOVcc, LOOPcc, LAHF, PUSHF, CMC: where the six flags decide the way, or become data. */
function readsFlags(opcode: number, next: number): boolean {
  if (opcode === 0x0f) return (next & 0xf0) === 0x40 || (next & 0xe0) === 0x80;
  return (
    (opcode & 0xf0) === 0x70 ||
    (opcode & 0xfe) === 0xe0 ||
    opcode === 0x9f ||
    opcode === 0x9c ||
    opcode === 0xf5
  );
}

/** Loops, system calls, and code that may have become something that explained.ts leaves out. */
function isUnforeseen(input: DataView, native: DataView, ours: DataView): boolean {
  const vector = native.getUint32(R_VECTOR, true);
  if (vector === R_VECTOR_SYSCALL) return true;
  if (vector === R_VECTOR_TIMEOUT) return ours.getUint32(R_VECTOR, true) === R_VECTOR_TIMEOUT;
  if (vector === R_VECTOR_LOST) return input.getUint32(R_RIP, true) >= A_MODIFIABLE;
  if (!wasModified(input, native)) return false;
  if (native.getUint32(R_STRAY, true) !== 0) return true;
  const code = new Uint8Array(R_CODE_SIZE + DECODED_BYTES).fill(END_MARKER);
  for (let i = 0; i < R_CODE_SIZE; i++) code[i] = native.getUint8(R_CODE + i);
  const selector = native.getUint16(R_SELECTORS + 2, true);
  const bits = selector === CS_64 ? 64 : selector === CS_16 ? 16 : 32;
  const length = input.getUint32(R_LENGTH, true);
  const undefinedBefore = (input.getUint16(R_UNDEFINED_ANY, true) & ARITHMETIC) !== 0;
  for (let at = 0; at < length; at++) {
    // MOVS and CMPS: both of their operands may fault.
    if (((code[at] as number) & 0xfc) === 0xa4) return true;
    if (isExcluded(code.subarray(at, at + DECODED_BYTES), bits)) return true;
    // Flags that an instruction before left undefined may decide where it goes.
    if (undefinedBefore && readsFlags(code[at] as number, code[at + 1] as number)) return true;
  }
  return false;
}

function undefinedFlags(input: DataView, native: DataView): number {
  if (wasModified(input, native)) return ARITHMETIC;
  return input.getUint16(reachedEnd(input, native) ? R_UNDEFINED_END : R_UNDEFINED_ANY, true) & ARITHMETIC;
}

/** Same sign and a distance of at most 4 units in the last place, exponents that differ by a carry included. */
function near80(native: DataView, ours: DataView, at: number): boolean {
  const a = native.getUint16(at + 8, true);
  const b = ours.getUint16(at + 8, true);
  if ((a ^ b) & 0x8000 || Math.abs(a - b) > 1) return false;
  let x = native.getBigUint64(at, true);
  let y = ours.getBigUint64(at, true);
  if (a > b) x <<= 1n;
  if (b > a) y <<= 1n;
  const distance = x > y ? x - y : y - x;
  return distance <= (a === b ? 4n : 8n);
}

/** Hexadecimal code bytes of a case. */
export function codeText(input: DataView): string {
  const length = input.getUint32(R_LENGTH, true);
  return Array.from({ length }, (_, i) =>
    input
      .getUint8(R_CODE + i)
      .toString(16)
      .padStart(2, "0"),
  ).join("");
}
