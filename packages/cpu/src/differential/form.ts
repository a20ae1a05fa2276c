import { ARITHMETIC, EXPLAINED, type ExplanationKey } from "./explained.ts";
import type { Kind } from "./values.ts";

/**
 * An instruction form: one row of the tables in integer-forms.ts, sse-forms.ts and x87-forms.ts.
 *
 * The encoding is written as in the manuals: hex opcode bytes, then `/r` or `/0`../7` for ModRM (`.m` memory only, `.r`
 * register only), `+r` for a register and `+c` for a condition in the opcode, then immediates: `ib iw iz iv` (iz at
 * most 32 bits), `cb cz` relative branch targets, `mo` a full address. `np`, `m66`, `mF2`, `mF3` in front is the mandatory prefix.
 */
export interface Form {
  readonly name: string;
  readonly prefix: number;
  readonly opcode: readonly number[];
  readonly plus: "" | "register" | "condition";
  readonly modrm: "none" | "any" | "memory" | "register";
  /** ModRM.reg when it is part of the opcode, -1 when it is an operand. */
  readonly extension: number;
  readonly immediates: readonly Immediate[];
  readonly size: Size;
  readonly group: Group;
  readonly lock: boolean;
  /** Arithmetic flags that decide the result. */
  readonly reads: number;
  /** Arithmetic flags with a defined value afterwards. */
  readonly defines: number;
  readonly undefined: number;
  readonly explained: readonly ExplanationKey[];
  /** General registers read or written without being named by ModRM, one bit each. */
  readonly uses: number;
  /** Bytes at the memory operand; 0 = the operand size. */
  readonly memory: number;
  readonly kind: Kind;
  /** What ModRM.reg and ModRM.rm (as a register) name: g general, x XMM, m MMX, f x87 stack, s segment. */
  readonly operands: Operands;
  readonly code: "both" | "64" | "32";
  /** Whether the encoding means the same in 16-bit code. */
  readonly code16: boolean;
  readonly prepare: Preparation | "";
  /** Only as a single instruction: its results are compared by a rule of their own. */
  readonly alone: boolean;
  /** The result is a choice that we make as AMD does; run on AMD only. */
  readonly amd: boolean;
  /** Relative frequency. */
  readonly weight: number;
}

export type Immediate = "ib" | "iw" | "iz" | "iv" | "cb" | "cz" | "mo";
/** b 8 bits; v 16, 32 or 64; y 32 or 64; s stack: 16 or the mode's own; n no operand-size prefix; w always 16. */
export type Size = "b" | "v" | "y" | "s" | "n" | "w";
export type Group =
  | "integer"
  | "string"
  | "stack"
  | "branch"
  | "system"
  | "base"
  | "invalid"
  | "sse"
  | "mmx"
  | "x87"
  | "transcendental";
export type Operands = "gg" | "xx" | "mm" | "xg" | "gx" | "mg" | "gm" | "xm" | "mx" | "ff" | "sg";
/** Things the generator arranges so that the instruction has something to do: see prepare.ts. */
export type Preparation =
  | "string"
  | "divide"
  | "count"
  | "narrow-count"
  | "bit-offset"
  | "popf"
  | "indirect"
  | "return"
  | "far-return"
  | "interrupt-return"
  | "frame"
  | "table"
  | "mask-move"
  | "float-image"
  | "aligned-image"
  | "mxcsr"
  | "selector"
  | "pop-selector"
  | "far-pointer"
  | "far-target"
  | "compare-exchange";

export interface FormOptions {
  size?: Size;
  group?: Group;
  lock?: boolean;
  reads?: number;
  defines?: number;
  explained?: ExplanationKey | readonly ExplanationKey[];
  uses?: number;
  memory?: number;
  kind?: Kind;
  operands?: Operands;
  code?: Form["code"];
  code16?: boolean;
  prepare?: Preparation;
  alone?: boolean;
  amd?: boolean;
  weight?: number;
}

export const RAX = 1;
export const RCX = 2;
export const RDX = 4;
export const RBX = 8;
export const RSP = 16;
export const RBP = 32;
export const RSI = 64;
export const RDI = 128;

const PREFIXES: Readonly<Record<string, number>> = { np: 0, m66: 0x66, mF2: 0xf2, mF3: 0xf3 };

export function form(name: string, encoding: string, options: FormOptions = {}): Form {
  const opcode: number[] = [];
  const immediates: Immediate[] = [];
  let prefix = 0;
  let plus: Form["plus"] = "";
  let modrm: Form["modrm"] = "none";
  let extension = -1;
  for (const token of encoding.split(" ")) {
    const digits = /^\/([r0-7])(\.[mr])?$/.exec(token);
    if (token in PREFIXES) prefix = PREFIXES[token] as number;
    else if (/^[0-9A-F]{2}$/.test(token)) opcode.push(Number.parseInt(token, 16));
    else if (token === "+r") plus = "register";
    else if (token === "+c") plus = "condition";
    else if (digits) {
      extension = digits[1] === "r" ? -1 : Number(digits[1]);
      modrm = digits[2] === ".m" ? "memory" : digits[2] === ".r" ? "register" : "any";
    } else if (/^(i[bwzv]|c[bz]|mo)$/.test(token)) immediates.push(token as Immediate);
    else throw new TypeError(`form ${name}: unknown token ${token} in "${encoding}"`);
  }
  const keys = typeof options.explained === "string" ? [options.explained] : (options.explained ?? []);
  const undefinedFlags = keys.reduce((mask, key) => mask | EXPLAINED[key].flags, 0);
  return {
    name,
    prefix,
    opcode,
    plus,
    modrm,
    extension,
    immediates,
    size: options.size ?? "n",
    group: options.group ?? "integer",
    lock: options.lock ?? false,
    reads: plus === "condition" ? ARITHMETIC : (options.reads ?? 0),
    defines: (options.defines ?? 0) & ~undefinedFlags,
    undefined: undefinedFlags,
    explained: keys,
    uses: options.uses ?? 0,
    memory: options.memory ?? 0,
    kind: options.kind ?? "int",
    operands: options.operands ?? "gg",
    code: options.code ?? "both",
    code16: options.code16 ?? true,
    prepare: options.prepare ?? "",
    alone: options.alone ?? false,
    amd: options.amd ?? false,
    weight: options.weight ?? 1,
  };
}
