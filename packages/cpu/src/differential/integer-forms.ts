import { AF, ARITHMETIC, CF, OF, PF, SF, ZF } from "./explained.ts";
import { type Form, form, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP } from "./form.ts";

/** The integer instructions of user code. */

const hex = (value: number) => value.toString(16).toUpperCase().padStart(2, "0");

const ALU = ["ADD", "OR", "ADC", "SBB", "AND", "SUB", "XOR", "CMP"].flatMap((name, index): Form[] => {
  const logic = index === 1 || index === 4 || index === 6;
  const lock = index !== 7;
  const effect = {
    reads: index === 2 || index === 3 ? CF : 0,
    defines: ARITHMETIC,
    explained: logic ? (["logic"] as const) : [],
  };
  const at = (offset: number) => hex(8 * index + offset);
  return [
    form(name, `${at(0)} /r`, { ...effect, size: "b", lock }),
    form(name, `${at(1)} /r`, { ...effect, size: "v", lock, weight: 2 }),
    form(name, `${at(2)} /r`, { ...effect, size: "b" }),
    form(name, `${at(3)} /r`, { ...effect, size: "v", weight: 2 }),
    form(name, `${at(4)} ib`, { ...effect, size: "b", uses: RAX }),
    form(name, `${at(5)} iz`, { ...effect, size: "v", uses: RAX }),
    form(name, `80 /${index} ib`, { ...effect, size: "b", lock }),
    form(name, `81 /${index} iz`, { ...effect, size: "v", lock }),
    form(name, `82 /${index} ib`, { ...effect, size: "b", lock, code: "32" }),
    form(name, `83 /${index} ib`, { ...effect, size: "v", lock, weight: 2 }),
  ];
});

const SHIFTS = ["ROL", "ROR", "RCL", "RCR", "SHL", "SHR", "SAL", "SAR"].flatMap((name, index): Form[] => {
  const rotate = index < 4;
  const reads = index === 2 || index === 3 ? CF : 0;
  const one = {
    reads,
    defines: rotate ? CF | OF : ARITHMETIC,
    explained: rotate ? [] : (["shift"] as const),
  };
  // A count of 0 leaves the flags alone, so nothing is newly defined.
  const many = (narrow: boolean) => ({
    reads,
    explained: [rotate ? "rotate" : narrow && index !== 7 ? "shift-narrow" : "shift-count"] as const,
  });
  return [
    form(name, `D0 /${index}`, { ...one, size: "b" }),
    form(name, `D1 /${index}`, { ...one, size: "v" }),
    form(name, `C0 /${index} ib`, { ...many(true), size: "b" }),
    form(name, `C1 /${index} ib`, { ...many(true), size: "v" }),
    form(name, `D2 /${index}`, { ...many(true), size: "b", uses: RCX, prepare: "count" }),
    form(name, `D3 /${index}`, { ...many(true), size: "v", uses: RCX, prepare: "count" }),
  ];
});

const DOUBLE_SHIFTS = [
  form("SHLD", "0F A4 /r ib", { size: "v", explained: "double-shift", prepare: "narrow-count" }),
  form("SHLD", "0F A5 /r", { size: "v", explained: "double-shift", uses: RCX, prepare: "narrow-count" }),
  form("SHRD", "0F AC /r ib", { size: "v", explained: "double-shift", prepare: "narrow-count" }),
  form("SHRD", "0F AD /r", { size: "v", explained: "double-shift", uses: RCX, prepare: "narrow-count" }),
];

