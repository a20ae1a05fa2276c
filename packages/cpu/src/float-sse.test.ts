import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { code, DATA } from "./testing/bare-machine.ts";
import { FLAG, FloatMachine, f32, f64, fromF64, ROUND } from "./testing/float-registers.ts";

let m: FloatMachine;
beforeAll(async () => {
  m = await FloatMachine.create();
});

const MASKED = 0x1f80;
const DAZ = 0x40;
const FTZ = 0x8000;
const DEFAULT_NAN = 0xfff8000000000000n;
const MIN_NORMAL = 0x0010000000000000n;
const INFINITY = f64(Number.POSITIVE_INFINITY);
/** xmm0 op xmm1. */
const OP = {
  addsd: "f2 0f 58 c1",
  subsd: "f2 0f 5c c1",
  mulsd: "f2 0f 59 c1",
  divsd: "f2 0f 5e c1",
  sqrtsd: "f2 0f 51 c1",
  minsd: "f2 0f 5d c1",
  maxsd: "f2 0f 5f c1",
} as const;

/** Result and flags of a scalar operation on doubles. */
function scalar(op: keyof typeof OP, a: bigint, b: bigint, mxcsr = MASKED) {
  m.mxcsr = mxcsr;
  m.setXmm(0, a);
  m.setXmm(1, b);
  const vector = m.run(OP[op]);
  return { bits: BigInt.asUintN(64, m.xmm(0)), flags: m.mxcsr & 63, vector };
}

