import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { DATA } from "./testing/bare-machine.ts";
import { C0, C1, C2, C3, FLAG, FloatMachine, f64, f80, QNAN80 } from "./testing/float-registers.ts";

let m: FloatMachine;
beforeAll(async () => {
  m = await FloatMachine.create();
});

/** An x87 number: sign and exponent, significand. */
const x80 = (signExponent: number, sig: bigint) => (BigInt(signExponent) << 64n) | sig;
const ONE = f80(1);
const INDEFINITE = QNAN80;
const LARGEST = x80(0x7ffe, 0xffffffffffffffffn);
const SMALLEST_DENORMAL = 1n;
const RDI = "48 c7 c7 00 00 05 00"; // mov rdi, DATA

const status = () => m.status & ~0x3800;

describe("x87 arithmetic", () => {
  test("rounds to 64 bits: 1 + 2^-63 is exact, 1 + 2^-64 is not", () => {
    m.stack([ONE, f80(2 ** -63)]);
    m.run("d8 c1");
    expect([m.st(0), status()]).toEqual([x80(0x3fff, 0x8000000000000001n), 0]);
    m.stack([ONE, f80(2 ** -64)]);
    m.run("d8 c1");
    expect([m.st(0), status()]).toEqual([ONE, FLAG.PE]);
  });

  test("precision control 53 gives the results of doubles", () => {
    const number = fc.double({ min: 1e-140, max: 1e140, noNaN: true });
    fc.assert(
      fc.property(number, number, (a, b) => {
        for (const [text, value] of [
          ["d8 c1", a + b],
          ["d8 e1", a - b],
          ["d8 c9", a * b],
          ["d8 f1", a / b],
        ] as const) {
          m.stack([f80(a), f80(b)], 0x27f);
          m.run(text);
          expect(m.st(0)).toBe(f80(value));
        }
      }),
      { numRuns: 200 },
    );
  });

  test("C1 tells that the last rounding went up", () => {
    m.stack([f80(2), f80(3)]);
    m.run("d8 f1");
    expect([m.st(0), status()]).toEqual([x80(0x3ffe, 0xaaaaaaaaaaaaaaabn), FLAG.PE | C1]);
    m.stack([f80(2), f80(3)], 0x77f);
    m.run("d8 f1");
    expect([m.st(0), status()]).toEqual([x80(0x3ffe, 0xaaaaaaaaaaaaaaaan), FLAG.PE]);
  });

  test.each([
    ["FSUB", "dc e9", 10 - 4],
    ["FSUBR", "dc e1", 4 - 10],
    ["FDIV", "dc f9", 10 / 4],
    ["FDIVR", "dc f1", 4 / 10],
  ])("%s ST(1), ST(0) with ST(1) = 10, ST(0) = 4", (_, text, value) => {
    m.stack([f80(4), f80(10)], 0x27f);
    m.run(text);
    expect(m.st(1)).toBe(f80(value));
  });

  test("overflow is masked to infinity, unmasked to a result with exponent less 24576", () => {
    m.stack([LARGEST, LARGEST]);
    m.run("d8 c1");
    expect([m.st(0), status()]).toEqual([f80(Number.POSITIVE_INFINITY), FLAG.OE | FLAG.PE | C1]);
    m.stack([LARGEST, LARGEST], 0x377);
    m.run("d8 c1");
    expect([m.st(0), status()]).toEqual([
      x80(0x7fff - 24576, 0xffffffffffffffffn),
      FLAG.OE | FLAG.ES | 0x8000,
    ]);
  });

  test("of two NaNs the larger significand wins, of a quiet and a signaling one the quiet", () => {
    const small = x80(0x7fff, 0xc000000000000001n);
    const large = x80(0xffff, 0xc000000000000002n);
    const signaling = x80(0x7fff, 0xbfffffffffffffffn);
    m.stack([small, large]);
    m.run("d8 c1");
    expect([m.st(0), status()]).toEqual([large, 0]);
    m.stack([signaling, small]);
    m.run("d8 c1");
    expect([m.st(0), status()]).toEqual([small, FLAG.IE]);
  });

  test("an unnormal is an invalid operand", () => {
    m.stack([x80(0x3fff, 0x7fffffffffffffffn), ONE]);
    m.run("d8 c1");
    expect([m.st(0), status()]).toEqual([INDEFINITE, FLAG.IE]);
  });

  test("a denormal raises DE; a pseudo-denormal counts as the smallest normal number", () => {
    m.stack([SMALLEST_DENORMAL, f80(0)]);
    m.run("d8 c1");
    expect([m.st(0), status()]).toEqual([SMALLEST_DENORMAL, FLAG.DE]);
    m.stack([x80(0, 0x8000000000000000n), f80(0)]);
    m.run("d8 c1");
    expect([m.st(0), status()]).toEqual([x80(1, 0x8000000000000000n), FLAG.DE]);
  });
});

