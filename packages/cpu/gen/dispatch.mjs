// Writes the two dispatch functions from assembly/dispatch.template.ts: one switch each, with a case per operation number.
//
// fast() calls nothing: V8 keeps nothing in registers across a call, and one call anywhere in the loop would send the
// uop pointer through the stack on every dispatch. Whatever fast() cannot do by itself (a TLB miss, an irregular
// operation) it leaves to slow(), which executes one uop and may call and raise. Regular families are expanded here for
// both; the rest stands in the template. The numbers are those of assembly/ops.ts.
import { readFileSync } from "node:fs";
import { PAIRS } from "./pairs.mjs";

const U = ["u8", "u16", "u32", "u64"];
const I = ["i8", "i16", "i32", "i64"];
const ALU = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"];

/** The constants `export const NAME: u32 = ...` of ops.ts, several to a line. */
export function operationNumbers(source) {
  const numbers = {};
  for (const line of source.matchAll(/^export const ([^;]*: u32[^;]*);/gm))
    for (const [, name, value] of line[1].matchAll(/(\w+): u32 = (\d+)/g)) numbers[name] = Number(value);
  return numbers;
}

// ---- pieces of text ----
const register = (field, s) => `load<${U[s]}>(<usize>load<u8>(p, ${field}), GPR)`;
const setRegister = (field, s, value) =>
  s === 2
    ? `store<u64>(<usize>load<u8>(p, ${field}), <u64><u32>(${value}), GPR);`
    : `store<${U[s]}>(<usize>load<u8>(p, ${field}), <${U[s]}>(${value}), GPR);`;
const wide = (s, text) => (s === 3 ? text : `<u64>${text}`);
const immediate = (s) => `load<${U[s]}>(p, U_IMMEDIATE)`;

/** Condition `cc` on the lazy flags. */
const condition = (cc) => {
  const text = [
    "overflow()",
    "carry()",
    "zero()",
    "(carry() || zero())",
    "sign()",
    "parity()",
    "less()",
    "(zero() || less())",
  ][cc >> 1];
  return cc & 1 ? `!${text}` : text;
};
const negate = (cc, text) => (cc & 1 ? `!(${text})` : text);
const afterCompare = (cc, s) => {
  const sa = `<${I[s]}>a`;
  const sb = `<${I[s]}>b`;
  const text = [
    "overflow()",
    "a < b",
    "a == b",
    "a <= b",
    `<${I[s]}>(a - b) < 0`,
    "parity()",
    `${sa} < ${sb}`,
    `${sa} <= ${sb}`,
  ][cc >> 1];
  return negate(cc, text);
};
const afterTest = (cc, s) => {
  const negative = `<${I[s]}>r < 0`;
  const text = ["false", "false", "r == 0", "r == 0", negative, "parity()", negative, `<${I[s]}>r <= 0`][
    cc >> 1
  ];
  return negate(cc, text);
};

/** Both operands in `a` and `b`: the result is `r`, flags are set by `flags`. */
const compute = (k, s) => {
  const T = U[s];
  switch (ALU[k]) {
    case "add":
      return { result: "a + b", flags: `added<${T}>(a, b, r);` };
    case "adc":
      return { result: "a + b + carryBit()", flags: `added<${T}>(a, b, r);` };
    case "sbb":
      return { result: "a - b - carryBit()", flags: `subtracted<${T}>(a, b, r);` };
    case "sub":
    case "cmp":
      return { result: "a - b", flags: `subtracted<${T}>(a, b, r);` };
    default:
      return { result: `a ${{ or: "|", and: "&", xor: "^" }[ALU[k]]} b`, flags: `logical<${T}>(r);` };
  }
};
const SHIFTS = ["shl", "shr", "sar", "rol", "ror"];
/** `a` (zero-extended) by `n` bits, 0 < n < width: result and flags. */
const shift = (kind, s) => {
  const w = 8 << s;
  const signed = `<u64><i64><${I[s]}>a`;
  const rotate = (text) => (s === 3 ? text : `<u64>${text}`);
  switch (SHIFTS[kind]) {
    case "shl":
      return {
        result: "a << n",
        flags: `const cf = (a >> (${w} - n)) & 1; putCarryOverflow(signExtend<${U[s]}>(r), cf, cf ^ ((r >> ${w - 1}) & 1));`,
      };
    case "shr":
      return {
        result: "a >> n",
        flags: `putCarryOverflow(signExtend<${U[s]}>(r), (a >> (n - 1)) & 1, n == 1 ? a >> ${w - 1} : 0);`,
      };
    case "sar":
      return {
        result: `<u64>(<i64>(${signed}) >> <i64>n)`,
        flags: `putCarryOverflow(signExtend<${U[s]}>(r), (<u64>(<i64>(${signed}) >> <i64>(n - 1))) & 1, 0);`,
      };
    case "rol":
      return {
        result: rotate(`rotl<${U[s]}>(<${U[s]}>a, <${U[s]}>n)`),
        flags: `setCarryOverflow(r & 1, (r ^ (r >> ${w - 1})) & 1);`,
      };
    default:
      return {
        result: rotate(`rotr<${U[s]}>(<${U[s]}>a, <${U[s]}>n)`),
        flags: `setCarryOverflow((r >> ${w - 1}) & 1, ((r >> ${w - 1}) ^ (r >> ${w - 2})) & 1);`,
      };
  }
};