const UNARY = [
  form("TEST", "84 /r", { size: "b", defines: ARITHMETIC, explained: "logic" }),
  form("TEST", "85 /r", { size: "v", defines: ARITHMETIC, explained: "logic" }),
  form("TEST", "A8 ib", { size: "b", defines: ARITHMETIC, explained: "logic", uses: RAX }),
  form("TEST", "A9 iz", { size: "v", defines: ARITHMETIC, explained: "logic", uses: RAX }),
  form("TEST", "F6 /0 ib", { size: "b", defines: ARITHMETIC, explained: "logic" }),
  form("TEST", "F7 /0 iz", { size: "v", defines: ARITHMETIC, explained: "logic" }),
  form("TEST", "F6 /1 ib", { size: "b", defines: ARITHMETIC, explained: "logic" }),
  form("TEST", "F7 /1 iz", { size: "v", defines: ARITHMETIC, explained: "logic" }),
  form("NOT", "F6 /2", { size: "b", lock: true }),
  form("NOT", "F7 /2", { size: "v", lock: true }),
  form("NEG", "F6 /3", { size: "b", lock: true, defines: ARITHMETIC }),
  form("NEG", "F7 /3", { size: "v", lock: true, defines: ARITHMETIC }),
  form("INC", "FE /0", { size: "b", lock: true, defines: ARITHMETIC & ~CF }),
  form("INC", "FF /0", { size: "v", lock: true, defines: ARITHMETIC & ~CF }),
  form("DEC", "FE /1", { size: "b", lock: true, defines: ARITHMETIC & ~CF }),
  form("DEC", "FF /1", { size: "v", lock: true, defines: ARITHMETIC & ~CF }),
  form("INC", "40 +r", { size: "v", defines: ARITHMETIC & ~CF, code: "32" }),
  form("DEC", "48 +r", { size: "v", defines: ARITHMETIC & ~CF, code: "32" }),
];

const multiply = { defines: CF | OF, explained: "multiply" } as const;
const MULTIPLY = [
  form("MUL", "F6 /4", { ...multiply, size: "b", uses: RAX }),
  form("MUL", "F7 /4", { ...multiply, size: "v", uses: RAX | RDX, weight: 2 }),
  form("IMUL", "F6 /5", { ...multiply, size: "b", uses: RAX }),
  form("IMUL", "F7 /5", { ...multiply, size: "v", uses: RAX | RDX, weight: 2 }),
  form("IMUL", "0F AF /r", { ...multiply, size: "v", weight: 2 }),
  form("IMUL", "69 /r iz", { ...multiply, size: "v", weight: 2 }),
  form("IMUL", "6B /r ib", { ...multiply, size: "v", weight: 2 }),
  form("DIV", "F6 /6", { explained: "divide", size: "b", uses: RAX, prepare: "divide", weight: 2 }),
  form("DIV", "F7 /6", { explained: "divide", size: "v", uses: RAX | RDX, prepare: "divide", weight: 4 }),
  form("IDIV", "F6 /7", { explained: "divide", size: "b", uses: RAX, prepare: "divide", weight: 2 }),
  form("IDIV", "F7 /7", { explained: "divide", size: "v", uses: RAX | RDX, prepare: "divide", weight: 4 }),
  form("CBW", "98", { size: "v", uses: RAX }),
  form("CWD", "99", { size: "v", uses: RAX | RDX }),
];

const BITS = ["BT", "BTS", "BTR", "BTC"].flatMap((name, index): Form[] => [
  form(name, `0F ${hex(0xa3 + 8 * index)} /r`, {
    size: "v",
    lock: index > 0,
    defines: CF,
    explained: "bit-test",
    prepare: "bit-offset",
    weight: 2,
  }),
  form(name, `0F BA /${4 + index} ib`, { size: "v", lock: index > 0, defines: CF, explained: "bit-test" }),
]);

const SCANS = [
  form("BSF", "np 0F BC /r", { size: "v", defines: ZF, explained: "bit-scan", weight: 2 }),
  form("BSR", "np 0F BD /r", { size: "v", defines: ZF, explained: "bit-scan", weight: 2 }),
  form("POPCNT", "mF3 0F B8 /r", { size: "v", defines: ARITHMETIC, weight: 2 }),
  form("BSWAP", "0F C8 +r", { size: "y", code16: false, weight: 2 }),
];

