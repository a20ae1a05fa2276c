/* Does an instruction form take these operands? And if none does: why not, in the words of AssemblerCode. */
import type { AssemblerCode } from "./assembler-error.ts";
import type { Bits, Form, OperandKind } from "./forms.ts";
import type { LabelAddress, Memory, Operand, Register, RegisterKind } from "./operands.ts";

/** Why a form does not fit, with how near it came: the nearest miss makes the best message. */
export type Mismatch = Extract<
  AssemblerCode,
  "no-such-form" | "ambiguous-size" | "not-in-this-mode" | "immediate-out-of-range"
>;

export const NEARNESS: Readonly<Record<Mismatch, number>> = {
  "no-such-form": 0,
  "ambiguous-size": 1,
  "immediate-out-of-range": 2,
  "not-in-this-mode": 3,
};

const REGISTER_KINDS: Partial<Record<OperandKind, RegisterKind>> = {
  r8: "r8",
  r16: "r16",
  r32: "r32",
  r64: "r64",
  sreg: "sreg",
  cr: "cr",
  dr: "dr",
  xmm: "xmm",
  rr16: "r16",
  rr32: "r32",
  rr64: "r64",
  xr: "xmm",
  rm8: "r8",
  rm16: "r16",
  rm32: "r32",
  rm64: "r64",
  xm32: "xmm",
  xm64: "xmm",
  xm128: "xmm",
};

/** Memory width in bytes by kind; 0 = any, because the instruction's own operand has no ordinary width. */
const MEMORY_SIZES: Partial<Record<OperandKind, number>> = {
  m: 0,
  m8: 1,
  m16: 2,
  m32: 4,
  m64: 8,
  m128: 16,
  rm8: 1,
  rm16: 2,
  rm32: 4,
  rm64: 8,
  xm32: 4,
  xm64: 8,
  xm128: 16,
};

/** Width in bytes that a register operand gives to an unsized memory operand beside it. */
const REGISTER_SIZES: Partial<Record<OperandKind, number>> = {
  r8: 1,
  r16: 2,
  r32: 4,
  r64: 8,
  al: 1,
  ax: 2,
  eax: 4,
  rax: 8,
};

const FIXED_REGISTERS = new Set<OperandKind>([
  "al",
  "ax",
  "eax",
  "rax",
  "cl",
  "dx",
  "es",
  "cs",
  "ss",
  "ds",
  "fs",
  "gs",
]);

/** Width of the immediate field in bits, and whether the processor sign-extends it to the operand size. */
export const IMMEDIATES: Partial<
  Record<OperandKind, { readonly bits: 8 | 16 | 32 | 64; readonly extended: boolean }>
> = {
  imm8: { bits: 8, extended: false },
  imm8s: { bits: 8, extended: true },
  imm16: { bits: 16, extended: false },
  imm32: { bits: 32, extended: false },
  imm32s: { bits: 32, extended: true },
  imm64: { bits: 64, extended: false },
};

function isObject(operand: Operand): operand is Exclude<Operand, string | number | bigint> {
  return typeof operand === "object";
}

export function isRegister(operand: Operand | undefined): operand is Register {
  return operand !== undefined && isObject(operand) && operand.type === "register";
}

export function isMemory(operand: Operand | undefined): operand is Memory {
  return operand !== undefined && isObject(operand) && operand.type === "memory";
}

export function isLabelAddress(operand: Operand | undefined): operand is LabelAddress {
  return operand !== undefined && isObject(operand) && operand.type === "label";
}

/** True for a direct branch target or an immediate, relative or absolute, that is filled in when labels are known. */
export function isBranchKind(kind: OperandKind | undefined): boolean {
  return kind === "rel8" || kind === "rel";
}

function fitsImmediate(value: bigint, kind: OperandKind, form: Form, bits: Bits): boolean {
  const immediate = IMMEDIATES[kind];
  if (immediate === undefined) return false;
  const width = immediate.extended ? (form.operandSize ?? bits) : immediate.bits;
  const half = 1n << BigInt(width - 1);
  if (value < -half || value >= half * 2n) return false;
  if (!immediate.extended) return true;
  const signed = BigInt.asIntN(width, value);
  return BigInt.asIntN(immediate.bits, signed) === signed;
}

/** True for labels too, which are checked when their address is known. */
function unsignedFits(value: number | LabelAddress, bits: number): boolean {
  return typeof value === "object" || (Number.isSafeInteger(value) && value >= 0 && value < 2 ** bits);
}

function matchMemory(memory: Memory, kind: OperandKind, form: Form, bits: Bits): Mismatch | undefined {
  if (kind === "moffs") {
    if (memory.base || memory.index) return "no-such-form";
    return unsignedFits(memory.displacement, bits) ? undefined : "immediate-out-of-range";
  }
  const size = MEMORY_SIZES[kind];
  if (size === undefined) return "no-such-form";
  if (memory.size === size || size === 0) return undefined;
  if (memory.size !== undefined) return "no-such-form";
  // Without a register in the same place, the kind itself tells the width (m16 of FLDCW) ...
  if (REGISTER_KINDS[kind] === undefined || REGISTER_KINDS[kind] === "xmm") return undefined;
  // ... and an r/m operand needs a register of its width beside it.
  return form.operands.some((other) => REGISTER_SIZES[other] === size) ? undefined : "ambiguous-size";
}

function matchOperand(operand: Operand, kind: OperandKind, form: Form, bits: Bits): Mismatch | undefined {
  if (typeof operand === "string") return isBranchKind(kind) ? undefined : "no-such-form";
  if (typeof operand === "number" || typeof operand === "bigint") {
    if (kind === "1") return BigInt(operand) === 1n ? undefined : "immediate-out-of-range";
    if (!(kind in IMMEDIATES)) return "no-such-form";
    if (typeof operand === "number" && !Number.isSafeInteger(operand)) return "immediate-out-of-range";
    return fitsImmediate(BigInt(operand), kind, form, bits) ? undefined : "immediate-out-of-range";
  }
  switch (operand.type) {
    case "register":
      if (FIXED_REGISTERS.has(kind)) return operand.name === kind ? undefined : "no-such-form";
      if (REGISTER_KINDS[kind] !== operand.kind) return "no-such-form";
      // Registers 8 to 15, CR8 and SPL..DIL need a REX prefix, which only 64-bit code has.
      return bits !== 64 && (operand.number > 7 || operand.rex === "required")
        ? "not-in-this-mode"
        : undefined;
    case "memory":
      return matchMemory(operand, kind, form, bits);
    case "label":
      return (IMMEDIATES[kind]?.bits ?? 8) > 8 ? undefined : "no-such-form";
    case "far":
      if (kind !== "far16" && kind !== "far32") return "no-such-form";
      return unsignedFits(operand.selector, 16) && unsignedFits(operand.offset, kind === "far16" ? 16 : 32)
        ? undefined
        : "immediate-out-of-range";
  }
}

/** Undefined if `form` takes `operands` in code of `bits`; otherwise the most telling reason why it does not. */
export function mismatch(form: Form, operands: readonly Operand[], bits: Bits): Mismatch | undefined {
  if (operands.length !== form.operands.length) return "no-such-form";
  let worst: Mismatch | undefined;
  for (const [index, kind] of form.operands.entries()) {
    const found = matchOperand(operands[index]!, kind, form, bits);
    if (found === "no-such-form") return found;
    if (found !== undefined && (worst === undefined || NEARNESS[found] < NEARNESS[worst])) worst = found;
  }
  if (worst !== undefined) return worst;
  return form.modes.includes(bits) ? undefined : "not-in-this-mode";
}