const branch = (test) =>
  `next = load<u64>(BLOCK_LINEAR); if (${test}) { next += load<i64>(p, U_IMMEDIATE); slotAt = p + TAKEN; } else { next += <u64>load<u16>(p, U_NEXT); slotAt = p + FALLEN; }`;

/** Statements for a 64-bit push of `value`, and for reading what a stack register points at. */
const pushed = (value) =>
  `const at = load<u64>(RSP) - 8; const e = slot(at); if (!hits<u64>(e, TLB_WRITE, at)) return p; store<u64>(hostAddress(e, TLB_WRITE, at), ${value}); store<u64>(RSP, at);`;
const popped = (pointer, name) =>
  `const at = load<u64>(${pointer}); const e = slot(at); if (!hits<u64>(e, TLB_READ, at)) return p; const ${name} = load<u64>(hostAddress(e, TLB_READ, at));`;

/** How the two functions reach memory: statements that define names, to stand before the computation. */
const ACCESS = {
  fast: {
    address:
      "let at = sum(p); const segment = <u32>load<u8>(p, U_SEGMENT); if (segment) { if (segment & ADDRESS_CHECKED) return p; at = segmentedUnchecked(at, segment); }",
    near: "const at = baseAndDisplacement(p);",
    load: (s, name) =>
      `const e = slot(at); if (!hits<${U[s]}>(e, TLB_READ, at)) return p; const ${name} = ${wide(s, `load<${U[s]}>(hostAddress(e, TLB_READ, at))`)};`,
    modify: (s, name) =>
      `const e = slot(at); if (!hits<${U[s]}>(e, TLB_WRITE, at)) return p; const host = hostAddress(e, TLB_WRITE, at); const ${name} = ${wide(s, `load<${U[s]}>(host)`)};`,
    modified: (s, value) => `store<${U[s]}>(host, <${U[s]}>(${value}));`,
    store: (s, value) =>
      `const e = slot(at); if (!hits<${U[s]}>(e, TLB_WRITE, at)) return p; store<${U[s]}>(hostAddress(e, TLB_WRITE, at), ${value});`,
  },
  slow: {
    address: "const at = effectiveAddress(p);",
    near: "const at = baseAndDisplacement(p);",
    load: (s, name) => `const ${name} = ${wide(s, `mmu.read${8 << s}(at)`)};`,
    modify: (s, name) => `const ${name} = ${wide(s, `mmu.readForWrite${8 << s}(at)`)};`,
    modified: (s, value) => `mmu.write${8 << s}(at, <${U[s]}>(${value}));`,
    store: (s, value) => `mmu.write${8 << s}(at, ${value});`,
  },
};

