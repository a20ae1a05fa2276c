/* One form and its operands -> bytes (SDM 2A, chapter 2). Labels stay open as fixups. */
import { AssemblerError } from "./assembler-error.ts";
import type { Bits, Form, OperandKind } from "./forms.ts";
import { IMMEDIATES, isBranchKind, isLabelAddress, isMemory, isRegister } from "./match.ts";
import {
  addressOf,
  type LabelAddress,
  type Memory,
  type Operand,
  operandText,
  type Register,
} from "./operands.ts";

/** A field of `width` bytes at `offset` that the label's address goes into. */
export interface Fixup {
  readonly offset: number;
  readonly width: 1 | 2 | 4 | 8;
  /** `relative`: to the end of the instruction. `signed`: the processor will sign-extend the field. */
  readonly kind: "relative" | "signed" | "unsigned";
  readonly target: LabelAddress;
}

export interface Encoding {
  readonly bytes: readonly number[];
  readonly fixups: readonly Fixup[];
}

const SEGMENT_PREFIX: Readonly<Record<string, number>> = {
  es: 0x26,
  cs: 0x2e,
  ss: 0x36,
  ds: 0x3e,
  fs: 0x64,
  gs: 0x65,
};

/** Little-endian bytes of the low `width` bytes of `value`. */
export function littleEndian(value: number | bigint, width: number): number[] {
  let rest = BigInt.asUintN(width * 8, BigInt(value));
  const bytes: number[] = [];
  for (let i = 0; i < width; i++) {
    bytes.push(Number(rest & 0xffn));
    rest >>= 8n;
  }
  return bytes;
}

/** ModRM, SIB and displacement of an r/m operand, with what it needs from the prefixes. */
interface Addressing {
  readonly mod: number;
  readonly rm: number;
  readonly sib: number | undefined;
  readonly displacement: { readonly width: 0 | 1 | 2 | 4; readonly value: number | LabelAddress };
  readonly relative: boolean;
  readonly addressSize: Bits | undefined;
}

function badAddress(memory: Memory, why: string): AssemblerError {
  return new AssemblerError("bad-address", `${operandText(memory)}: ${why}`);
}

/** SDM 2A, table 2-1: the eight register combinations of 16-bit addressing. */
const ADDRESS_16 = ["bx+si", "bx+di", "bp+si", "bp+di", "si", "di", "bp", "bx"];

function address16(memory: Memory, bits: Bits): Addressing {
  if (bits === 64) throw badAddress(memory, "64-bit code has no 16-bit addresses");
  const names = [memory.base, memory.index]
    .filter((register) => register !== undefined)
    .map((register) => register.name);
  const rm = ADDRESS_16.indexOf(names.join("+"));
  if (rm < 0 || memory.scale !== 1) throw badAddress(memory, "16-bit addresses are BX or BP plus SI or DI");
  const value = memory.displacement;
  if (typeof value !== "number")
    return {
      mod: 2,
      rm,
      sib: undefined,
      displacement: { width: 2, value },
      relative: false,
      addressSize: 16,
    };
  if (value < -0x8000 || value > 0xffff) throw displacementError(memory);
  const short = (value << 16) >> 16;
  const width = short === 0 && rm !== 6 ? 0 : short >= -128 && short <= 127 ? 1 : 2;
  return {
    mod: width,
    rm,
    sib: undefined,
    displacement: { width, value: short },
    relative: false,
    addressSize: 16,
  };
}

function displacementError(memory: Memory): AssemblerError {
  return new AssemblerError(
    "displacement-out-of-range",
    `${operandText(memory)}: the displacement does not fit`,
  );
}

function fitsDisplacement32(value: number, bits: Bits): boolean {
  return (
    Number.isSafeInteger(value) && value >= -0x80000000 && value <= (bits === 64 ? 0x7fffffff : 0xffffffff)
  );
}