describe("the x87 stack", () => {
  test("an empty source is IE with SF and C1 = 0, and reads as indefinite", () => {
    m.stack([ONE]);
    m.run("d8 c1");
    expect([m.st(0), status()]).toEqual([INDEFINITE, FLAG.IE | FLAG.SF]);
  });
  test("a push on a full stack is IE with SF and C1 = 1", () => {
    m.stack([ONE, ONE, ONE, ONE, ONE, ONE, ONE, ONE]);
    m.run("d9 e8");
    expect([m.st(0), status()]).toEqual([INDEFINITE, FLAG.IE | FLAG.SF | C1]);
    expect(m.top).toBe(7);
  });
  test("unmasked, it changes neither registers nor TOP", () => {
    m.stack([ONE, ONE, ONE, ONE, ONE, ONE, ONE, ONE], 0x37e);
    m.run("d9 ee");
    expect([m.st(0), m.top, status()]).toEqual([ONE, 0, FLAG.IE | FLAG.SF | C1 | FLAG.ES | 0x8000]);
  });
  test("FFREE empties without popping, FINCSTP rotates without emptying", () => {
    m.stack([f80(1), f80(2)]);
    m.run("dd c0 d9 f7");
    expect([m.st(0), m.tags, m.top]).toEqual([f80(2), 0x80, 7]);
  });
});

describe("pending x87 exceptions", () => {
  test("an unmasked exception faults at the next waiting instruction, not at once", () => {
    m.stack([ONE, f80(0)], 0x37b);
    expect(m.run("d8 f1")).toBeUndefined();
    expect(m.st(0)).toBe(ONE);
    m.stack([ONE, f80(0)], 0x37b);
    expect(m.run("d8 f1 d9 e8")).toBe(16);
    m.stack([ONE, f80(0)], 0x37b);
    expect(m.run("d8 f1 9b")).toBe(16);
  });
  test.each([
    ["fnstsw ax", "df e0"],
    ["fnclex", "db e2"],
    ["fninit", "db e3"],
  ])("%s does not wait", (_, text) => {
    m.stack([ONE, f80(0)], 0x37b);
    expect(m.run(`d8 f1 ${text}`)).toBeUndefined();
  });
  test("FLDCW that unmasks a recorded flag makes it pending", () => {
    m.stack([ONE, f80(3)]);
    m.bare.write(DATA, 0x35fn);
    m.run(`${RDI} d8 f1 d9 2f`);
    expect(status() & FLAG.ES).toBe(FLAG.ES);
  });
  test("MMX instructions wait too", () => {
    m.stack([ONE, f80(0)], 0x37b);
    expect(m.run("d8 f1 0f ef c0")).toBe(16);
  });
});