describe("SSE arithmetic", () => {
  test("rounds to nearest like IEEE doubles and reports every lost bit, whether PE was set before or not", () => {
    const number = fc.double({ noNaN: true, noDefaultInfinity: true });
    fc.assert(
      fc.property(number, number, (a, b) => {
        for (const mxcsr of [MASKED, MASKED | FLAG.PE]) {
          expect(scalar("addsd", f64(a), f64(b), mxcsr).bits).toBe(f64(a + b));
          expect(scalar("subsd", f64(a), f64(b), mxcsr).bits).toBe(f64(a - b));
          expect(scalar("mulsd", f64(a), f64(b), mxcsr).bits).toBe(f64(a * b));
          if (b !== 0) expect(scalar("divsd", f64(a), f64(b), mxcsr).bits).toBe(f64(a / b));
          if (b > 0) expect(scalar("sqrtsd", f64(a), f64(b), mxcsr).bits).toBe(f64(Math.sqrt(b)));
        }
      }),
      { numRuns: 300 },
    );
  });

  test("integers in doubles stay exact: no PE", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -(2 ** 26), max: 2 ** 26 }),
        fc.integer({ min: 1, max: 2 ** 26 }),
        (a, b) => {
          expect(scalar("addsd", f64(a), f64(b)).flags).toBe(0);
          expect(scalar("mulsd", f64(a), f64(b)).flags).toBe(0);
          expect(scalar("divsd", f64(a * b), f64(b))).toMatchObject({ bits: f64(a), flags: 0 });
          expect(scalar("sqrtsd", 0n, f64(b * b))).toMatchObject({ bits: f64(b), flags: 0 });
        },
      ),
      { numRuns: 100 },
    );
  });

  test.each([
    ["nearest", 0x3fd5555555555555n],
    ["down", 0x3fd5555555555555n],
    ["up", 0x3fd5555555555556n],
    ["zero", 0x3fd5555555555555n],
  ] as const)("1/3 rounds %s", (mode, bits) => {
    expect(scalar("divsd", f64(1), f64(3), MASKED | (ROUND[mode] << 13))).toEqual({
      bits,
      flags: FLAG.PE,
      vector: undefined,
    });
  });

  test("x - x is +0, and -0 when rounding down", () => {
    expect(scalar("subsd", f64(5), f64(5)).bits).toBe(0n);
    expect(scalar("subsd", f64(5), f64(5), MASKED | (ROUND.down << 13)).bits).toBe(f64(-0));
  });

  test("overflow gives infinity or the largest number by rounding mode, with OE and PE", () => {
    const huge = f64(Number.MAX_VALUE);
    expect(scalar("addsd", huge, huge)).toMatchObject({ bits: INFINITY, flags: FLAG.OE | FLAG.PE });
    expect(scalar("addsd", huge, huge, MASKED | (ROUND.zero << 13))).toMatchObject({
      bits: huge,
      flags: FLAG.OE | FLAG.PE,
    });
  });

  test("a denormal operand raises DE; an exact denormal result raises no UE while UE is masked", () => {
    expect(scalar("divsd", MIN_NORMAL, f64(2))).toMatchObject({ bits: MIN_NORMAL >> 1n, flags: 0 });
    expect(scalar("addsd", 1n, 1n)).toMatchObject({ bits: 2n, flags: FLAG.DE });
    expect(scalar("mulsd", 3n, f64(0.5))).toMatchObject({ bits: 2n, flags: FLAG.DE | FLAG.UE | FLAG.PE });
  });

  test("what rounds up to the smallest normal number has underflowed (tininess after rounding counts the unbounded exponent)", () => {
    const justBelow = f64(2 - 2 ** -52);
    const half = f64(2 ** -1023 * 2 ** 0);
    expect(half).toBe(MIN_NORMAL >> 1n);
    expect(scalar("mulsd", justBelow, f64(2 ** -1000), MASKED | FLAG.PE).flags & FLAG.UE).toBe(0);
    expect(scalar("divsd", f64((2 - 2 ** -52) * 2 ** -1000), f64(2 ** 23), MASKED | FLAG.PE)).toMatchObject({
      bits: MIN_NORMAL,
      flags: FLAG.PE | FLAG.UE,
    });
  });

  test("DAZ reads denormals as zeros without DE, FTZ writes tiny results as zeros with UE and PE", () => {
    expect(scalar("addsd", 1n, f64(1), MASKED | DAZ)).toMatchObject({ bits: f64(1), flags: 0 });
    expect(scalar("divsd", MIN_NORMAL, f64(2), MASKED | FTZ)).toMatchObject({
      bits: 0n,
      flags: FLAG.UE | FLAG.PE,
    });
    expect(scalar("divsd", MIN_NORMAL | (1n << 63n), f64(2), MASKED | FTZ).bits).toBe(f64(-0));
    expect(scalar("minsd", 1n, f64(1), MASKED | DAZ)).toMatchObject({ bits: 0n, flags: 0 });
  });

  test("division by zero raises ZE alone, even of a denormal", () => {
    expect(scalar("divsd", f64(1), f64(-0))).toMatchObject({
      bits: f64(Number.NEGATIVE_INFINITY),
      flags: FLAG.ZE,
    });
    expect(scalar("divsd", 1n, 0n)).toMatchObject({ bits: INFINITY, flags: FLAG.ZE });
  });

  test("an invalid operation gives the negative default NaN and IE", () => {
    expect(scalar("divsd", 0n, 0n)).toMatchObject({ bits: DEFAULT_NAN, flags: FLAG.IE });
    expect(scalar("subsd", INFINITY, INFINITY)).toMatchObject({ bits: DEFAULT_NAN, flags: FLAG.IE });
    expect(scalar("mulsd", INFINITY, 0n)).toMatchObject({ bits: DEFAULT_NAN, flags: FLAG.IE });
    expect(scalar("sqrtsd", 0n, f64(-1))).toMatchObject({ bits: DEFAULT_NAN, flags: FLAG.IE });
  });

  test("of two NaNs the first operand wins; a signaling one is quieted with IE", () => {
    const quiet = 0x7ff8000000000123n;
    const signaling = 0xfff0000000000456n;
    expect(scalar("addsd", quiet, signaling)).toMatchObject({ bits: quiet, flags: FLAG.IE });
    expect(scalar("addsd", signaling, quiet)).toMatchObject({ bits: 0xfff8000000000456n, flags: FLAG.IE });
    expect(scalar("addsd", f64(1), quiet)).toMatchObject({ bits: quiet, flags: 0 });
  });

  test("MIN and MAX give the second operand for NaNs (IE even for quiet ones) and for two zeros", () => {
    const quiet = 0x7ff8000000000123n;
    expect(scalar("minsd", quiet, f64(1))).toMatchObject({ bits: f64(1), flags: FLAG.IE });
    expect(scalar("maxsd", f64(1), quiet)).toMatchObject({ bits: quiet, flags: FLAG.IE });
    expect(scalar("maxsd", 0n, f64(-0))).toMatchObject({ bits: f64(-0), flags: 0 });
  });

  test("directed results bracket the nearest one", () => {
    const magnitude = fc.double({ min: 1e-100, max: 1e100, noNaN: true });
    fc.assert(
      fc.property(magnitude, magnitude, (a, b) => {
        for (const op of ["addsd", "subsd", "mulsd", "divsd"] as const) {
          const [nearest, down, up, zero] = [0, 1, 2, 3].map((mode) => {
            const r = scalar(op, f64(a), f64(b), MASKED | (mode << 13));
            return { value: fromF64(r.bits), inexact: (r.flags & FLAG.PE) !== 0 };
          }) as [Res, Res, Res, Res];
          expect(down.value <= nearest.value && nearest.value <= up.value).toBe(true);
          expect(zero.value).toBe(nearest.value < 0 || up.value <= 0 ? up.value : down.value);
          expect(down.value === up.value).toBe(!nearest.inexact);
        }
      }),
      { numRuns: 200 },
    );
  });
  interface Res {
    value: number;
    inexact: boolean;
  }
});

