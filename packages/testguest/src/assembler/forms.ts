/*
 * The notation of the instruction table. One form is a line "operands = encoding" close to the manual's own (vol. 2, 3.1.1):
 *
 *     rm64, imm8s = o64 83 /0 ib
 *
 * Operand kinds
 *   r8 r16 r32 r64 sreg cr dr xmm    a register, in ModRM.reg (in ModRM.rm for rr16 rr32 rr64 xr; in the opcode with +r)
 *   rm8 .. rm64, m m8 .. m128        ModRM.rm: register or memory; memory only
 *   xm32 xm64 xm128                  ModRM.rm: XMM register or memory
 *   imm8 imm16 imm32 imm64           an immediate of that width, signed or unsigned
 *   imm8s imm32s                     an immediate that the processor sign-extends to the operand size
 *   rel8 rel                         a branch target: 8 bits, or 16 bits in 16-bit code and 32 elsewhere
 *   far16 far32                      selector:offset
 *   moffs                            an absolute address without ModRM
 *   al ax eax rax cl dx 1 es ..      exactly this operand
 * Encoding
 *   o16 o32 o64                      operand size: prefix 66 where it is not the mode's own, REX.W
 *   a16 a32 a64                      address size of an instruction without a memory operand
 *   x16 x32 x64, n64                 exists only in code of this kind; not in 64-bit code
 *   66 F2 F3 first                   a mandatory prefix, which must stand before REX
 *   /r /0../7 +r ib iw id iq         as in the manual
 * Forms are tried in order, so a shorter encoding stands before a longer one.
 */

export type OperandKind =
  | "r8"
  | "r16"
  | "r32"
  | "r64"
  | "sreg"
  | "cr"
  | "dr"
  | "xmm"
  | "rr16"
  | "rr32"
  | "rr64"
  | "xr"
  | "rm8"
  | "rm16"
  | "rm32"
  | "rm64"
  | "m"
  | "m8"
  | "m16"
  | "m32"
  | "m64"
  | "m128"
  | "xm32"
  | "xm64"
  | "xm128"
  | "imm8"
  | "imm8s"
  | "imm16"
  | "imm32"
  | "imm32s"
  | "imm64"
  | "rel8"
  | "rel"
  | "far16"
  | "far32"
  | "moffs"
  | "al"
  | "ax"
  | "eax"
  | "rax"
  | "cl"
  | "dx"
  | "1"
  | "es"
  | "cs"
  | "ss"
  | "ds"
  | "fs"
  | "gs";

export type Bits = 16 | 32 | 64;

export interface Form {
  /** The line of the table that this form was read from. */
  readonly text: string;
  readonly operands: readonly OperandKind[];
  readonly modes: readonly Bits[];
  /** Operand size in bits that decides prefix 66 and REX.W; undefined where neither is used. */
  readonly operandSize: Bits | undefined;
  readonly addressSize: Bits | undefined;
  readonly mandatoryPrefix: number | undefined;
  readonly opcode: readonly number[];
  /** ModRM.reg: a digit, "r" for the register operand, undefined without ModRM. */
  readonly modrm: number | "r" | undefined;
  readonly registerInOpcode: boolean;
}

const MODES: readonly Bits[] = [16, 32, 64];

/** Reads one line of the table. The table is ours, so a bad line is a programming error and found by the first test run. */
export function parseForm(text: string): Form {
  const [left = "", right = ""] = text.split("=");
  const operands = left
    .split(",")
    .map((kind) => kind.trim())
    .filter((kind) => kind !== "") as OperandKind[];
  let modes = MODES;
  let operandSize: Bits | undefined;
  let addressSize: Bits | undefined;
  let modrm: Form["modrm"];
  let registerInOpcode = false;
  const opcode: number[] = [];
  for (const token of right.trim().split(/\s+/)) {
    if (/^[0-9A-F]{2}$/.test(token)) opcode.push(Number.parseInt(token, 16));
    else if (/^o(16|32|64)$/.test(token)) operandSize = Number(token.slice(1)) as Bits;
    else if (/^a(16|32|64)$/.test(token)) addressSize = Number(token.slice(1)) as Bits;
    else if (/^\/[0-7]$/.test(token)) modrm = Number(token.slice(1));
    else if (token === "/r") modrm = "r";
    else if (token === "+r") registerInOpcode = true;
    else if (/^x(16|32|64)$/.test(token)) modes = [Number(token.slice(1)) as Bits];
    else if (token === "n64") modes = [16, 32];
    // ib, iw, ... say in the table what the operand kinds say already; the encoder goes by the kinds.
    else if (!/^(ib|iw|id|iq)$/.test(token)) throw new TypeError(`unknown token ${token} in form "${text}"`);
  }
  if (operandSize === 64) modes = [64];
  if (addressSize === 16) modes = [16, 32];
  if (addressSize === 64) modes = [64];
  const first = opcode[0];
  const mandatoryPrefix =
    opcode.length > 1 && (first === 0x66 || first === 0xf2 || first === 0xf3) ? opcode.shift() : undefined;
  return {
    text,
    operands,
    modes,
    operandSize,
    addressSize,
    mandatoryPrefix,
    opcode,
    modrm,
    registerInOpcode,
  };
}