/** Bodies of the regular operations by number: `text`, and whether they end a block (then `next` and `slot` are set). */
function regularOperations(n, { address, near, load, modify, modified, store }, memoryOnly) {
  const operations = new Map();
  const add = (number, text, ends) => {
    if (operations.has(number)) throw new Error(`operation ${number} is defined twice`);
    operations.set(number, { text, ends });
  };
  /** Operations that touch memory; the others never leave fast(). */
  const memory = (number, text) => add(number, text, false);
  const uop = (number, text) => (memoryOnly ? undefined : add(number, text, false));
  const block = (number, text) => (memoryOnly ? undefined : add(number, text, true));
  for (let s = 0; s < 4; s++)
    for (let k = 0; k < 8; k++) {
      const { result, flags } = compute(k, s);
      const writes = ALU[k] !== "cmp";
      const at = s * 8 + k;
      const finish = (field) => `const r = ${result}; ${writes ? setRegister(field, s, "r") : ""} ${flags}`;
      const registers = (b) =>
        `const a = ${wide(s, register("U_RM", s))}, b = ${wide(s, b)}; ${finish("U_RM")}`;
      const fromMemory = (where) =>
        `${where} ${load(s, "b")} const a = ${wide(s, register("U_REG", s))}; ${finish("U_REG")}`;
      const toMemory = (b) =>
        writes
          ? `${address} ${modify(s, "a")} const b = ${wide(s, b)}; const r = ${result}; ${modified(s, "r")} ${flags}`
          : `${address} ${load(s, "a")} const b = ${wide(s, b)}; const r = ${result}; ${flags}`;
      uop(n.ALU_RR + at, registers(register("U_REG", s)));
      uop(n.ALU_RI + at, registers(immediate(s)));
      memory(n.ALU_RM + at, fromMemory(address));
      memory(n.ALU_MR + at, toMemory(register("U_REG", s)));
      memory(n.ALU_MI + at, toMemory(immediate(s)));
      if (s >= 2) memory(n.ALU_LOAD + (s - 2) * 8 + k, fromMemory(near));
    }
  for (let s = 0; s < 4; s++) {
    const test = (a, b) => `logical<${U[s]}>(${a} & ${wide(s, b)});`;
    uop(n.TEST_RR + s, test(wide(s, register("U_RM", s)), register("U_REG", s)));
    uop(n.TEST_RI + s, test(wide(s, register("U_RM", s)), immediate(s)));
    memory(n.TEST_MR + s, `${address} ${load(s, "a")} ${test("a", register("U_REG", s))}`);
    memory(n.TEST_MI + s, `${address} ${load(s, "a")} ${test("a", immediate(s))}`);
    uop(n.MOV_RR + s, setRegister("U_RM", s, register("U_REG", s)));
    uop(n.MOV_RI + s, setRegister("U_RM", s, immediate(s)));
    memory(n.MOV_RM + s, `${address} ${load(s, "v")} ${setRegister("U_REG", s, "v")}`);
    memory(n.MOV_MR + s, `${address} ${store(s, register("U_REG", s))}`);
    memory(n.MOV_MI + s, `${address} ${store(s, immediate(s))}`);
    memory(n.LOAD + s, `${near} ${load(s, "v")} ${setRegister("U_REG", s, "v")}`);
    memory(n.STORE + s, `${near} ${store(s, register("U_REG", s))}`);
  }
  for (const s of [2, 3]) {
    for (let kind = 0; kind < 5; kind++) {
      const { result, flags } = shift(kind, s);
      const body = `const n = <u64>load<u8>(p, U_IMMEDIATE); const a = ${wide(s, register("U_RM", s))}; const r = ${result}; ${setRegister("U_RM", s, "r")}`;
      uop(n.SHIFT_RI + kind * 2 + (s - 2), `${body} ${flags}`);
      uop(n.QUIET_SHIFT + (s - 2) * 5 + kind, body);
    }
    ["+", "|", "&", "-", "^"].forEach((sign, i) => {
      const body = (b) => setRegister("U_RM", s, `${register("U_RM", s)} ${sign} ${b}`);
      uop(n.QUIET_RR + (s - 2) * 5 + i, body(register("U_REG", s)));
      uop(n.QUIET_RI + (s - 2) * 5 + i, body(immediate(s)));
    });
    for (let kind = 0; kind < 5; kind++) {
      const { result, flags } = shift(kind, s);
      // A count of 0 leaves the flags alone; a 32-bit register loses its upper half all the same.
      uop(
        n.SHIFT_CL + kind * 2 + (s - 2),
        `const n = <u64>load<u8>(GPR + 8) & ${s === 3 ? 63 : 31}; const a = ${wide(s, register("U_RM", s))}; if (n) { const r = ${result}; ${setRegister("U_RM", s, "r")} ${flags} } else ${setRegister("U_RM", s, "a")}`,
      );
    }
    uop(n.NOTNEG_R + (s - 2) * 2, setRegister("U_RM", s, `~${register("U_RM", s)}`));
    uop(
      n.NOTNEG_R + (s - 2) * 2 + 1,
      `const b = ${wide(s, register("U_RM", s))}; const r = 0 - b; ${setRegister("U_RM", s, "r")} subtracted<${U[s]}>(0, b, r);`,
    );
    ["incremented", "decremented"].forEach((flags, i) => {
      const r = `const r = a ${i ? "-" : "+"} 1;`;
      const at = (s - 2) * 2 + i;
      uop(
        n.INCDEC_R + at,
        `const a = ${wide(s, register("U_RM", s))}; ${r} ${setRegister("U_RM", s, "r")} ${flags}<${U[s]}>(a, r);`,
      );
      memory(
        n.INCDEC_M + at,
        `${address} ${modify(s, "a")} ${r} ${modified(s, "r")} ${flags}<${U[s]}>(a, r);`,
      );
    });
    for (let cc = 0; cc < 16; cc++) {
      // A 32-bit CMOV clears the upper half even when it does not move.
      const move =
        s === 3
          ? `if (${condition(cc)}) ${setRegister("U_REG", 3, register("U_RM", 3))}`
          : setRegister("U_REG", 2, `${condition(cc)} ? ${register("U_RM", 2)} : ${register("U_REG", 2)}`);
      uop(n.CMOV_R + cc * 2 + (s - 2), move);
    }
  }
  for (const s of [0, 1]) {
    uop(n.MOVZX_R + s, setRegister("U_REG", 3, wide(s, register("U_RM", s))));
    memory(n.MOVZX_M + s, `${address} ${load(s, "v")} ${setRegister("U_REG", 3, "v")}`);
    memory(n.LOAD_ZX + s, `${near} ${load(s, "v")} ${setRegister("U_REG", 3, "v")}`);
  }
  [
    [0, 2],
    [0, 3],
    [1, 2],
    [1, 3],
    [2, 3],
  ].forEach(([from, to], i) => {
    const extend = (text) => setRegister("U_REG", to, `<${I[to]}><${I[from]}>${text}`);
    uop(n.MOVSX_R + i, extend(register("U_RM", from)));
    memory(n.MOVSX_M + i, `${address} ${load(from, "v")} ${extend("v")}`);
  });
  for (let cc = 0; cc < 16; cc++) {
    block(n.JCC + cc, branch(condition(cc)));
    uop(n.SETCC_R + cc, `store<u8>(<usize>load<u8>(p, U_RM), <u8>(${condition(cc)}), GPR);`);
  }
  return operations;
}