describe("comparison and examination", () => {
  test.each([
    [2, 1, 0],
    [1, 2, C0],
    [1, 1, C3],
    [0, -0, C3],
  ])("FCOM of %f with %f", (a, b, codes) => {
    m.stack([f80(a), f80(b)]);
    m.run("d8 d1");
    expect(status()).toBe(codes);
  });
  test("FCOM of a quiet NaN is unordered with IE, FUCOM without", () => {
    m.stack([QNAN80, ONE]);
    m.run("d8 d1");
    expect(status()).toBe(C0 | C2 | C3 | FLAG.IE);
    m.stack([QNAN80, ONE]);
    m.run("dd e1");
    expect(status()).toBe(C0 | C2 | C3);
  });
  test("FCOMIP sets ZF PF CF and pops", () => {
    m.stack([ONE, f80(2)]);
    m.run("df f1 9c 58");
    expect(Number(m.gpr(0) & 0x45n)).toBe(1);
    expect(m.st(0)).toBe(f80(2));
  });
  test("FCMOVNE moves when ZF = 0", () => {
    m.stack([ONE, f80(2)]);
    m.run("48 85 e4 db c9"); // test rsp, rsp
    expect(m.st(0)).toBe(f80(2));
  });
  test.each([
    ["zero", f80(-0), C3 | C1],
    ["normal", f80(1), C2],
    ["infinity", f80(Number.NEGATIVE_INFINITY), C2 | C0 | C1],
    ["NaN", QNAN80, C0 | C1],
    ["denormal", 1n, C3 | C2],
    ["unnormal", x80(0x3fff, 1n), 0],
  ])("FXAM %s", (_, value, codes) => {
    m.stack([value]);
    m.run("d9 e5");
    expect(status()).toBe(codes);
  });
  test("FXAM tells an empty register", () => {
    m.stack([]);
    m.run("d9 e5");
    expect(status() & ~C1).toBe(C3 | C0);
  });
});

describe("loads and stores", () => {
  test("every 80-bit pattern survives FLD and FSTP", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 80n) - 1n }), (bits) => {
        m.stack([]);
        m.bare.write(DATA, BigInt.asUintN(64, bits));
        m.bare.write(DATA + 8, bits >> 64n);
        m.run(`${RDI} db 2f db 7f 20`);
        expect(m.bare.read(DATA + 0x20) | (m.bare.read(DATA + 0x28, 2) << 64n)).toBe(bits);
        expect([status(), m.tags]).toEqual([0, 0]);
      }),
      { numRuns: 100 },
    );
  });
  test("FILD and FISTP of 64 bits are exact", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }), (value) => {
        m.stack([]);
        m.bare.write(DATA, value);
        m.run(`${RDI} df 2f df 7f 20`);
        expect(BigInt.asIntN(64, m.bare.read(DATA + 0x20))).toBe(value);
        expect(status()).toBe(0);
      }),
      { numRuns: 100 },
    );
  });
  test("FBLD and FBSTP of 18 digits are exact", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -999999999999999999n, max: 999999999999999999n }), (value) => {
        const digits = BigInt(`0x${String(value < 0n ? -value : value)}`);
        m.stack([]);
        m.bare.write(DATA, BigInt.asUintN(64, digits));
        m.bare.write(DATA + 8, (digits >> 64n) | (value < 0n ? 0x8000n : 0n));
        m.run(`${RDI} df 27 df 77 20`);
        expect(m.bare.read(DATA + 0x20)).toBe(m.bare.read(DATA));
        expect(m.bare.read(DATA + 0x28, 2)).toBe(m.bare.read(DATA + 8, 2));
      }),
      { numRuns: 100 },
    );
  });
  test.each([
    ["fistp word", "df 1f", f80(32768), 0x8000n, 2],
    ["fistp dword", "db 1f", f80(-2147483649), 0x80000000n, 4],
    ["fistp qword", "df 3f", f80(2 ** 63), 0x8000000000000000n, 8],
  ] as const)(
    "%s of what does not fit stores the integer indefinite with IE",
    (_, text, value, stored, size) => {
      m.stack([value]);
      m.run(`${RDI} ${text}`);
      expect([m.bare.read(DATA, size), status()]).toEqual([stored, FLAG.IE]);
    },
  );
  test("FBSTP of 10^18 stores the packed decimal indefinite with IE", () => {
    m.stack([f80(1e18)]);
    m.run(`${RDI} df 37`);
    expect([m.bare.read(DATA), m.bare.read(DATA + 8, 2), status()]).toEqual([
      0xc000000000000000n,
      0xffffn,
      FLAG.IE,
    ]);
  });
  test("FST m64 rounds; with an unmasked overflow it stores nothing", () => {
    m.stack([x80(0x3fff, 0x8000000000000401n)]);
    m.run(`${RDI} dd 17`);
    expect([m.bare.read(DATA), status()]).toEqual([f64(1 + 2 ** -52), FLAG.PE | C1]);
    m.bare.write(DATA, 0x77n);
    m.stack([LARGEST], 0x377);
    m.run(`${RDI} dd 1f`);
    expect([m.bare.read(DATA), m.tags, status() & 63]).toEqual([0x77n, 0x80, FLAG.OE]);
  });
  test("a page fault of the operand leaves stack and pointers as they were", () => {
    m.stack([ONE]);
    m.bare.setPage(DATA + 0x1000, 0n);
    m.bare.long();
    expect(m.run("48 c7 c7 fc 0f 05 00 dd 1f")).toBe(14);
    m.bare.setPage(DATA + 0x1000, 7n);
    expect([m.st(0), m.tags, m.top]).toEqual([ONE, 0x80, 7]);
  });
  test.each([
    ["fldpi", "d9 eb", 0x37f, x80(0x4000, 0xc90fdaa22168c235n)],
    ["fldpi toward zero", "d9 eb", 0xf7f, x80(0x4000, 0xc90fdaa22168c234n)],
    ["fldl2t", "d9 e9", 0x37f, x80(0x4000, 0xd49a784bcd1b8afen)],
    ["fldl2t up", "d9 e9", 0xb7f, x80(0x4000, 0xd49a784bcd1b8affn)],
  ])("%s", (_, text, control, value) => {
    m.stack([], control);
    m.run(text);
    expect([m.st(0), status()]).toEqual([value, 0]);
  });
});