describe("unmasked SSE exceptions", () => {
  test("raise #XM, leave the destination and set the flag", () => {
    expect(scalar("divsd", f64(1), 0n, MASKED & ~0x200)).toEqual({
      bits: f64(1),
      flags: FLAG.ZE,
      vector: 19,
    });
    expect(scalar("divsd", f64(1), f64(3), MASKED & ~0x1000)).toEqual({
      bits: f64(1),
      flags: FLAG.PE,
      vector: 19,
    });
  });

  test("are #UD without CR4.OSXMMEXCPT", () => {
    m.mxcsr = MASKED & ~0x200;
    m.setXmm(0, f64(1));
    m.setXmm(1, 0n);
    m.bare.long();
    m.bare.set({ cr4: 0x220 });
    expect(m.bare.vectorOf([0xf2, 0x0f, 0x5e, 0xc1, 0xf4])).toBe(6);
  });

  test("found before computing hide those found after", () => {
    // Element 0 divides by zero (unmasked), element 1 is inexact (masked).
    m.mxcsr = MASKED & ~0x200;
    m.setXmm(0, (f64(1) << 64n) | f64(1));
    m.setXmm(1, f64(3) << 64n);
    expect(m.run("66 0f 5e c1")).toBe(19);
    expect(m.mxcsr & 63).toBe(FLAG.ZE);
  });

  test("an unmasked underflow reports tininess even of an exact result", () => {
    expect(scalar("divsd", MIN_NORMAL, f64(2), MASKED & ~0x800)).toMatchObject({
      flags: FLAG.UE,
      vector: 19,
    });
  });
});

describe("SSE comparison", () => {
  const quiet = 0x7ff8000000000000n;
  test.each([
    [0, false, false, true, false, 0],
    [1, false, true, false, false, FLAG.IE],
    [2, false, true, true, false, FLAG.IE],
    [3, false, false, false, true, 0],
    [4, true, true, false, true, 0],
    [5, true, false, true, true, FLAG.IE],
    [6, true, false, false, true, FLAG.IE],
    [7, true, true, true, false, 0],
  ])(
    "CMPSD predicate %i for greater, less, equal, unordered",
    (predicate, greater, less, equal, unordered, quietFlags) => {
      const compare = (a: bigint, b: bigint) => {
        m.mxcsr = MASKED;
        m.setXmm(0, a);
        m.setXmm(1, b);
        m.run(`f2 0f c2 c1 0${predicate}`);
        return BigInt.asUintN(64, m.xmm(0)) === 0xffffffffffffffffn;
      };
      expect([compare(f64(2), f64(1)), compare(f64(1), f64(2)), compare(f64(1), f64(1))]).toEqual([
        greater,
        less,
        equal,
      ]);
      expect(compare(quiet, f64(1))).toBe(unordered);
      expect(m.mxcsr & 63).toBe(quietFlags);
    },
  );

  test.each([
    ["ucomisd", "66 0f 2e c1", 0],
    ["comisd", "66 0f 2f c1", FLAG.IE],
  ])("%s sets ZF PF CF; a quiet NaN raises %3$i", (_, text, flags) => {
    const relation = (a: bigint, b: bigint) => {
      m.mxcsr = MASKED;
      m.setXmm(0, a);
      m.setXmm(1, b);
      m.run(`${text} 9c 58`); // pushfq ; pop rax
      return Number(m.gpr(0) & 0x8d5n);
    };
    expect(relation(f64(2), f64(1))).toBe(0);
    expect(relation(f64(1), f64(2))).toBe(1);
    expect(relation(f64(0), f64(-0))).toBe(0x40);
    expect(relation(f64(1), quiet)).toBe(0x45);
    expect(m.mxcsr & 63).toBe(flags);
  });
});