/** What fast() does of the irregular operations. */
const IRREGULAR = {
  END: { text: "next = load<u64>(BLOCK_LINEAR) + <u64>load<u16>(p, U_OFFSET); slotAt = p + 4;", ends: true },
  NOP: { text: "", ends: false },
  LEA64: { text: "store<u64>(<usize>load<u8>(p, U_REG), sum(p), GPR);", ends: false },
  LEA32: { text: "store<u64>(<usize>load<u8>(p, U_REG), <u64><u32>sum(p), GPR);", ends: false },
  PUSH: { text: pushed("load<u64>(<usize>load<u8>(p, U_RM), GPR)"), ends: false },
  PUSH_I: { text: pushed("load<u64>(p, U_IMMEDIATE)"), ends: false },
  POP: {
    text: `${popped("RSP", "v")} store<u64>(RSP, at + 8); store<u64>(<usize>load<u8>(p, U_RM), v, GPR);`,
    ends: false,
  },
  LEAVE64: { text: `${popped("RBP", "v")} store<u64>(RBP, v); store<u64>(RSP, at + 8);`, ends: false },
  CALL: {
    text: `${pushed("load<u64>(BLOCK_LINEAR) + <u64>load<u16>(p, U_NEXT)")} next = load<u64>(BLOCK_LINEAR) + load<u64>(p, U_IMMEDIATE); slotAt = p + TAKEN;`,
    ends: true,
  },
  CALL_R: {
    text: `next = load<u64>(<usize>load<u8>(p, U_RM), GPR); if (!canonical(next)) return p; ${pushed("load<u64>(BLOCK_LINEAR) + <u64>load<u16>(p, U_NEXT)")} slotAt = cacheSlot(next);`,
    ends: true,
  },
  JMP: {
    text: "next = load<u64>(BLOCK_LINEAR) + load<u64>(p, U_IMMEDIATE); slotAt = p + TAKEN;",
    ends: true,
  },
  JMP_R: {
    text: "next = load<u64>(<usize>load<u8>(p, U_RM), GPR); if (!canonical(next)) return p; slotAt = cacheSlot(next);",
    ends: true,
  },
  RET: {
    text: `${popped("RSP", "v")} next = v; if (!canonical(next)) return p; store<u64>(RSP, at + 8); slotAt = cacheSlot(next);`,
    ends: true,
  },
  IMUL64: {
    text: "const at = <usize>load<u8>(p, U_REG); const a = load<u64>(at, GPR), b = load<u64>(<usize>load<u8>(p, U_RM), GPR); const r = a * b; const over: u64 = <i64>multiplyHighSigned(a, b) != <i64>r >> 63 ? 1 : 0; store<u64>(at, r, GPR); putCarryOverflow(r, over, over);",
    ends: false,
  },
  IMUL32: {
    text: "const r = <i64>load<i32>(<usize>load<u8>(p, U_REG), GPR) * <i64>load<i32>(<usize>load<u8>(p, U_RM), GPR); const over: u64 = r != <i64><i32>r ? 1 : 0; store<u64>(<usize>load<u8>(p, U_REG), <u64><u32>r, GPR); putCarryOverflow(<u64><i64><i32>r, over, over);",
    ends: false,
  },
};