/** An address without registers: RIP-relative for labels in 64-bit code, else absolute. */
function absolute(memory: Memory, bits: Bits): Addressing {
  const value = memory.displacement;
  const common = { mod: 0, displacement: { width: 4, value }, addressSize: undefined } as const;
  if (bits === 64) {
    if (typeof value !== "number" && value.minus === undefined)
      return { ...common, rm: 5, sib: undefined, relative: true };
    if (typeof value === "number" && !fitsDisplacement32(value, bits)) throw displacementError(memory);
    // ModRM.rm = 5 means RIP + disp32 here, so a plain disp32 takes a SIB byte without base and index.
    return { ...common, rm: 4, sib: 0x25, relative: false };
  }
  if (bits === 16 && (typeof value !== "number" || (value >= -0x8000 && value <= 0xffff))) {
    return {
      mod: 0,
      rm: 6,
      sib: undefined,
      displacement: { width: 2, value },
      relative: false,
      addressSize: 16,
    };
  }
  if (typeof value === "number" && !fitsDisplacement32(value, bits)) throw displacementError(memory);
  return { ...common, rm: 5, sib: undefined, relative: false, addressSize: 32 };
}

function addressing(memory: Memory, bits: Bits): Addressing {
  const { base, index } = memory;
  const kind = (base ?? index)?.kind;
  if (kind === undefined) return absolute(memory, bits);
  if (base && index && base.kind !== index.kind) throw badAddress(memory, "base and index differ in width");
  if (kind === "r16") return address16(memory, bits);
  if (kind !== "r32" && kind !== "r64") throw badAddress(memory, "this register holds no address");
  if (kind === "r64" && bits !== 64) throw badAddress(memory, "64-bit registers exist only in 64-bit code");
  if (bits !== 64 && [base, index].some((register) => (register?.number ?? 0) > 7)) {
    throw badAddress(memory, "R8 to R15 exist only in 64-bit code");
  }
  // SDM 2A, table 2-3: index 100b without REX.X means "no index", so RSP cannot be one.
  if (index?.number === 4) throw badAddress(memory, "RSP and ESP cannot be an index");
  const scale = [1, 2, 4, 8].indexOf(memory.scale);
  if (scale < 0) throw badAddress(memory, "the scale must be 1, 2, 4 or 8");
  const value = memory.displacement;
  if (typeof value === "number" && !fitsDisplacement32(value, bits)) throw displacementError(memory);
  const signed = typeof value === "number" ? value | 0 : value;
  const addressSize = kind === "r32" ? 32 : 64;
  const needsSib = index !== undefined || (base && (base.number & 7) === 4);
  const sib = needsSib
    ? (scale << 6) | (((index?.number ?? 4) & 7) << 3) | ((base?.number ?? 5) & 7)
    : undefined;
  const rm = needsSib ? 4 : base!.number & 7;
  // Mod 0 with base 101b means "disp32, no base", which is why [rbp] and [r13] carry a displacement of zero.
  if (base === undefined) {
    return { mod: 0, rm, sib, displacement: { width: 4, value: signed }, relative: false, addressSize };
  }
  const width =
    typeof signed !== "number"
      ? 4
      : signed === 0 && (base.number & 7) !== 5
        ? 0
        : signed >= -128 && signed <= 127
          ? 1
          : 4;
  const mod = width === 0 ? 0 : width === 1 ? 1 : 2;
  return { mod, rm, sib, displacement: { width, value: signed }, relative: false, addressSize };
}

const REGISTER_FIELD_KINDS = new Set<OperandKind>(["r8", "r16", "r32", "r64", "sreg", "cr", "dr", "xmm"]);

function isRmKind(kind: OperandKind): boolean {
  return /^(rm|rr|xm|m)\d*$/.test(kind) || kind === "xr";
}

/** The operand that goes to ModRM.rm, and the one that goes to ModRM.reg or into the opcode. */
function places(
  form: Form,
  operands: readonly Operand[],
): { rm: Operand | undefined; register: Register | undefined } {
  let rm: Operand | undefined;
  let register: Register | undefined;
  for (const [index, kind] of form.operands.entries()) {
    const operand = operands[index]!;
    if (isRmKind(kind)) rm = operand;
    else if (REGISTER_FIELD_KINDS.has(kind) && isRegister(operand)) register = operand;
  }
  return { rm, register };
}

