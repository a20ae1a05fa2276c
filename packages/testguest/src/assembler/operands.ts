/*
 * What an instruction can take: registers, memory, immediates, labels, far pointers. Operands are plain frozen values, so
 * that a program can keep them in constants and share them.
 */

export type RegisterKind = "r8" | "r16" | "r32" | "r64" | "sreg" | "cr" | "dr" | "xmm";

export interface Register {
  readonly type: "register";
  readonly kind: RegisterKind;
  /** Encoding, 0 to 15; AH, CH, DH and BH are 4 to 7 like the SPL, BPL, SIL and DIL that REX turns them into. */
  readonly number: number;
  readonly name: string;
  /** Byte registers 4 to 7: `required` for SPL..DIL, `forbidden` for AH..BH (SDM 2A, 3.1.1.1). */
  readonly rex: "any" | "required" | "forbidden";
}

/** The address of a label, plus `addend`, less the address of `minus` when that is given. */
export interface LabelAddress {
  readonly type: "label";
  readonly label: string;
  readonly addend: number;
  readonly minus: string | undefined;
}

/** A memory operand; `size` in bytes, undefined when another operand or the instruction itself tells it. */
export interface Memory {
  readonly type: "memory";
  readonly size: 1 | 2 | 4 | 8 | 16 | undefined;
  readonly segment: Register | undefined;
  readonly base: Register | undefined;
  readonly index: Register | undefined;
  readonly scale: number;
  readonly displacement: number | LabelAddress;
}

/** selector:offset of a direct far branch. */
export interface FarPointer {
  readonly type: "far";
  readonly selector: number;
  readonly offset: number | LabelAddress;
}

/** A string is a label: the target of a branch, or an address where an instruction takes an immediate. */
export type Operand = Register | Memory | LabelAddress | FarPointer | number | bigint | string;

function register(kind: RegisterKind, number: number, name: string, rex: Register["rex"] = "any"): Register {
  return Object.freeze({ type: "register", kind, number, name, rex });
}

export const al = register("r8", 0, "al");
export const cl = register("r8", 1, "cl");
export const dl = register("r8", 2, "dl");
export const bl = register("r8", 3, "bl");
export const ah = register("r8", 4, "ah", "forbidden");
export const ch = register("r8", 5, "ch", "forbidden");
export const dh = register("r8", 6, "dh", "forbidden");
export const bh = register("r8", 7, "bh", "forbidden");
export const spl = register("r8", 4, "spl", "required");
export const bpl = register("r8", 5, "bpl", "required");
export const sil = register("r8", 6, "sil", "required");
export const dil = register("r8", 7, "dil", "required");
export const r8b = register("r8", 8, "r8b");
export const r9b = register("r8", 9, "r9b");
export const r10b = register("r8", 10, "r10b");
export const r11b = register("r8", 11, "r11b");
export const r12b = register("r8", 12, "r12b");
export const r13b = register("r8", 13, "r13b");
export const r14b = register("r8", 14, "r14b");
export const r15b = register("r8", 15, "r15b");

export const ax = register("r16", 0, "ax");
export const cx = register("r16", 1, "cx");
export const dx = register("r16", 2, "dx");
export const bx = register("r16", 3, "bx");
export const sp = register("r16", 4, "sp");
export const bp = register("r16", 5, "bp");
export const si = register("r16", 6, "si");
export const di = register("r16", 7, "di");
export const r8w = register("r16", 8, "r8w");
export const r9w = register("r16", 9, "r9w");
export const r10w = register("r16", 10, "r10w");
export const r11w = register("r16", 11, "r11w");
export const r12w = register("r16", 12, "r12w");
export const r13w = register("r16", 13, "r13w");
export const r14w = register("r16", 14, "r14w");
export const r15w = register("r16", 15, "r15w");

export const eax = register("r32", 0, "eax");
export const ecx = register("r32", 1, "ecx");
export const edx = register("r32", 2, "edx");
export const ebx = register("r32", 3, "ebx");
export const esp = register("r32", 4, "esp");
export const ebp = register("r32", 5, "ebp");
export const esi = register("r32", 6, "esi");
export const edi = register("r32", 7, "edi");
export const r8d = register("r32", 8, "r8d");
export const r9d = register("r32", 9, "r9d");
export const r10d = register("r32", 10, "r10d");
export const r11d = register("r32", 11, "r11d");
export const r12d = register("r32", 12, "r12d");
export const r13d = register("r32", 13, "r13d");
export const r14d = register("r32", 14, "r14d");
export const r15d = register("r32", 15, "r15d");

export const rax = register("r64", 0, "rax");
export const rcx = register("r64", 1, "rcx");
export const rdx = register("r64", 2, "rdx");
export const rbx = register("r64", 3, "rbx");
export const rsp = register("r64", 4, "rsp");
export const rbp = register("r64", 5, "rbp");
export const rsi = register("r64", 6, "rsi");
export const rdi = register("r64", 7, "rdi");
export const r8 = register("r64", 8, "r8");
export const r9 = register("r64", 9, "r9");
export const r10 = register("r64", 10, "r10");
export const r11 = register("r64", 11, "r11");
export const r12 = register("r64", 12, "r12");
export const r13 = register("r64", 13, "r13");
export const r14 = register("r64", 14, "r14");
export const r15 = register("r64", 15, "r15");