describe("SSE conversion", () => {
  const convert = (text: string, value: bigint, mxcsr = MASKED) => {
    m.mxcsr = mxcsr;
    m.setXmm(1, value);
    m.run(text);
    return { value: m.gpr(0), flags: m.mxcsr & 63 };
  };
  const CVTSD2SI32 = "f2 0f 2d c1";
  const CVTTSD2SI32 = "f2 0f 2c c1";
  const CVTTSD2SI64 = "f2 48 0f 2c c1";

  test("to integers rounds by MXCSR, or truncates", () => {
    expect(convert(CVTSD2SI32, f64(2.5))).toEqual({ value: 2n, flags: FLAG.PE });
    expect(convert(CVTSD2SI32, f64(2.5), MASKED | (ROUND.up << 13))).toEqual({ value: 3n, flags: FLAG.PE });
    expect(convert(CVTTSD2SI32, f64(-2.9))).toEqual({ value: 0xfffffffen, flags: FLAG.PE });
    expect(convert(CVTSD2SI32, f64(-7))).toEqual({ value: 0xfffffff9n, flags: 0 });
  });

  test.each([[f64(2147483648)], [f64(-2147483649)], [f64(Number.NaN)], [f64(Number.POSITIVE_INFINITY)]])(
    "%x does not fit 32 bits: integer indefinite, IE alone",
    (bits) => {
      expect(convert(CVTTSD2SI32, bits)).toEqual({ value: 0x80000000n, flags: FLAG.IE });
    },
  );

  test("the limits of 64 bits", () => {
    expect(convert(CVTTSD2SI64, f64(-(2 ** 63)))).toEqual({ value: 1n << 63n, flags: 0 });
    expect(convert(CVTTSD2SI64, f64(2 ** 63))).toEqual({ value: 1n << 63n, flags: FLAG.IE });
    expect(convert(CVTTSD2SI64, f64(2 ** 63 - 1024)).value).toBe(2n ** 63n - 1024n);
  });

  test("CVTSI2SS of 64 bits rounds once", () => {
    m.mxcsr = MASKED;
    m.setXmm(0, 0n);
    m.run("48 b8 01 00 00 01 00 00 00 80 f3 48 0f 2a c0"); // mov rax, 0x8000000001000001
    expect(m.xmm(0) & 0xffffffffn).toBe(f32(Number(BigInt.asIntN(64, 0x8000000001000001n))));
    expect(m.mxcsr & 63).toBe(FLAG.PE);
  });

  test("CVTSD2SS quiets a NaN and keeps the top of its payload", () => {
    m.mxcsr = MASKED;
    m.setXmm(1, 0xfff4000020000001n);
    m.run("f2 0f 5a c1");
    expect(m.xmm(0) & 0xffffffffn).toBe(0xffe00001n);
    expect(m.mxcsr & 63).toBe(FLAG.IE);
  });

  test("CVTTPD2DQ clears the upper half", () => {
    m.mxcsr = MASKED;
    m.setXmm(0, (1n << 128n) - 1n);
    m.setXmm(1, (f64(-3) << 64n) | f64(7));
    m.run("66 0f e6 c1");
    expect(m.xmm(0)).toBe(0xfffffffd00000007n);
  });

  test("RCPSS gives a signed zero for what would be denormal", () => {
    for (const [source, result] of [
      [0x7e800000n, 0n],
      [0xfe800000n, 0x80000000n],
      [0xff7fffffn, 0x80000000n],
    ] as const) {
      m.setXmm(1, source);
      m.run("f3 0f 53 c1");
      expect(m.xmm(0) & 0xffffffffn).toBe(result);
    }
  });

  test("RCPSS and RSQRTSS are within 1.5 x 2^-12 and raise nothing", () => {
    fc.assert(
      fc.property(fc.float({ min: Math.fround(1e-30), max: Math.fround(1e30), noNaN: true }), (x) => {
        for (const [text, exact] of [
          ["f3 0f 53 c1", 1 / x],
          ["f3 0f 52 c1", 1 / Math.sqrt(x)],
        ] as const) {
          m.mxcsr = MASKED;
          m.setXmm(1, f32(x));
          m.run(text);
          const bits = Number(m.xmm(0) & 0xffffffffn);
          const value = new Float32Array(Uint32Array.of(bits).buffer)[0] ?? 0;
          expect(Math.abs(value / exact - 1)).toBeLessThanOrEqual(1.5 * 2 ** -12);
          expect(m.mxcsr & 63).toBe(0);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("memory operands", () => {
  test.each([
    ["movaps xmm0, [rdi]", "0f 28 07"],
    ["movdqa [rdi], xmm0", "66 0f 7f 07"],
    ["addps xmm0, [rdi]", "0f 58 07"],
    ["pxor xmm0, [rdi]", "66 0f ef 07"],
    ["movntdq [rdi], xmm0", "66 0f e7 07"],
  ])("%s is #GP unless aligned to 16 bytes", (_, text) => {
    m.mxcsr = MASKED;
    const load = (at: number) =>
      `48 c7 c7 ${[0, 8, 16, 24].map((s) => ((at >> s) & 255).toString(16)).join(" ")}`;
    expect(m.run(`${load(DATA + 8)} ${text}`)).toBe(13);
    expect(m.run(`${load(DATA + 16)} ${text}`)).toBeUndefined();
  });

  test("the misaligned operand is #GP in the stack segment too", () => {
    m.bare.protected32();
    m.bare.set({ cr4: 0x600, rdi: DATA + 8 });
    expect(m.bare.outcome(code("36 0f 28 07"))).toBe("#13(0x0)");
    m.bare.protected32();
    m.bare.set({ cr4: 0x600, rdi: 0xfffffff8 }); // beyond the limit as well
    expect(m.bare.outcome(code("36 0f 28 07"))).toBe("#13(0x0)");
  });

  test("MASKMOVDQU stores through DS:rDI in the address size, or another segment", () => {
    const all = (1n << 128n) - 1n;
    const value = 0x1122334455667788_99aabbccddeeff00n;
    const stored = (at: number) => m.bare.read(at) | (m.bare.read(at + 8) << 64n);
    m.setXmm(0, value);
    m.setXmm(1, all);
    m.bare.write(DATA, 0n);
    m.bare.write(DATA + 8, 0n);
    m.bare.set({ rdi: 0x1_0000_0000 + DATA });
    expect(m.run("67 66 0f f7 c1")).toBeUndefined();
    expect(stored(DATA)).toBe(value);
    m.bare.protected32();
    m.bare.setSegment("es", 0x10, 0xc093, DATA, 0xfff);
    m.bare.set({ cr4: 0x600, rdi: 0xff0 });
    expect(m.bare.run(code("26 66 0f f7 c1 f4"))).toBe("halt");
    expect(stored(DATA + 0xff0)).toBe(value);
    m.bare.protected32();
    m.bare.setSegment("es", 0x10, 0xc093, DATA, 0xfff);
    m.bare.set({ cr4: 0x600, rdi: 0xff1 });
    expect(m.bare.outcome(code("26 66 0f f7 c1"))).toBe("#13(0x0)");
  });

  test("MOVUPS and MOVSD take any alignment", () => {
    m.bare.write(DATA + 3, 0x1122334455667788n);
    m.run(`48 c7 c7 03 00 05 00 0f 10 0f f2 0f 10 17`);
    expect(m.xmm(1) & 0xffffffffffffffffn).toBe(0x1122334455667788n);
    expect(m.xmm(2)).toBe(0x1122334455667788n);
  });

  test("a store across a page end that faults writes nothing", () => {
    const last = DATA + 0x1000 - 8;
    m.bare.write(last, 0x5555n);
    m.bare.setPage(DATA + 0x1000, 0n);
    m.setXmm(0, (1n << 128n) - 1n);
    m.bare.long();
    expect(m.run("48 c7 c7 f8 0f 05 00 0f 11 07")).toBe(14);
    expect(m.bare.read(last)).toBe(0x5555n);
    m.bare.setPage(DATA + 0x1000, 7n);
  });

  test("MASKMOVDQU stores the selected bytes only", () => {
    m.bare.write(DATA, 0n);
    m.bare.write(DATA + 8, 0n);
    m.setXmm(0, 0x0f0e0d0c0b0a09080706050403020100n);
    m.setXmm(1, 0x80000000000000000000000000008000n);
    m.run("48 c7 c7 00 00 05 00 66 0f f7 c1");
    expect(m.bare.read(DATA)).toBe(0x0100n);
    expect(m.bare.read(DATA + 8)).toBe(0x0f00000000000000n);
  });
});

describe("packed integers", () => {
  const run = (text: string, a: bigint, b: bigint) => {
    m.setXmm(0, a);
    m.setXmm(1, b);
    m.run(text);
    return m.xmm(0);
  };
  test("PSADBW sums byte differences in each half", () => {
    expect(
      run("66 0f f6 c1", 0x00ff00ff00ff00ff_0000000000000001n, 0xff00ff00ff00ff00_0000000000000003n),
    ).toBe((2040n << 64n) | 2n);
  });
  test("PMADDWD of the smallest words wraps to 0x80000000", () => {
    expect(run("66 0f f5 c1", 0x80008000n, 0x80008000n)).toBe(0x80000000n);
  });
  test("PMULHUW and PMULHW take the upper half of the product", () => {
    expect(run("66 0f e4 c1", 0xffffn, 0xffffn)).toBe(0xfffen);
    expect(run("66 0f e5 c1", 0xffffn, 0xffffn)).toBe(0n);
  });
  test("shift counts from the width on give zeros, or signs", () => {
    expect(run("66 0f d1 c1", (1n << 128n) - 1n, 16n)).toBe(0n);
    expect(run("66 0f e1 c1", 0x8000n, 1n << 40n)).toBe(0xffffn);
    expect(run("66 0f 73 f8 10", (1n << 128n) - 1n, 0n)).toBe(0n); // pslldq xmm0, 16
    expect(run("66 0f 73 d8 03", 0x11223344_55667788_99aabbcc_ddeeff00n, 0n)).toBe(
      0x11_22334455_66778899_aabbccddn,
    );
  });
  test("PSHUFD, PSHUFLW, PSHUFHW and SHUFPS pick by two bits each", () => {
    const a = 0x33333333_22222222_11111111_00000000n;
    expect(run("66 0f 70 c1 1b", 0n, a)).toBe(0x00000000_11111111_22222222_33333333n);
    const w = 0x7777_6666_5555_4444_3333_2222_1111_0000n;
    expect(run("f2 0f 70 c1 1b", 0n, w)).toBe(0x7777_6666_5555_4444_0000_1111_2222_3333n);
    expect(run("f3 0f 70 c1 1b", 0n, w)).toBe(0x4444_5555_6666_7777_3333_2222_1111_0000n);
    expect(run("0f c6 c1 1b", a, 0xdddddddd_cccccccc_bbbbbbbb_aaaaaaaan)).toBe(
      0xaaaaaaaa_bbbbbbbb_22222222_33333333n,
    );
  });
  test("PACKUSWB saturates signed words to unsigned bytes", () => {
    expect(run("66 0f 67 c1", 0x7fff_8000_00ff_0100n, 0n)).toBe(0xff00ffffn);
  });
});
