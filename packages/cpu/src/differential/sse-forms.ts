import { ARITHMETIC } from "./explained.ts";
import { type Form, type FormOptions, form, RDI } from "./form.ts";

/** MMX, SSE and SSE2. A memory operand has the size of the table row; the vector forms of 16 bytes must be aligned. */

const hex = (value: number) => value.toString(16).toUpperCase().padStart(2, "0");

const sse = (name: string, encoding: string, memory: number, options: FormOptions = {}) =>
  form(name, encoding, { operands: "xx", group: "sse", memory, ...options });
const mmx = (name: string, encoding: string, options: FormOptions = {}) =>
  form(name, encoding, { operands: "mm", group: "mmx", memory: 8, ...options });

/** Arithmetic in its four types: packed and scalar, single and double. */
const ARITHMETIC_FORMS = (
  [
    ["SQRT", 0x51],
    ["ADD", 0x58],
    ["MUL", 0x59],
    ["SUB", 0x5c],
    ["MIN", 0x5d],
    ["DIV", 0x5e],
    ["MAX", 0x5f],
    ["CMP", 0xc2],
  ] as const
).flatMap(([name, opcode]) => {
  const tail = opcode === 0xc2 ? "/r ib" : "/r";
  return [
    sse(`${name}PS`, `np 0F ${hex(opcode)} ${tail}`, 16, { kind: "f32", weight: 3 }),
    sse(`${name}PD`, `m66 0F ${hex(opcode)} ${tail}`, 16, { kind: "f64", weight: 3 }),
    sse(`${name}SS`, `mF3 0F ${hex(opcode)} ${tail}`, 4, { kind: "f32", weight: 3 }),
    sse(`${name}SD`, `mF2 0F ${hex(opcode)} ${tail}`, 8, { kind: "f64", weight: 3 }),
  ];
});

const RECIPROCALS = ["RSQRT", "RCP"].flatMap((name, index) => [
  sse(`${name}PS`, `np 0F ${hex(0x52 + index)} /r`, 16, {
    kind: "f32",
    alone: true,
    explained: "reciprocal",
  }),
  sse(`${name}SS`, `mF3 0F ${hex(0x52 + index)} /r`, 4, {
    kind: "f32",
    alone: true,
    explained: "reciprocal",
  }),
]);

const COMPARES = ["UCOMI", "COMI"].flatMap((name, index) => [
  sse(`${name}SS`, `np 0F ${hex(0x2e + index)} /r`, 4, { kind: "f32", defines: ARITHMETIC, weight: 2 }),
  sse(`${name}SD`, `m66 0F ${hex(0x2e + index)} /r`, 8, { kind: "f64", defines: ARITHMETIC, weight: 2 }),
]);

const CONVERSIONS = [
  sse("CVTPI2PS", "np 0F 2A /r", 8, { operands: "xm", amd: true }),
  sse("CVTPI2PD", "m66 0F 2A /r", 8, { operands: "xm", amd: true }),
  sse("CVTSI2SS", "mF3 0F 2A /r", 0, { operands: "xg", size: "y" }),
  sse("CVTSI2SD", "mF2 0F 2A /r", 0, { operands: "xg", size: "y" }),
  ...["CVTT", "CVT"].flatMap((name, index) => [
    sse(`${name}PS2PI`, `np 0F ${hex(0x2c + index)} /r`, 8, { operands: "mx", kind: "f32" }),
    sse(`${name}PD2PI`, `m66 0F ${hex(0x2c + index)} /r`, 16, { operands: "mx", kind: "f64" }),
    sse(`${name}SS2SI`, `mF3 0F ${hex(0x2c + index)} /r`, 4, { operands: "gx", kind: "f32", size: "y" }),
    sse(`${name}SD2SI`, `mF2 0F ${hex(0x2c + index)} /r`, 8, { operands: "gx", kind: "f64", size: "y" }),
  ]),
  sse("CVTPS2PD", "np 0F 5A /r", 8, { kind: "f32" }),
  sse("CVTPD2PS", "m66 0F 5A /r", 16, { kind: "f64" }),
  sse("CVTSS2SD", "mF3 0F 5A /r", 4, { kind: "f32" }),
  sse("CVTSD2SS", "mF2 0F 5A /r", 8, { kind: "f64" }),
  sse("CVTDQ2PS", "np 0F 5B /r", 16),
  sse("CVTPS2DQ", "m66 0F 5B /r", 16, { kind: "f32" }),
  sse("CVTTPS2DQ", "mF3 0F 5B /r", 16, { kind: "f32" }),
  sse("CVTDQ2PD", "mF3 0F E6 /r", 8),
  sse("CVTPD2DQ", "mF2 0F E6 /r", 16, { kind: "f64" }),
  sse("CVTTPD2DQ", "m66 0F E6 /r", 16, { kind: "f64" }),
].map((f): Form => ({ ...f, weight: 3 }));

