import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { BareMachine, CODE, code } from "./testing/bare-machine.ts";

/*
 * The lazy flags against a plain model: after any arithmetic, RFLAGS, every condition code and the next carry agree.
 */

let m: BareMachine;
beforeAll(async () => {
  m = await BareMachine.create();
});

const ARITHMETIC = 0x8d5n;
const OPERATIONS = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"] as const;
type Size = 8 | 16 | 32 | 64;

/** CF PF AF ZF SF OF of `a op b` as RFLAGS bits; AF is undefined after logic and given as 0. */
function model(op: (typeof OPERATIONS)[number], size: Size, a: bigint, b: bigint, carry: bigint): bigint {
  const mask = (1n << BigInt(size)) - 1n;
  const top = BigInt(size - 1);
  let result: bigint;
  let cf = 0n;
  let of = 0n;
  let af = 0n;
  if (op === "and" || op === "or" || op === "xor")
    result = op === "and" ? a & b : op === "or" ? a | b : a ^ b;
  else {
    const c = op === "adc" || op === "sbb" ? carry : 0n;
    const subtract = op === "sub" || op === "cmp" || op === "sbb";
    const wide = subtract ? a - b - c : a + b + c;
    result = wide & mask;
    cf = wide < 0n || wide > mask ? 1n : 0n;
    const signs = subtract ? (a ^ b) & (a ^ result) : (a ^ result) & (b ^ result);
    of = (signs >> top) & 1n;
    af = ((a ^ b ^ result) >> 4n) & 1n;
  }
  let ones = 0;
  for (let low = Number(result & 0xffn); low; low >>= 1) ones += low & 1;
  return (
    cf |
    (ones % 2 === 0 ? 4n : 0n) |
    (af << 4n) |
    (result === 0n ? 0x40n : 0n) |
    (((result >> top) & 1n) << 7n) |
    (of << 11n)
  );
}
function conditionHolds(cc: number, flags: bigint): boolean {
  const bit = (n: bigint) => ((flags >> n) & 1n) === 1n;
  const base = [
    bit(11n),
    bit(0n),
    bit(6n),
    bit(0n) || bit(6n),
    bit(7n),
    bit(2n),
    bit(7n) !== bit(11n),
    bit(6n) || bit(7n) !== bit(11n),
  ];
  return (base[cc >> 1] ?? false) !== ((cc & 1) === 1);
}
const edge = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.constantFrom(
    0n,
    1n,
    0x7fn,
    0x80n,
    0xffn,
    0x7fffn,
    0x8000n,
    0xffffn,
    0x7fffffffn,
    0x80000000n,
    0xffffffffn,
    (1n << 63n) - 1n,
    1n << 63n,
    (1n << 64n) - 1n,
  ),
);
function run(program: number[], registers: Parameters<BareMachine["set"]>[0], flags = 2n): void {
  m.wake();
  m.set({ ...registers, rip: CODE });
  m.processor.flags = flags;
  expect(m.run(program)).toBe("halt");
}
/** `op rax-part, rcx-part` */
function operate(op: number, size: Size): number[] {
  const prefix = size === 16 ? [0x66] : size === 64 ? [0x48] : [];
  return [...prefix, (op << 3) | (size === 8 ? 0 : 1), 0xc8];
}

describe("lazy flags", () => {
  test("RFLAGS after any operation, size and incoming carry", () => {
    fc.assert(
      fc.property(
        fc.nat(7),
        fc.constantFrom<Size>(8, 16, 32, 64),
        edge,
        edge,
        fc.boolean(),
        (op, size, x, y, carry) => {
          const name = OPERATIONS[op] ?? "add";
          const mask = (1n << BigInt(size)) - 1n;
          run([...operate(op, size), 0xf4], { rax: x, rcx: y }, carry ? 3n : 2n);
          const undefinedBits = name === "and" || name === "or" || name === "xor" ? 0x10n : 0n;
          const want = model(name, size, x & mask, y & mask, carry ? 1n : 0n);
          expect(m.processor.flags & ARITHMETIC & ~undefinedBits).toBe(want);
        },
      ),
      { numRuns: 400 },
    );
  });

  test("every condition after every kind of flags word, by SETcc and by Jcc", () => {
    fc.assert(
      fc.property(fc.nat(15), fc.nat(63), (cc, set) => {
        const positions = [0n, 2n, 4n, 6n, 7n, 11n];
        const flags = positions.reduce((word, at, i) => (set & (1 << i) ? word | (1n << at) : word), 2n);
        // setcc dl; jcc +2; mov cl, 0 ...; hlt
        run([0x0f, 0x90 | cc, 0xc2, 0x70 | cc, 0x02, 0xb1, 0x00, 0xf4], { rdx: 0, rcx: 1 }, flags);
        expect([m.gpr("rdx"), m.gpr("rcx")]).toEqual(conditionHolds(cc, flags) ? [1n, 1n] : [0n, 0n]);
        expect(m.processor.flags & ARITHMETIC).toBe(flags & ARITHMETIC);
      }),
      { numRuns: 400 },
    );
  });

  test("a compare fused with its branch branches and leaves the flags as the two would", () => {
    fc.assert(
      fc.property(fc.nat(15), fc.constantFrom<Size>(8, 32, 64), edge, edge, (cc, size, x, y) => {
        const mask = (1n << BigInt(size)) - 1n;
        run([...operate(7, size), 0x70 | cc, 0x02, 0xb2, 0x07, 0xf4], { rax: x, rcx: y, rdx: 0 });
        const want = model("cmp", size, x & mask, y & mask, 0n);
        expect(m.processor.flags & ARITHMETIC).toBe(want);
        expect(m.gpr("rdx")).toBe(conditionHolds(cc, want) ? 0n : 7n);
      }),
      { numRuns: 400 },
    );
  });

  test("INC and DEC keep CF", () => {
    for (const carry of [0n, 1n]) {
      run(code("ff c0 f4"), { rax: 0x7fffffff }, 2n | carry);
      expect(m.processor.flags & ARITHMETIC).toBe(0x894n | carry);
      run(code("48 ff c8 f4"), { rax: 0 }, 2n | carry);
      expect(m.processor.flags & ARITHMETIC).toBe(0x94n | carry);
    }
  });

  test("flags that the next instruction overwrites are still there when something between faults", () => {
    // sub eax, ecx (CF, SF); mov rdx, [rdi] faults; cmp eax, eax would overwrite
    m.wake();
    m.set({ rax: 1, rcx: 2, rdi: 0x7000_0000_0000n, flags: 2, rip: CODE });
    expect(m.vectorOf(code("29 c8 48 8b 17 39 c0 f4"))).toBe(14);
    expect(m.frame().rflags & ARITHMETIC).toBe(model("sub", 32, 1n, 2n, 0n));
    m.long();
  });
});
