import { CF, PF, ZF } from "./explained.ts";
import { type Form, type FormOptions, form, RAX } from "./form.ts";

/** The x87 instructions. Register forms name ST(i) in ModRM.rm. */

const hex = (value: number) => value.toString(16).toUpperCase().padStart(2, "0");

const x87 = (name: string, encoding: string, memory = 0, options: FormOptions = {}) =>
  form(name, encoding, { operands: "ff", group: "x87", memory, ...options });

const OPERATIONS = ["FADD", "FMUL", "FCOM", "FCOMP", "FSUB", "FSUBR", "FDIV", "FDIVR"];

const ARITHMETIC = OPERATIONS.flatMap((name, index): Form[] => [
  x87(name, `D8 /${index}.m`, 4, { kind: "f32", weight: 2 }),
  x87(name, `D8 /${index}.r`, 0, { weight: 3 }),
  x87(name, `DC /${index}.m`, 8, { kind: "f64", weight: 2 }),
  x87(name, `DC /${index}.r`, 0, { weight: 2 }),
  x87(name.replace("F", "FI"), `DA /${index}.m`, 4, { kind: "int" }),
  x87(name.replace("F", "FI"), `DE /${index}.m`, 2, { kind: "int" }),
  // DE /3 as a register form is only D9.
  ...(index === 3
    ? [x87("FCOMPP", "DE D9", 0, { weight: 2 })]
    : [x87(`${name}P`, `DE /${index}.r`, 0, { weight: 2 })]),
]);

const LOADS = [
  x87("FLD", "D9 /0.m", 4, { kind: "f32", weight: 3 }),
  x87("FST", "D9 /2.m", 4, { weight: 4 }),
  x87("FSTP", "D9 /3.m", 4, { weight: 2 }),
  x87("FLD", "DD /0.m", 8, { kind: "f64", weight: 3 }),
  x87("FST", "DD /2.m", 8, { weight: 4 }),
  x87("FSTP", "DD /3.m", 8, { weight: 2 }),
  x87("FLD", "DB /5.m", 10, { kind: "f80", weight: 2 }),
  x87("FSTP", "DB /7.m", 10, { weight: 2 }),
  x87("FILD", "DF /0.m", 2),
  x87("FILD", "DB /0.m", 4),
  x87("FILD", "DF /5.m", 8, { weight: 2 }),
  x87("FIST", "DF /2.m", 2, { weight: 2 }),
  x87("FISTP", "DF /3.m", 2),
  x87("FIST", "DB /2.m", 4, { weight: 2 }),
  x87("FISTP", "DB /3.m", 4),
  x87("FISTP", "DF /7.m", 8, { weight: 2 }),
  x87("FBLD", "DF /4.m", 10, { kind: "bcd", weight: 3 }),
  x87("FBSTP", "DF /6.m", 10, { weight: 3 }),
  x87("FLD", "D9 /0.r", 0, { weight: 2 }),
  x87("FXCH", "D9 /1.r", 0, { weight: 2 }),
  x87("FST", "DD /2.r"),
  x87("FSTP", "DD /3.r"),
  ...["FLD1", "FLDL2T", "FLDL2E", "FLDPI", "FLDLG2", "FLDLN2", "FLDZ"].map((name, i) =>
    x87(name, `D9 ${hex(0xe8 + i)}`),
  ),
];

const UNARY = [
  x87("FCHS", "D9 E0"),
  x87("FABS", "D9 E1"),
  x87("FTST", "D9 E4", 0, { weight: 2 }),
  x87("FXAM", "D9 E5", 0, { weight: 2 }),
  x87("FXTRACT", "D9 F4", 0, { weight: 4 }),
  x87("FPREM1", "D9 F5", 0, { weight: 4 }),
  x87("FDECSTP", "D9 F6"),
  x87("FINCSTP", "D9 F7"),
  x87("FPREM", "D9 F8", 0, { weight: 4 }),
  x87("FSQRT", "D9 FA", 0, { weight: 4 }),
  x87("FRNDINT", "D9 FC", 0, { weight: 4 }),
  x87("FSCALE", "D9 FD", 0, { weight: 4 }),
  x87("FFREE", "DD /0.r", 0, { weight: 2 }),
];