describe("remainder and scaling", () => {
  test("FPREM truncates, FPREM1 takes the nearest multiple; quotient bits in C0 C3 C1", () => {
    m.stack([f80(11), f80(3)]); // 3 x 3 + 2
    m.run("d9 f8");
    expect([m.st(0), status()]).toEqual([f80(2), C3 | C1]);
    m.stack([f80(11), f80(3)]); // 4 x 3 - 1
    m.run("d9 f5");
    expect([m.st(0), status()]).toEqual([f80(-1), C0]);
  });
  test("C2 = 1 until the exponents are less than 64 apart; the loop ends with the true remainder", () => {
    m.stack([f80(2 ** 200), f80(7)]);
    m.run("d9 f8");
    expect(status() & C2).toBe(C2);
    m.stack([f80(2 ** 200), f80(7)]);
    m.run("d9 f8 df e0 9e 7a f9"); // loop: fprem ; fnstsw ax ; sahf ; jp loop
    expect(m.st(0)).toBe(f80(Number(2n ** 200n % 7n)));
  });
  test("FSCALE multiplies by 2^trunc(ST1), FXTRACT takes apart", () => {
    m.stack([f80(1.5), f80(-3.9)]);
    m.run("d9 fd");
    expect(m.st(0)).toBe(f80(1.5 / 8));
    m.stack([f80(-12)]);
    m.run("d9 f4");
    expect([m.st(0), m.st(1)]).toEqual([f80(-1.5), f80(3)]);
  });
  test.each([
    [0x37f, 2.5, 2],
    [0x77f, -2.5, -3],
    [0xb7f, 2.1, 3],
    [0xf7f, -2.9, -2],
  ])("FRNDINT with control word %i", (control, value, result) => {
    m.stack([f80(value)], control);
    m.run("d9 fc");
    expect(m.st(0)).toBe(f80(result));
    expect(status() & FLAG.PE).toBe(FLAG.PE);
  });
});