const EXCHANGES = [
  form("XCHG", "86 /r", { size: "b", lock: true }),
  form("XCHG", "87 /r", { size: "v", lock: true }),
  form("XCHG", "90 +r", { size: "v", uses: RAX }),
  form("XADD", "0F C0 /r", { size: "b", lock: true, defines: ARITHMETIC }),
  form("XADD", "0F C1 /r", { size: "v", lock: true, defines: ARITHMETIC }),
  form("CMPXCHG", "0F B0 /r", {
    size: "b",
    lock: true,
    defines: ARITHMETIC,
    uses: RAX,
    prepare: "compare-exchange",
  }),
  form("CMPXCHG", "0F B1 /r", {
    size: "v",
    lock: true,
    defines: ARITHMETIC,
    uses: RAX,
    prepare: "compare-exchange",
    weight: 2,
  }),
  form("CMPXCHG8B", "0F C7 /1.m", {
    size: "y",
    lock: true,
    defines: ZF,
    uses: RAX | RBX | RCX | RDX,
    memory: 16,
    prepare: "compare-exchange",
    weight: 4,
  }),
];

const MOVES = [
  form("MOV", "88 /r", { size: "b" }),
  form("MOV", "89 /r", { size: "v" }),
  form("MOV", "8A /r", { size: "b" }),
  form("MOV", "8B /r", { size: "v" }),
  form("MOV", "A0 mo", { size: "b", uses: RAX }),
  form("MOV", "A1 mo", { size: "v", uses: RAX }),
  form("MOV", "A2 mo", { size: "b", uses: RAX }),
  form("MOV", "A3 mo", { size: "v", uses: RAX }),
  form("MOV", "B0 +r ib", { size: "b" }),
  form("MOV", "B8 +r iv", { size: "v" }),
  form("MOV", "C6 /0 ib", { size: "b" }),
  form("MOV", "C7 /0 iz", { size: "v" }),
  form("MOVZX", "0F B6 /r", { size: "v", memory: 1 }),
  form("MOVZX", "0F B7 /r", { size: "v", memory: 2 }),
  form("MOVSX", "0F BE /r", { size: "v", memory: 1 }),
  form("MOVSX", "0F BF /r", { size: "v", memory: 2 }),
  form("MOVSXD", "63 /r", { size: "y", memory: 4, code: "64", weight: 2 }),
  form("LEA", "8D /r.m", { size: "v", weight: 4 }),
  form("MOVNTI", "np 0F C3 /r.m", { size: "y" }),
  form("CMOV", "0F 40 +c /r", { size: "v", weight: 8 }),
  form("SET", "0F 90 +c /0", { size: "b", weight: 8 }),
  form("SET", "0F 90 +c /5", { size: "b" }),
  form("LAHF", "9F", { uses: RAX, reads: SF | ZF | AF | PF | CF }),
  form("SAHF", "9E", { uses: RAX, defines: SF | ZF | AF | PF | CF, weight: 2 }),
  form("CMC", "F5", { reads: CF, defines: CF }),
  form("CLC", "F8", { defines: CF }),
  form("STC", "F9", { defines: CF }),
  form("CLD", "FC"),
  form("STD", "FD"),
  form("XLAT", "D7", { uses: RAX | RBX, prepare: "table", weight: 2 }),
  form("NOP", "0F 1F /0", { size: "v" }),
  form("NOP", "0F 19 /3", { size: "v" }),
  form("PREFETCH", "0F 18 /1.m"),
  form("PREFETCHW", "0F 0D /1.m"),
  form("PAUSE", "mF3 90"),
  form("CLFLUSH", "np 0F AE /7.m", { memory: 1 }),
  form("LFENCE", "np 0F AE /5.r"),
  form("MFENCE", "np 0F AE /6.r"),
  form("SFENCE", "np 0F AE /7.r"),
];

const STRINGS = [
  form("MOVSB", "A4", { size: "b", uses: RSI | RDI | RCX }),
  form("MOVS", "A5", { size: "v", uses: RSI | RDI | RCX }),
  // With a repeat count of 0 the flags keep their values, so a comparison defines none for what follows.
  form("CMPSB", "A6", { size: "b", uses: RSI | RDI | RCX }),
  form("CMPS", "A7", { size: "v", uses: RSI | RDI | RCX }),
  form("STOSB", "AA", { size: "b", uses: RAX | RDI | RCX }),
  form("STOS", "AB", { size: "v", uses: RAX | RDI | RCX }),
  form("LODSB", "AC", { size: "b", uses: RAX | RSI | RCX }),
  form("LODS", "AD", { size: "v", uses: RAX | RSI | RCX }),
  form("SCASB", "AE", { size: "b", uses: RAX | RDI | RCX }),
  form("SCAS", "AF", { size: "v", uses: RAX | RDI | RCX }),
].map((f): Form => ({ ...f, group: "string", prepare: "string", weight: 2 }));