const MOVES = [
  ...[0x10, 0x11].flatMap((opcode) => [
    sse("MOVUPS", `np 0F ${hex(opcode)} /r`, 16),
    sse("MOVUPD", `m66 0F ${hex(opcode)} /r`, 16),
    sse("MOVSS", `mF3 0F ${hex(opcode)} /r`, 4),
    sse("MOVSD", `mF2 0F ${hex(opcode)} /r`, 8),
  ]),
  sse("MOVLPS/MOVHLPS", "np 0F 12 /r", 8),
  sse("MOVLPD", "m66 0F 12 /r.m", 8),
  sse("MOVLPS", "np 0F 13 /r.m", 8),
  sse("MOVLPD", "m66 0F 13 /r.m", 8),
  sse("MOVHPS/MOVLHPS", "np 0F 16 /r", 8),
  sse("MOVHPD", "m66 0F 16 /r.m", 8),
  sse("MOVHPS", "np 0F 17 /r.m", 8),
  sse("MOVHPD", "m66 0F 17 /r.m", 8),
  sse("MOVAPS", "np 0F 28 /r", 16),
  sse("MOVAPD", "m66 0F 28 /r", 16),
  sse("MOVAPS", "np 0F 29 /r", 16),
  sse("MOVAPD", "m66 0F 29 /r", 16),
  sse("MOVNTPS", "np 0F 2B /r.m", 16),
  sse("MOVNTPD", "m66 0F 2B /r.m", 16),
  sse("MOVMSKPS", "np 0F 50 /r.r", 0, { operands: "gx" }),
  sse("MOVMSKPD", "m66 0F 50 /r.r", 0, { operands: "gx" }),
  sse("UNPCKLPS", "np 0F 14 /r", 16),
  sse("UNPCKLPD", "m66 0F 14 /r", 16),
  sse("UNPCKHPS", "np 0F 15 /r", 16),
  sse("UNPCKHPD", "m66 0F 15 /r", 16),
  sse("SHUFPS", "np 0F C6 /r ib", 16),
  sse("SHUFPD", "m66 0F C6 /r ib", 16),
  ...["AND", "ANDN", "OR", "XOR"].flatMap((name, index) => [
    sse(`${name}PS`, `np 0F ${hex(0x54 + index)} /r`, 16),
    sse(`${name}PD`, `m66 0F ${hex(0x54 + index)} /r`, 16),
  ]),
  sse("MOVD", "m66 0F 6E /r", 0, { operands: "xg", size: "y" }),
  sse("MOVD", "m66 0F 7E /r", 0, { operands: "xg", size: "y" }),
  sse("MOVDQA", "m66 0F 6F /r", 16),
  sse("MOVDQU", "mF3 0F 6F /r", 16),
  sse("MOVDQA", "m66 0F 7F /r", 16),
  sse("MOVDQU", "mF3 0F 7F /r", 16),
  sse("MOVQ", "mF3 0F 7E /r", 8),
  sse("MOVQ", "m66 0F D6 /r", 8),
  sse("MOVQ2DQ", "mF3 0F D6 /r.r", 0, { operands: "xm" }),
  sse("MOVDQ2Q", "mF2 0F D6 /r.r", 0, { operands: "mx" }),
  sse("MOVNTDQ", "m66 0F E7 /r.m", 16),
  sse("PSHUFD", "m66 0F 70 /r ib", 16),
  sse("PSHUFHW", "mF3 0F 70 /r ib", 16),
  sse("PSHUFLW", "mF2 0F 70 /r ib", 16),
  sse("PUNPCKLQDQ", "m66 0F 6C /r", 16),
  sse("PUNPCKHQDQ", "m66 0F 6D /r", 16),
  sse("PSRLDQ", "m66 0F 73 /3.r ib", 0),
  sse("PSLLDQ", "m66 0F 73 /7.r ib", 0),
  sse("PINSRW", "m66 0F C4 /r ib", 2, { operands: "xg" }),
  sse("PEXTRW", "m66 0F C5 /r.r ib", 0, { operands: "gx" }),
  sse("PMOVMSKB", "m66 0F D7 /r.r", 0, { operands: "gx" }),
  sse("MASKMOVDQU", "m66 0F F7 /r.r", 0, { uses: RDI, prepare: "mask-move", weight: 2 }),
  sse("LDMXCSR", "np 0F AE /2.m", 4, { prepare: "mxcsr", weight: 2 }),
  sse("STMXCSR", "np 0F AE /3.m", 4),
  sse("FXSAVE", "np 0F AE /0.m", 512, {
    size: "y",
    prepare: "aligned-image",
    explained: "fxsave-reserved",
    alone: true,
    weight: 2,
  }),
  sse("FXRSTOR", "np 0F AE /1.m", 512, {
    size: "y",
    prepare: "aligned-image",
    explained: "fxsave-reserved",
    alone: true,
    weight: 2,
  }),
];