describe("elementary functions", () => {
  /** Within `units` of the last of 64 places; the results are exact to that much by construction. */
  const near = (actual: bigint, expected: bigint, units = 1n) => {
    const distance = actual - expected;
    expect(distance <= units && distance >= -units).toBe(true);
  };
  test.each([
    ["fsin 1", "d9 fe", [f80(1)], x80(0x3ffe, 0xd76aa47848677021n)],
    ["fcos 1", "d9 ff", [f80(1)], x80(0x3ffe, 0x8a51407da8345c92n)],
    ["f2xm1 0.5", "d9 f0", [f80(0.5)], x80(0x3ffd, 0xd413cccfe7799211n)],
    ["fyl2x 10", "d9 f1", [f80(10), ONE], x80(0x4000, 0xd49a784bcd1b8afen)],
    ["fyl2xp1 0.25", "d9 f9", [f80(0.25), ONE], x80(0x3ffd, 0xa4d3c25e68dc57f2n)],
    ["fpatan 1/1", "d9 f3", [f80(1), f80(1)], x80(0x3ffe, 0xc90fdaa22168c235n)],
    ["fpatan -1/-1", "d9 f3", [f80(-1), f80(-1)], x80(0xc000, 0x96cbe3f9990e91a8n)],
  ])("%s", (_, text, values, expected) => {
    m.stack(values);
    m.run(text);
    near(m.st(0), expected);
    expect(m.status & FLAG.PE).toBe(FLAG.PE);
  });
  test("sin pi is what the 66-bit pi leaves", () => {
    m.stack([x80(0x4000, 0xc90fdaa22168c235n)]);
    m.run("d9 fe");
    expect(m.st(0)).toBe(x80(0xbfbf, 0x8000000000000000n));
  });
  test("from 2^63 on the argument is refused by C2 and stays", () => {
    for (const text of ["d9 fe", "d9 ff", "d9 fb", "d9 f2"]) {
      m.stack([f80(2 ** 63)]);
      m.run(text);
      expect([m.st(0), status() & C2]).toEqual([f80(2 ** 63), C2]);
    }
  });
  test("FPTAN pushes 1, FSINCOS pushes the cosine", () => {
    m.stack([f80(0.5)]);
    m.run("d9 f2");
    expect(m.st(0)).toBe(ONE);
    near(m.st(1), x80(0x3ffe, 0x8bda7adf9a3a5219n));
    m.stack([f80(-0)]);
    m.run("d9 fb");
    expect([m.st(0), m.st(1)]).toEqual([ONE, f80(-0)]);
  });
  test("tiny arguments are their own sine but for the last rounding", () => {
    const tiny = x80(0x0001, 0x8000000000000001n);
    m.stack([tiny]);
    m.run("d9 fe");
    expect(m.st(0)).toBe(tiny);
    m.stack([f80(2 ** -300)], 0xf7f);
    m.run("d9 fe");
    expect(m.st(0)).toBe(x80(0x3fff - 301, 0xffffffffffffffffn));
  });
  test("logarithm of zero is ZE, of a negative number IE", () => {
    m.stack([f80(0), ONE]);
    m.run("d9 f1");
    expect([m.st(0), status()]).toEqual([f80(Number.NEGATIVE_INFINITY), FLAG.ZE]);
    m.stack([f80(-2), ONE]);
    m.run("d9 f1");
    expect([m.st(0), status()]).toEqual([INDEFINITE, FLAG.IE]);
  });
  test("sin^2 + cos^2 = 1 to a few units for any argument below 2^63", () => {
    fc.assert(
      fc.property(fc.double({ min: -(2 ** 62), max: 2 ** 62, noNaN: true }), (x) => {
        m.stack([f80(x)]);
        m.run("d9 fb dc c8 d9 c9 dc c8 de c1"); // fsincos ; square both ; add
        const sum = m.st(0);
        expect(sum >= x80(0x3ffe, 0xfffffffffffffff8n) && sum <= x80(0x3fff, 0x8000000000000004n)).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});