const STACK = [
  form("PUSH", "50 +r", { size: "s", uses: RSP, weight: 2 }),
  form("POP", "58 +r", { size: "s", uses: RSP, weight: 2 }),
  form("PUSH", "FF /6", { size: "s", uses: RSP, weight: 2 }),
  form("POP", "8F /0", { size: "s", uses: RSP, weight: 3 }),
  form("PUSH", "6A ib", { size: "s", uses: RSP }),
  form("PUSH", "68 iz", { size: "s", uses: RSP }),
  form("PUSHF", "9C", { size: "s", uses: RSP, reads: ARITHMETIC, weight: 2 }),
  form("POPF", "9D", { size: "s", uses: RSP, defines: ARITHMETIC, prepare: "popf", weight: 2 }),
  form("ENTER", "C8 iw ib", { size: "s", uses: RSP | RBP, prepare: "frame", weight: 3 }),
  form("LEAVE", "C9", { size: "s", uses: RSP | RBP, prepare: "frame", weight: 2 }),
  form("PUSHA", "60", { size: "s", uses: RSP, code: "32", weight: 2 }),
  form("POPA", "61", { size: "s", uses: 0xff, code: "32", weight: 2 }),
  form("PUSH FS", "0F A0", { size: "s", uses: RSP }),
  form("PUSH GS", "0F A8", { size: "s", uses: RSP }),
  form("PUSH ES", "06", { size: "s", uses: RSP, code: "32" }),
  form("PUSH CS", "0E", { size: "s", uses: RSP, code: "32" }),
  form("PUSH SS", "16", { size: "s", uses: RSP, code: "32" }),
  form("PUSH DS", "1E", { size: "s", uses: RSP, code: "32" }),
  form("POP ES", "07", { size: "s", uses: RSP, code: "32", prepare: "pop-selector" }),
  form("POP SS", "17", { size: "s", uses: RSP, code: "32", prepare: "pop-selector" }),
  form("POP DS", "1F", { size: "s", uses: RSP, code: "32", prepare: "pop-selector" }),
].map((f): Form => ({ ...f, group: "stack" }));

const BRANCHES = [
  form("Jcc", "70 +c cb", { weight: 6 }),
  form("Jcc", "0F 80 +c cz", { weight: 3 }),
  form("JMP", "EB cb"),
  form("JMP", "E9 cz"),
  form("LOOPNE", "E0 cb", { uses: RCX, reads: ZF, prepare: "count" }),
  form("LOOPE", "E1 cb", { uses: RCX, reads: ZF, prepare: "count" }),
  form("LOOP", "E2 cb", { uses: RCX, prepare: "count" }),
  form("JRCXZ", "E3 cb", { uses: RCX, prepare: "count" }),
  form("CALL", "E8 cz", { uses: RSP, weight: 2 }),
  form("CALL", "FF /2", { uses: RSP, prepare: "indirect", weight: 2 }),
  form("JMP", "FF /4", { prepare: "indirect", weight: 2 }),
  form("RET", "C3", { uses: RSP, prepare: "return", weight: 2 }),
  form("RET", "C2 iw", { uses: RSP, prepare: "return" }),
  form("RETF", "CB", { uses: RSP, size: "v", prepare: "far-return", alone: true, weight: 2 }),
  form("RETF", "CA iw", { uses: RSP, size: "v", prepare: "far-return", alone: true }),
  form("IRET", "CF", {
    code16: false,
    uses: RSP,
    size: "y",
    prepare: "interrupt-return",
    defines: ARITHMETIC,
    alone: true,
    weight: 2,
  }),
  form("CALL far", "9A iz iw", {
    uses: RSP,
    size: "v",
    code: "32",
    prepare: "far-target",
    alone: true,
    weight: 2,
  }),
  form("JMP far", "EA iz iw", {
    uses: RSP,
    size: "v",
    code: "32",
    prepare: "far-target",
    alone: true,
    weight: 2,
  }),
  // 16:32 in both modes: what REX.W does differs.
  form("CALL far", "FF /3.m", {
    code16: false,
    uses: RSP,
    memory: 6,
    prepare: "far-target",
    alone: true,
    weight: 2,
  }),
  form("JMP far", "FF /5.m", { code16: false, memory: 6, prepare: "far-target", alone: true, weight: 2 }),
].map((f): Form => ({ ...f, group: "branch" }));