function rexPrefix(
  form: Form,
  operands: readonly Operand[],
  rm: Operand | undefined,
  register: Register | undefined,
): number | undefined {
  let rex = form.operandSize === 64 ? 0x48 : 0;
  const extends8 = (candidate: Register | undefined) => candidate !== undefined && candidate.number > 7;
  if (extends8(register)) rex |= form.registerInOpcode ? 0x41 : 0x44;
  if (isRegister(rm) && extends8(rm)) rex |= 0x41;
  if (isMemory(rm)) {
    if (extends8(rm.base)) rex |= 0x41;
    if (extends8(rm.index)) rex |= 0x42;
  }
  const registers = operands.filter(isRegister);
  if (registers.some((candidate) => candidate.rex === "required")) rex |= 0x40;
  const high = registers.find((candidate) => candidate.rex === "forbidden");
  if (rex !== 0 && high) {
    throw new AssemblerError(
      "high-byte-with-rex",
      `${high.name} cannot stand beside a register that needs a REX prefix`,
    );
  }
  return rex === 0 ? undefined : rex;
}

/** Encodes one instruction. The operands are known to match the form (`mismatch()` gave undefined). */
export function encode(form: Form, operands: readonly Operand[], bits: Bits): Encoding {
  const bytes: number[] = [];
  const fixups: Fixup[] = [];
  const field = (width: 1 | 2 | 4 | 8, kind: Fixup["kind"], value: number | bigint | LabelAddress) => {
    if (typeof value === "object") {
      fixups.push({ offset: bytes.length, width, kind, target: value });
      bytes.push(...new Array<number>(width).fill(0));
    } else bytes.push(...littleEndian(value, width));
  };

  const { rm, register } = places(form, operands);
  const offsets = operands[form.operands.indexOf("moffs")];
  const memory = isMemory(rm) ? rm : isMemory(offsets) ? offsets : undefined;
  const address = isMemory(rm) ? addressing(rm, bits) : undefined;

  const segment = memory?.segment;
  if (segment) bytes.push(SEGMENT_PREFIX[segment.name]!);
  const addressSize = address?.addressSize ?? form.addressSize;
  if (addressSize !== undefined && addressSize !== bits) bytes.push(0x67);
  if (form.operandSize === (bits === 16 ? 32 : 16)) bytes.push(0x66);
  if (form.mandatoryPrefix !== undefined) bytes.push(form.mandatoryPrefix);
  const rex = rexPrefix(form, operands, rm, register);
  if (rex !== undefined) bytes.push(rex);
  bytes.push(...form.opcode);
  if (form.registerInOpcode) bytes[bytes.length - 1]! |= (register?.number ?? 0) & 7;

  if (form.modrm !== undefined) {
    const reg = (form.modrm === "r" ? (register?.number ?? 0) : form.modrm) & 7;
    if (address) {
      bytes.push((address.mod << 6) | (reg << 3) | address.rm);
      if (address.sib !== undefined) bytes.push(address.sib);
      const { width, value } = address.displacement;
      if (width !== 0)
        field(width, address.relative ? "relative" : bits === 64 ? "signed" : "unsigned", value);
    } else bytes.push(0xc0 | (reg << 3) | (isRegister(rm) ? rm.number & 7 : 0));
  }

  for (const [index, kind] of form.operands.entries()) {
    const operand = operands[index]!;
    const immediate = IMMEDIATES[kind];
    if (typeof operand === "string" && isBranchKind(kind)) {
      field(kind === "rel8" ? 1 : bits === 16 ? 2 : 4, "relative", addressOf(operand));
    } else if (kind === "moffs" && isMemory(operand)) {
      field((bits / 8) as 2 | 4 | 8, "unsigned", operand.displacement);
    } else if (
      (kind === "far16" || kind === "far32") &&
      typeof operand === "object" &&
      operand.type === "far"
    ) {
      field(kind === "far16" ? 2 : 4, "unsigned", operand.offset);
      field(2, "unsigned", operand.selector);
    } else if (
      immediate &&
      (typeof operand === "number" || typeof operand === "bigint" || isLabelAddress(operand))
    ) {
      field((immediate.bits / 8) as 1 | 2 | 4 | 8, immediate.extended ? "signed" : "unsigned", operand);
    }
  }
  return { bytes, fixups };
}