/** Compare and branch know the condition from the operands, without going through the lazy flags. */
function compareAndBranch(n, first, second) {
  if (second < n.JCC || second >= n.JCC + 16) return undefined;
  const cc = second - n.JCC;
  const size = (base) => first - base;
  const goOn = (test) => `p += 32; ${branch(test)}`;
  const compare = (s, a, b) =>
    `const a = ${a}, b = ${b}; subtracted<${U[s]}>(${wide(s, "a")}, ${wide(s, "b")}, ${wide(s, "a")} - ${wide(s, "b")}); ${goOn(afterCompare(cc, s))}`;
  const test = (s, a, b) =>
    `const r = ${a} & ${b}; logical<${U[s]}>(${wide(s, "r")}); ${goOn(afterTest(cc, s))}`;
  const memory = (s) => `${ACCESS.fast.address} ${ACCESS.fast.load(s, "m")}`;
  const narrow = (s) => (s === 3 ? "m" : `<${U[s]}>m`);
  for (let s = 0; s < 4; s++) {
    const cmp = s * 8 + 7;
    if (first === n.ALU_RR + cmp) return compare(s, register("U_RM", s), register("U_REG", s));
    if (first === n.ALU_RI + cmp) return compare(s, register("U_RM", s), immediate(s));
    if (first === n.ALU_RM + cmp) return `${memory(s)} ${compare(s, register("U_REG", s), narrow(s))}`;
    if (first === n.ALU_LOAD + (s - 2) * 8 + 7 && s >= 2)
      return `${memory(s)} ${compare(s, register("U_REG", s), narrow(s))}`;
    if (first === n.ALU_MR + cmp) return `${memory(s)} ${compare(s, narrow(s), register("U_REG", s))}`;
    if (first === n.ALU_MI + cmp) return `${memory(s)} ${compare(s, narrow(s), immediate(s))}`;
    if (size(n.TEST_RR) === s) return test(s, register("U_RM", s), register("U_REG", s));
    if (size(n.TEST_RI) === s) return test(s, register("U_RM", s), immediate(s));
    if (size(n.TEST_MR) === s) return `${memory(s)} ${test(s, narrow(s), register("U_REG", s))}`;
    if (size(n.TEST_MI) === s) return `${memory(s)} ${test(s, narrow(s), immediate(s))}`;
  }
  return undefined;
}