const DECIMAL = [
  form("DAA", "27", { uses: RAX, reads: AF | CF, defines: ARITHMETIC, explained: "decimal-sign" }),
  form("DAS", "2F", { uses: RAX, reads: AF | CF, defines: ARITHMETIC, explained: "decimal-sign" }),
  form("AAA", "37", { uses: RAX, reads: AF, defines: ARITHMETIC, explained: "ascii-adjust" }),
  form("AAS", "3F", { uses: RAX, reads: AF, defines: ARITHMETIC, explained: "ascii-adjust" }),
  form("AAM", "D4 ib", { uses: RAX, defines: ARITHMETIC, explained: "ascii-multiply" }),
  form("AAD", "D5 ib", { uses: RAX, defines: ARITHMETIC, explained: "ascii-multiply" }),
  form("SALC", "D6", { uses: RAX, reads: CF }),
  form("BOUND", "62 /r.m", { size: "v", memory: 8 }),
].map((f): Form => ({ ...f, code: "32", weight: 2 }));

/** What user code may ask of the system: selectors, traps, and the privileged instructions, which must all fault. */
const SYSTEM = [
  form("INT3", "CC"),
  form("INT", "CD 03"),
  form("INT", "CD 04"),
  form("INT", "CD 0D"),
  form("INT", "CD 20"),
  form("INTO", "CE", { reads: OF, code: "32" }),
  form("MOV from Sreg", "8C /0", { size: "v", operands: "sg", memory: 2 }),
  form("MOV from Sreg", "8C /2", { size: "v", operands: "sg", memory: 2 }),
  form("MOV from Sreg", "8C /4", { size: "v", operands: "sg", memory: 2 }),
  form("MOV to Sreg", "8E /0", { size: "w", operands: "sg", prepare: "selector", memory: 2 }),
  form("MOV to Sreg", "8E /2", { size: "w", operands: "sg", prepare: "selector", memory: 2 }),
  form("MOV to Sreg", "8E /3", { size: "w", operands: "sg", prepare: "selector", memory: 2 }),
  form("LES", "C4 /r.m", { size: "v", code: "32", memory: 6, prepare: "far-pointer" }),
  form("LDS", "C5 /r.m", { size: "v", code: "32", memory: 6, prepare: "far-pointer" }),
  form("LSS", "0F B2 /r.m", { code16: false, memory: 6, prepare: "far-pointer" }),
  form("LAR", "0F 02 /r", {
    size: "v",
    defines: ZF,
    explained: "access-rights",
    prepare: "selector",
    memory: 2,
    alone: true,
    weight: 4,
  }),
  form("LSL", "0F 03 /r", { size: "v", defines: ZF, prepare: "selector", memory: 2, weight: 2 }),
  form("VERR", "0F 00 /4", { size: "w", defines: ZF, prepare: "selector", memory: 2 }),
  form("VERW", "0F 00 /5", { size: "w", defines: ZF, prepare: "selector", memory: 2 }),
  form("ARPL", "63 /r", { size: "w", defines: ZF, code: "32" }),
  form("HLT", "F4"),
  form("CLI", "FA"),
  form("STI", "FB"),
  form("IN", "E4 ib", { size: "b", uses: RAX }),
  form("IN", "E5 ib", { uses: RAX }),
  form("IN", "EC", { uses: RAX }),
  form("OUT", "E6 ib", { size: "b", uses: RAX }),
  form("OUT", "EF", { uses: RAX }),
  form("INSB", "6C", { uses: RDI }),
  form("OUTSD", "6F", { uses: RSI }),
  form("LLDT", "0F 00 /2", { memory: 2 }),
  form("LTR", "0F 00 /3", { memory: 2 }),
  form("LGDT", "0F 01 /2.m", { memory: 10 }),
  form("LIDT", "0F 01 /3.m", { memory: 10 }),
  form("LMSW", "0F 01 /6", { memory: 2 }),
  form("INVLPG", "0F 01 /7.m", { memory: 1 }),
  form("SWAPGS", "0F 01 F8", { code: "64" }),
  form("CLTS", "0F 06"),
  form("INVD", "0F 08"),
  form("WBINVD", "0F 09"),
  form("MOV from CR", "0F 20 /0.r"),
  form("MOV to CR", "0F 22 /3.r"),
  form("MOV from DR", "0F 21 /7.r"),
  form("MOV to DR", "0F 23 /6.r"),
  form("WRMSR", "0F 30"),
  form("RDMSR", "0F 32"),
  form("SYSRET", "0F 07"),
].map((f): Form => ({ ...f, group: "system" }));

