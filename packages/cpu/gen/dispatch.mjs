// Writes the two dispatch functions from assembly/dispatch.template.ts: one switch each, with a case per operation number.
//
// fast() calls nothing: V8 keeps nothing in registers across a call, and one call anywhere in the loop would send the
// uop pointer through the stack on every dispatch. Whatever fast() cannot do by itself (a TLB miss, an irregular
// operation) it leaves to slow(), which executes one uop and may call and raise. Regular families are expanded here for
// both; the rest stands in the template. The numbers are those of assembly/ops.ts.
import { readFileSync } from "node:fs";

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

/** How the two functions reach memory: statements that define names, to stand before the computation. */
const ACCESS = {
  fast: {
    address: "let at = sum(p); const segment = <u32>load<u8>(p, U_SEGMENT); if (segment) { if (segment & ADDRESS_CHECKED) return p; at = segmentedUnchecked(at, segment); }",
    near: "const at = baseAndDisplacement(p);",
    load: (s, name) => `const e = slot(at); if (!hits<${U[s]}>(e, TLB_READ, at)) return p; const ${name} = ${wide(s, `load<${U[s]}>(hostAddress(e, TLB_READ, at))`)};`,
    modify: (s, name) => `const e = slot(at); if (!hits<${U[s]}>(e, TLB_WRITE, at)) return p; const host = hostAddress(e, TLB_WRITE, at); const ${name} = ${wide(s, `load<${U[s]}>(host)`)};`,
    modified: (s, value) => `store<${U[s]}>(host, <${U[s]}>(${value}));`,
    store: (s, value) => `const e = slot(at); if (!hits<${U[s]}>(e, TLB_WRITE, at)) return p; store<${U[s]}>(hostAddress(e, TLB_WRITE, at), ${value});`,
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
  const branch = (test) =>
    `next = load<u64>(BLOCK_LINEAR); if (${test}) { next += load<i64>(p, U_IMMEDIATE); slotAt = p + TAKEN; } else { next += <u64>load<u16>(p, U_NEXT); slotAt = p + FALLEN; }`;
  const branch32 = (test) => branch(test).replace("load<i64>(p, U_IMMEDIATE)", "<u64><i64>load<i32>(p, U_IMMEDIATE + 4)");

  for (let s = 0; s < 4; s++)
    for (let k = 0; k < 8; k++) {
      const { result, flags } = compute(k, s);
      const writes = ALU[k] !== "cmp";
      const at = s * 8 + k;
      const finish = (field) => `const r = ${result}; ${writes ? setRegister(field, s, "r") : ""} ${flags}`;
      const registers = (b) => `const a = ${wide(s, register("U_RM", s))}, b = ${wide(s, b)}; ${finish("U_RM")}`;
      const fromMemory = (where) => `${where} ${load(s, "b")} const a = ${wide(s, register("U_REG", s))}; ${finish("U_REG")}`;
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
    ["incremented", "decremented"].forEach((flags, i) => {
      uop(
        n.INCDEC_R + (s - 2) * 2 + i,
        `const a = ${wide(s, register("U_RM", s))}; const r = a ${i ? "-" : "+"} 1; ${setRegister("U_RM", s, "r")} ${flags}<${U[s]}>(a, r);`,
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
    for (const s of [2, 3]) {
      const body = (b) =>
        `const a = ${register("U_RM", s)}, b = ${b}; subtracted<${U[s]}>(${wide(s, "a")}, ${wide(s, "b")}, ${wide(s, "a")} - ${wide(s, "b")}); ${branch32(afterCompare(cc, s))}`;
      block(n.CMP_RR_JCC + (s - 2) * 16 + cc, body(register("U_REG", s)));
      block(n.CMP_RI_JCC + (s - 2) * 16 + cc, body(s === 3 ? "<u64><i64>load<i32>(p, U_IMMEDIATE)" : immediate(2)));
    }
    const test = (s, b) =>
      `const r = ${register("U_RM", s)} & ${b}; logical<${U[s]}>(${wide(s, "r")}); ${branch32(afterTest(cc, s))}`;
    [0, 2, 3].forEach((s, i) => {
      block(n.TEST_RR_JCC + i * 16 + cc, test(s, register("U_REG", s)));
    });
    [0, 2].forEach((s, i) => {
      block(n.TEST_RI_JCC + i * 16 + cc, test(s, immediate(s)));
    });
  }
  return operations;
}

const caseText = (ends, next) => ([number, { text, ends: isEnd }]) => `      case ${number}: { ${text} ${isEnd ? ends : next} }\n`;

export function dispatchSource(opsSource) {
  const n = operationNumbers(opsSource);
  const fast = regularOperations(n, ACCESS.fast, false);
  const slow = regularOperations(n, ACCESS.slow, true);
  for (let number = 0; number < n.FIRST_IRREGULAR; number++) if (!fast.has(number)) throw new Error(`operation ${number} has no case`);
  const template = readFileSync(new URL("../assembly/dispatch.template.ts", import.meta.url), "utf8");
  return template
    .replace("      /* regular: fast */\n", () => [...fast].map(caseText("break;", "p += 32; continue;")).join(""))
    .replace("      /* regular: slow */\n", () => [...slow].map(caseText("break;", "return p + 32;")).join(""));
}