/** Numbers of the Op enumeration, which begins at FIRST_IRREGULAR. */
function irregularNumbers(source, first) {
  const names = source
    .match(/enum Op \{([\s\S]*?)\n\}/)[1]
    .replaceAll(/\/\*\*[\s\S]*?\*\//g, "")
    .split(",")
    .map((name) => name.replace(/=.*/, "").trim())
    .filter((name) => name !== "");
  return Object.fromEntries(names.map((name, i) => [name, first + i]));
}
/** `LOAD+3`, `PUSH` or the pair `PUSH:PUSH` to its number. */
function numberOf(name, numbers) {
  if (name in numbers) return numbers[name];
  const [base, offset = "0"] = name.split("+");
  if (!(base in numbers)) throw new Error(`no operation ${name}`);
  return numbers[base] + Number(offset);
}
const enclosed = ({ text, ends }) => `{ ${text} ${ends ? "break;" : "p += 32; continue;"} }`;

/** The two generated files: dispatch.ts and pairs.ts. */
export function generate(opsSource) {
  const n = operationNumbers(opsSource);
  const irregular = irregularNumbers(opsSource, n.FIRST_IRREGULAR);
  const numbers = { ...n, ...irregular };
  const fast = regularOperations(n, ACCESS.fast, false);
  const slow = regularOperations(n, ACCESS.slow, true);
  for (let number = 0; number < n.FIRST_IRREGULAR; number++)
    if (!fast.has(number)) throw new Error(`operation ${number} has no case`);
  for (const [name, operation] of Object.entries(IRREGULAR)) fast.set(irregular[name], operation);
  if (n.FIRST_IRREGULAR + Object.keys(irregular).length > n.FIRST_PAIR)
    throw new Error("FIRST_PAIR is too low");

  const fastCases = [...fast].map(([number, operation]) => `      case ${number}: ${enclosed(operation)}\n`);
  const firsts = [];
  const byFirst = new Map();
  PAIRS.forEach((names, i) => {
    const [first, second] = names.split(" ").map((name) => numberOf(name, numbers));
    const number = n.FIRST_PAIR + i;
    numbers[names.replace(" ", ":")] = number;
    const a = fast.get(first);
    const b = fast.get(second);
    if (a === undefined || b === undefined || a.ends) throw new Error(`not a pair: ${names}`);
    const special = compareAndBranch(n, first, second);
    const pair =
      special === undefined
        ? { text: `{ ${a.text} } p += 32; { ${b.text} }`, ends: b.ends }
        : { text: special, ends: true };
    fast.set(number, pair);
    fastCases.push(`      case ${number}: ${enclosed(pair)}\n`);
    firsts.push(first);
    if (!byFirst.has(first)) byFirst.set(first, []);
    byFirst.get(first).push([second, number]);
  });
  const dispatch = readFileSync(new URL("../assembly/dispatch.template.ts", import.meta.url), "utf8")
    .replace("      /* fast */\n", () => fastCases.join(""))
    .replace("    /* slow */\n", () =>
      [...slow].map(([number, { text }]) => `    case ${number}: { ${text} return p + 32; }\n`).join(""),
    )
    .replace("/* firsts */", () => firsts.join(", "));
  const cases = [...byFirst].map(
    ([first, seconds]) =>
      `    case ${first}: switch (<i32>second) { ${seconds.map(([second, number]) => `case ${second}: return ${number};`).join(" ")} default: return 0; }\n`,
  );
  const pairs = `// Generated by gen/dispatch.mjs from gen/pairs.mjs: do not edit.\n/** The operation that does \`first\` and then \`second\`, or 0. */\nexport function pairOf(first: u32, second: u32): u32 {\n  switch (<i32>first) {\n${cases.join("")}    default: return 0;\n  }\n}\n`;
  return { dispatch, pairs };
}