/** Run only where the kernel lets user code have them (CR4.FSGSBASE). */
const BASES = ["RDFSBASE", "RDGSBASE", "WRFSBASE", "WRGSBASE"].map((name, index) =>
  form(name, `mF3 0F AE /${index}.r`, { size: "y", code: "64", group: "base" }),
);

/** Encodings without a meaning. */
const INVALID = [
  ...[
    "06",
    "07",
    "0E",
    "16",
    "17",
    "1E",
    "1F",
    "27",
    "2F",
    "37",
    "3F",
    "60",
    "61",
    "CE",
    "D4 0A",
    "D5 0A",
    "D6",
  ].map((bytes) => form("invalid in 64-bit code", bytes, { code: "64" })),
  form("invalid in 64-bit code", "82 /0 ib", { size: "b", code: "64" }),
  form("far pointer in 64-bit code", "9A iz iw", { code: "64" }),
  form("far pointer in 64-bit code", "EA iz iw", { code: "64" }),
  form("UD2", "0F 0B", { weight: 2 }),
  form("UD1", "0F B9 /r", { size: "v" }),
  form("UD0", "0F FF /r"),
  form("undefined", "0F 04"),
  form("undefined", "0F 0A"),
  form("undefined", "0F 0C"),
  form("undefined", "0F 24 /r"),
  form("undefined", "0F 26 /r"),
  form("undefined", "0F 36"),
  form("undefined", "0F A6 /0.r"),
  form("undefined", "0F BA /1 ib"),
  form("undefined", "FE /2"),
  form("undefined", "FE /7"),
  form("undefined", "FF /7"),
  form("undefined", "C6 /1.m ib"),
  form("undefined", "C7 /3.m iz"),
  form("undefined", "8F /1.m"),
  form("LEA of a register", "8D /r.r", { size: "v" }),
  form("CMPXCHG8B of a register", "0F C7 /1.r"),
  form("MOV to CS", "8E /1", { size: "w", operands: "sg", memory: 2 }),
  form("MOV of segment 6", "8C /6", { operands: "sg", memory: 2 }),
  form("MOV of segment 7", "8E /7", { operands: "sg", memory: 2 }),
  form("MOV of CR1", "0F 20 /1.r"),
  form("MOVNTI of a register", "np 0F C3 /r.r", { size: "y" }),
].map((f): Form => ({ ...f, group: "invalid" }));

export const INTEGER_FORMS: readonly Form[] = [
  ...ALU,
  ...SHIFTS,
  ...DOUBLE_SHIFTS,
  ...UNARY,
  ...MULTIPLY,
  ...BITS,
  ...SCANS,
  ...EXCHANGES,
  ...MOVES,
  ...STRINGS,
  ...STACK,
  ...BRANCHES,
  ...DECIMAL,
  ...SYSTEM,
  ...BASES,
  ...INVALID,
];