const COMPARES = [
  x87("FUCOM", "DD /4.r", 0, { weight: 2 }),
  x87("FUCOMP", "DD /5.r", 0, { weight: 2 }),
  x87("FUCOMPP", "DA E9", 0, { weight: 2 }),
  x87("FUCOMI", "DB /5.r", 0, { defines: ZF | PF | CF, weight: 2 }),
  x87("FCOMI", "DB /6.r", 0, { defines: ZF | PF | CF, weight: 2 }),
  x87("FUCOMIP", "DF /5.r", 0, { defines: ZF | PF | CF, weight: 2 }),
  x87("FCOMIP", "DF /6.r", 0, { defines: ZF | PF | CF, weight: 2 }),
  ...[0xda, 0xdb].flatMap((opcode, negated) =>
    ["B", "E", "BE", "U"].map((condition, index) =>
      x87(`FCMOV${negated ? "N" : ""}${condition}`, `${hex(opcode)} /${index}.r`, 0, {
        reads: [CF, ZF, CF | ZF, PF][index] as number,
      }),
    ),
  ),
];

const CONTROL = [
  x87("FNOP", "D9 D0"),
  x87("FLDENV", "D9 /4.m", 28, { prepare: "float-image", alone: true, weight: 2 }),
  x87("FLDCW", "D9 /5.m", 2, { prepare: "float-image", weight: 2 }),
  x87("FNSTENV", "D9 /6.m", 28, { explained: "float-pointers", alone: true, weight: 2 }),
  x87("FNSTCW", "D9 /7.m", 2),
  x87("FNCLEX", "DB E2"),
  x87("FNINIT", "DB E3"),
  x87("FNENI", "DB E0"),
  x87("FNDISI", "DB E1"),
  x87("FNSETPM", "DB E4"),
  x87("FRSTOR", "DD /4.m", 108, { prepare: "float-image", alone: true, weight: 2 }),
  x87("FNSAVE", "DD /6.m", 108, { explained: "float-pointers", alone: true, weight: 2 }),
  x87("FNSTSW", "DD /7.m", 2),
  x87("FNSTSW", "DF E0", 0, { uses: RAX, weight: 2 }),
  x87("FWAIT", "9B", 0, { weight: 2 }),
];

/** Aliases and holes of the opcode map that all processors share. */
const ALIASES = [
  x87("FXCH4", "DD /1.r"),
  x87("FXCH7", "DF /1.r"),
  x87("FSTP1", "D9 /3.r"),
  x87("FSTP8", "DF /2.r"),
  x87("FSTP9", "DF /3.r"),
  x87("FFREEP", "DF /0.r"),
  ...["D9 D1", "D9 E2", "D9 E6", "D9 EF", "DA E8", "DA EA", "DB E5", "DE D8", "DF E1"].map((bytes) =>
    x87("undefined", bytes),
  ),
];

const TRANSCENDENTAL = (
  [
    ["F2XM1", "F0"],
    ["FYL2X", "F1"],
    ["FPTAN", "F2"],
    ["FPATAN", "F3"],
    ["FYL2XP1", "F9"],
    ["FSINCOS", "FB"],
    ["FSIN", "FE"],
    ["FCOS", "FF"],
  ] as const
).map(([name, second]) =>
  x87(name, `D9 ${second}`, 0, {
    group: "transcendental",
    alone: true,
    explained: "transcendental",
    weight: 2,
  }),
);

export const X87_FORMS: readonly Form[] = [
  ...ARITHMETIC,
  ...LOADS,
  ...UNARY,
  ...COMPARES,
  ...CONTROL,
  ...ALIASES,
  ...TRANSCENDENTAL,
];