/** Integer operations that exist for MMX (no prefix) and for XMM (66). */
const PAIRS: readonly (readonly [number, string])[] = [
  [0x60, "PUNPCKLBW"],
  [0x61, "PUNPCKLWD"],
  [0x62, "PUNPCKLDQ"],
  [0x63, "PACKSSWB"],
  [0x64, "PCMPGTB"],
  [0x65, "PCMPGTW"],
  [0x66, "PCMPGTD"],
  [0x67, "PACKUSWB"],
  [0x68, "PUNPCKHBW"],
  [0x69, "PUNPCKHWD"],
  [0x6a, "PUNPCKHDQ"],
  [0x6b, "PACKSSDW"],
  [0x74, "PCMPEQB"],
  [0x75, "PCMPEQW"],
  [0x76, "PCMPEQD"],
  [0xd1, "PSRLW"],
  [0xd2, "PSRLD"],
  [0xd3, "PSRLQ"],
  [0xd4, "PADDQ"],
  [0xd5, "PMULLW"],
  [0xd8, "PSUBUSB"],
  [0xd9, "PSUBUSW"],
  [0xda, "PMINUB"],
  [0xdb, "PAND"],
  [0xdc, "PADDUSB"],
  [0xdd, "PADDUSW"],
  [0xde, "PMAXUB"],
  [0xdf, "PANDN"],
  [0xe0, "PAVGB"],
  [0xe1, "PSRAW"],
  [0xe2, "PSRAD"],
  [0xe3, "PAVGW"],
  [0xe4, "PMULHUW"],
  [0xe5, "PMULHW"],
  [0xe8, "PSUBSB"],
  [0xe9, "PSUBSW"],
  [0xea, "PMINSW"],
  [0xeb, "POR"],
  [0xec, "PADDSB"],
  [0xed, "PADDSW"],
  [0xee, "PMAXSW"],
  [0xef, "PXOR"],
  [0xf1, "PSLLW"],
  [0xf2, "PSLLD"],
  [0xf3, "PSLLQ"],
  [0xf4, "PMULUDQ"],
  [0xf5, "PMADDWD"],
  [0xf6, "PSADBW"],
  [0xf8, "PSUBB"],
  [0xf9, "PSUBW"],
  [0xfa, "PSUBD"],
  [0xfb, "PSUBQ"],
  [0xfc, "PADDB"],
  [0xfd, "PADDW"],
  [0xfe, "PADDD"],
];

const INTEGER = PAIRS.flatMap(([opcode, name]) => [
  mmx(name, `np 0F ${hex(opcode)} /r`),
  sse(name, `m66 0F ${hex(opcode)} /r`, 16),
]);

const IMMEDIATE_SHIFTS = (
  [
    ["PSRLW", 0x71, 2],
    ["PSRAW", 0x71, 4],
    ["PSLLW", 0x71, 6],
    ["PSRLD", 0x72, 2],
    ["PSRAD", 0x72, 4],
    ["PSLLD", 0x72, 6],
    ["PSRLQ", 0x73, 2],
    ["PSLLQ", 0x73, 6],
  ] as const
).flatMap(([name, opcode, extension]) => [
  mmx(name, `np 0F ${hex(opcode)} /${extension}.r ib`),
  sse(name, `m66 0F ${hex(opcode)} /${extension}.r ib`, 0),
]);

const MMX = [
  mmx("MOVD", "np 0F 6E /r", { operands: "mg", size: "y", memory: 0 }),
  mmx("MOVD", "np 0F 7E /r", { operands: "mg", size: "y", memory: 0 }),
  mmx("MOVQ", "np 0F 6F /r"),
  mmx("MOVQ", "np 0F 7F /r"),
  mmx("PSHUFW", "np 0F 70 /r ib"),
  mmx("PINSRW", "np 0F C4 /r ib", { operands: "mg", memory: 2 }),
  mmx("PEXTRW", "np 0F C5 /r.r ib", { operands: "gm" }),
  mmx("PMOVMSKB", "np 0F D7 /r.r", { operands: "gm" }),
  mmx("MOVNTQ", "np 0F E7 /r.m"),
  mmx("MASKMOVQ", "np 0F F7 /r.r", { uses: RDI, prepare: "mask-move", weight: 2 }),
  mmx("EMMS", "np 0F 77", { weight: 3 }),
];

export const SSE_FORMS: readonly Form[] = [
  ...ARITHMETIC_FORMS,
  ...RECIPROCALS,
  ...COMPARES,
  ...CONVERSIONS,
  ...MOVES,
  ...INTEGER,
  ...IMMEDIATE_SHIFTS,
  ...MMX,
];