export const es = register("sreg", 0, "es");
export const cs = register("sreg", 1, "cs");
export const ss = register("sreg", 2, "ss");
export const ds = register("sreg", 3, "ds");
export const fs = register("sreg", 4, "fs");
export const gs = register("sreg", 5, "gs");

export const cr0 = register("cr", 0, "cr0");
export const cr2 = register("cr", 2, "cr2");
export const cr3 = register("cr", 3, "cr3");
export const cr4 = register("cr", 4, "cr4");
export const cr8 = register("cr", 8, "cr8");

export const dr0 = register("dr", 0, "dr0");
export const dr1 = register("dr", 1, "dr1");
export const dr2 = register("dr", 2, "dr2");
export const dr3 = register("dr", 3, "dr3");
export const dr6 = register("dr", 6, "dr6");
export const dr7 = register("dr", 7, "dr7");

export const xmm0 = register("xmm", 0, "xmm0");
export const xmm1 = register("xmm", 1, "xmm1");
export const xmm2 = register("xmm", 2, "xmm2");
export const xmm3 = register("xmm", 3, "xmm3");
export const xmm4 = register("xmm", 4, "xmm4");
export const xmm5 = register("xmm", 5, "xmm5");
export const xmm6 = register("xmm", 6, "xmm6");
export const xmm7 = register("xmm", 7, "xmm7");
export const xmm8 = register("xmm", 8, "xmm8");
export const xmm9 = register("xmm", 9, "xmm9");
export const xmm10 = register("xmm", 10, "xmm10");
export const xmm11 = register("xmm", 11, "xmm11");
export const xmm12 = register("xmm", 12, "xmm12");
export const xmm13 = register("xmm", 13, "xmm13");
export const xmm14 = register("xmm", 14, "xmm14");
export const xmm15 = register("xmm", 15, "xmm15");

/** The address of `label` as a number to be filled in: an immediate, a displacement or data. */
export function addressOf(label: string, addend = 0): LabelAddress {
  return { type: "label", label, addend, minus: undefined };
}

/** The distance from label `from` to label `to`, in bytes. */
export function distance(from: string, to: string): LabelAddress {
  return { type: "label", label: to, addend: 0, minus: from };
}

export function far(selector: number, offset: number | LabelAddress): FarPointer {
  return { type: "far", selector, offset };
}

export interface AddressParts {
  readonly base?: Register;
  readonly index?: Register;
  readonly scale?: 1 | 2 | 4 | 8;
  readonly displacement?: number | LabelAddress;
  readonly segment?: Register;
}

/**
 * Where a memory operand lies: a register (with a displacement as second argument), a label (relative to RIP in 64-bit
 * code, absolute in 16- and 32-bit code; the second argument is added), an absolute number, or all parts by name.
 */
export type Address = Register | string | number | AddressParts;

function memoryOfSize(size: Memory["size"]): (address: Address, displacement?: number) => Memory {
  return (address, displacement = 0) => {
    const empty = { segment: undefined, base: undefined, index: undefined, scale: 1 };
    if (typeof address === "string") {
      return { type: "memory", size, ...empty, displacement: addressOf(address, displacement) };
    }
    if (typeof address === "number")
      return { type: "memory", size, ...empty, displacement: address + displacement };
    if ("type" in address) return { type: "memory", size, ...empty, base: address, displacement };
    return { type: "memory", size, ...empty, ...address, displacement: address.displacement ?? displacement };
  };
}

export const memory = memoryOfSize(undefined);
export const byte = memoryOfSize(1);
export const word = memoryOfSize(2);
export const dword = memoryOfSize(4);
export const qword = memoryOfSize(8);
export const xmmword = memoryOfSize(16);

const SIZE_NAMES = {
  1: "byte ptr ",
  2: "word ptr ",
  4: "dword ptr ",
  8: "qword ptr ",
  16: "xmmword ptr ",
} as const;

function numberText(value: number | bigint): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

function labelText(label: LabelAddress): string {
  const addend = label.addend === 0 ? "" : label.addend < 0 ? `${label.addend}` : `+${label.addend}`;
  return `${label.label}${label.minus === undefined ? "" : `-${label.minus}`}${addend}`;
}

/** The operand in Intel syntax, as messages show it and as GNU as reads it. */
export function operandText(operand: Operand): string {
  if (typeof operand === "string") return operand;
  if (typeof operand === "number" || typeof operand === "bigint") return numberText(operand);
  switch (operand.type) {
    case "register":
      return operand.name;
    case "label":
      return labelText(operand);
    case "far":
      return `${numberText(operand.selector)}:${typeof operand.offset === "number" ? numberText(operand.offset) : labelText(operand.offset)}`;
    case "memory": {
      const parts: string[] = [];
      if (operand.base) parts.push(operand.base.name);
      if (operand.index)
        parts.push(`${operand.index.name}${operand.index.kind === "r16" ? "" : `*${operand.scale}`}`);
      const { displacement } = operand;
      if (typeof displacement !== "number") parts.push(labelText(displacement));
      else if (displacement !== 0 || parts.length === 0) parts.push(numberText(displacement));
      const segment =
        operand.segment?.name ??
        (parts.length === 1 && typeof displacement === "number" && !operand.base && !operand.index
          ? "ds"
          : "");
      const place = `[${parts.join("+").replaceAll("+-", "-")}]`;
      return `${operand.size === undefined ? "" : SIZE_NAMES[operand.size]}${segment === "" ? "" : `${segment}:`}${place}`;
    }
  }
}
