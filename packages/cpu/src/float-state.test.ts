import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { X87_CODE, X87_DATA, X87_OPCODE } from "../assembly/layout.ts";
import { CODE, code, DATA } from "./testing/bare-machine.ts";
import { FLAG, FloatMachine, f64, f80 } from "./testing/float-registers.ts";

let m: FloatMachine;
beforeAll(async () => {
  m = await FloatMachine.create();
});

const RDI = "48 c7 c7 00 00 05 00"; // mov rdi, DATA

describe("which instructions exist now", () => {
  const CR0 = 0x80050033;
  const TS = 8;
  const EM = 4;
  const MP = 2;
  const fault = (text: string, cr0: number, cr4 = 0x620) => {
    m.stack([]);
    m.bare.long();
    m.bare.set({ cr0, cr4 });
    const bytes = text.split(" ").map((byte) => Number.parseInt(byte, 16));
    const end = m.bare.vectorOf([...bytes, 0xf4]);
    return typeof end === "number" ? end : undefined;
  };
  test.each([
    ["x87", "d9 e8", 7, 7, undefined],
    ["mmx", "0f ef c0", 6, 7, undefined],
    ["sse", "0f 57 c0", 6, 7, 6],
    ["fxsave", "0f ae 07", 7, 7, undefined],
    ["stmxcsr", "0f ae 1f", 6, 7, 6],
    ["movq2dq", "f3 0f d6 c0", 6, 7, 6],
    ["sfence", "0f ae f8", undefined, undefined, undefined],
  ])("%s with CR0.EM, with CR0.TS, without CR4.OSFXSR", (_, text, em, ts, noOsfxsr) => {
    m.bare.set({ rdi: DATA });
    expect(fault(text, CR0 | EM)).toBe(em);
    expect(fault(text, CR0 | TS)).toBe(ts);
    expect(fault(text, CR0, 0x20)).toBe(noOsfxsr);
    expect(fault(text, CR0)).toBeUndefined();
  });
  test("FWAIT is #NM only with both TS and MP", () => {
    expect(fault("9b", CR0 | TS | MP)).toBe(7);
    expect(fault("9b", (CR0 | TS) & ~MP)).toBeUndefined();
    expect(fault("9b", CR0 | EM)).toBeUndefined();
  });
  test.each([
    ["haddps", "f2 0f 7c c1"],
    ["lddqu", "f2 0f f0 07"],
    ["movddup", "f2 0f 12 c1"],
    ["fisttp", "db 0f"],
    ["xsave", "0f ae 27"],
    ["movlps between registers", "0f 13 c1"],
    ["movntps to a register", "0f 2b c1"],
  ])("%s is #UD", (_, text) => {
    expect(fault(text, CR0)).toBe(6);
  });
});

describe("encodings that the opcode map leaves empty", () => {
  test.each([
    ["d9 d1"],
    ["d9 e2"],
    ["de d8"],
    ["0f 6d c1"],
    ["0f d0 c1"],
    ["0f d6 c1"],
    ["0f e6 07"],
    ["0f f0 07"],
    ["0f 71 c1 01"], // no operation 0 among the shifts
    ["0f 73 e1 01"], // no arithmetic shift of quadwords
    ["0f 71 17 01"],
    ["0f c5 07 00"], // pextrw takes a register only
    ["0f d7 07"],
    ["0f f7 07"],
    ["0f e7 c1"], // movntq takes memory only
  ])("%s is #UD even with an x87 exception waiting", (text) => {
    m.stack([f80(1), f80(0)], 0x37b);
    expect(m.run(`d8 f1 ${text}`)).toBe(6);
    m.stack([f80(1)]);
    expect(m.run(text)).toBe(6);
  });
  test("what exists waits for #MF", () => {
    for (const text of [
      "0f c5 c1 00",
      "0f d7 c1",
      "0f 73 d1 01",
      "0f 7f c1",
      "0f fe c1",
      "0f e7 07",
      "d9 d0",
    ]) {
      m.stack([f80(1), f80(0)], 0x37b);
      expect(m.run(`${RDI} d8 f1 ${text}`)).toBe(16);
    }
  });
});

describe("MXCSR", () => {
  test("LDMXCSR and STMXCSR move all 16 bits; a reserved bit is #GP and changes nothing", () => {
    m.bare.write(DATA, 0xffff);
    m.run(`${RDI} 0f ae 17 0f ae 5f 08`);
    expect(m.bare.read(DATA + 8, 4)).toBe(0xffffn);
    m.mxcsr = 0x1f80;
    m.bare.write(DATA, 0x11f80);
    expect(m.run(`${RDI} 0f ae 17`)).toBe(13);
    expect(m.mxcsr).toBe(0x1f80);
  });
});

describe("FXSAVE and FXRSTOR", () => {
  test("the image: words, abridged tags, registers by stack position, XMM", () => {
    m.stack([f80(1), f80(2)], 0x27f);
    m.mxcsr = 0x1fa0;
    for (let i = 0; i < 16; i++) m.setXmm(i, BigInt(i) | (BigInt(0x100 + i) << 64n));
    m.bare.write(DATA + 416, 0x77);
    m.run(`${RDI} 0f ae 07`);
    expect(m.bare.read(DATA, 2)).toBe(0x27fn);
    expect(m.bare.read(DATA + 2, 2)).toBe(0x3000n);
    expect(m.bare.read(DATA + 4, 1)).toBe(0xc0n);
    expect(m.bare.read(DATA + 24, 4)).toBe(0x1fa0n);
    expect(m.bare.read(DATA + 28, 4)).toBe(0xffffn);
    expect(m.bare.read(DATA + 32) | (m.bare.read(DATA + 40) << 64n)).toBe(f80(1));
    expect(m.bare.read(DATA + 48) | (m.bare.read(DATA + 56) << 64n)).toBe(f80(2));
    expect(m.bare.read(DATA + 160 + 15 * 16)).toBe(15n);
    expect(m.bare.read(DATA + 168 + 15 * 16)).toBe(0x10fn);
    expect(m.bare.read(DATA + 416)).toBe(0x77n);
  });
  test("FXRSTOR brings back what FXSAVE stored", () => {
    m.stack([f80(3), f80(-4)], 0x37f);
    m.setXmm(7, 0x1234n);
    m.run(`${RDI} 0f ae 07`);
    m.stack([]);
    m.setXmm(7, 0n);
    m.run(`${RDI} 0f ae 0f`);
    expect([m.st(0), m.st(1), m.tags, m.xmm(7)]).toEqual([f80(3), f80(-4), 0xc0, 0x1234n]);
  });
  test("a misaligned image, or a reserved MXCSR bit, is #GP and nothing is loaded", () => {
    m.run(`${RDI} 0f ae 07`);
    expect(m.run("48 c7 c7 08 00 05 00 0f ae 0f")).toBe(13);
    m.bare.write(DATA + 24, 0xffff_0001_0000n);
    m.setXmm(7, 0x99n);
    expect(m.run(`${RDI} 0f ae 0f`)).toBe(13);
    expect(m.xmm(7)).toBe(0x99n);
  });
  test("ES follows from flags and masks, whatever the image says", () => {
    m.stack([f80(1)]);
    m.run(`${RDI} 0f ae 07`);
    m.bare.write(DATA, (m.bare.read(DATA) & ~0xffffn) | 0x37en | (1n << 16n));
    expect(m.run(`${RDI} 0f ae 0f 9b`)).toBe(16);
  });
  test("outside 64-bit mode XMM8 to 15 are not touched, and pointers are offset and selector", () => {
    m.stack([f80(1)]);
    m.setXmm(8, 5n);
    m.bare.write(DATA + 160 + 8 * 16, 0x66);
    m.bare.compatibility();
    m.bare.run([0xbf, 0, 0, 5, 0, 0xd9, 0xe8, 0x0f, 0xae, 0x07, 0xf4]);
    expect(m.bare.read(DATA + 160 + 8 * 16)).toBe(0x66n);
    expect(m.bare.read(DATA + 8, 4)).toBe(BigInt(CODE + 5));
    expect(m.bare.read(DATA + 12, 2)).toBe(0x30n);
    m.bare.long();
  });
});

describe("x87 environment", () => {
  test("instruction, opcode and operand pointers are those of the last instruction that computes", () => {
    m.stack([f80(1)]);
    m.run(`${RDI} dc 47 08 d9 7f 20`); // fadd qword [rdi + 8] ; fnstcw, which leaves no trace
    expect(m.view.getBigUint64(X87_CODE, true)).toBe(BigInt(CODE + 7));
    expect(m.view.getBigUint64(X87_DATA, true)).toBe(BigInt(DATA + 8));
    expect(m.view.getUint16(X87_OPCODE, true) >> 8).toBe(4);
  });
  test("FNSTENV has full tags, and masks all exceptions", () => {
    m.stack([f80(0), f80(1), f80(Number.POSITIVE_INFINITY)], 0x360);
    m.run(`${RDI} d9 37`);
    expect(m.bare.read(DATA, 4)).toBe(0xffff0360n);
    expect(m.bare.read(DATA + 8, 4)).toBe(0xffff87ffn);
    expect(m.control).toBe(0x37f);
  });
  test("FNSAVE initializes; FRSTOR brings all back", () => {
    m.stack([f80(5), f80(6)], 0x27f);
    m.run(`${RDI} dd 37`);
    expect([m.control, m.status, m.tags]).toEqual([0x37f, 0, 0]);
    m.run(`${RDI} dd 27`);
    expect([m.control, m.top, m.tags, m.st(0), m.st(1)]).toEqual([0x27f, 6, 0xc0, f80(5), f80(6)]);
  });
  test("through CS the images can be loaded and not stored", () => {
    for (const [text, outcome] of [
      ["2e d9 25", "#6"], // fldenv
      ["2e dd 25", "#6"], // frstor
      ["2e d9 35", "#13(0x0)"], // fnstenv
      ["2e dd 35", "#13(0x0)"], // fnsave
      ["2e d9 3d", "#13(0x0)"], // fnstcw
    ] as const) {
      m.stack([]);
      m.bare.protected32();
      expect(m.bare.outcome(code(`${text} 00 00 05 00 0f 0b`))).toBe(outcome);
    }
  });
  test("the 16-bit image is 14 bytes", () => {
    m.stack([f80(1)]);
    m.bare.write(DATA + 8, -1n);
    m.run(`${RDI} 66 d9 37`);
    expect(m.bare.read(DATA, 2)).toBe(0x37fn);
    expect(m.bare.read(DATA + 4, 2)).toBe(0x3fffn);
    expect(m.bare.read(DATA + 14, 2)).toBe(0xffffn);
  });
});

describe("MMX", () => {
  test("writing a register makes all valid, TOP 0, and sign and exponent ones", () => {
    m.stack([f80(1), f80(2)]);
    m.setMm(1, 0x0102030405060708n);
    m.run("0f 6f c1"); // movq mm0, mm1
    expect([m.tags, m.top, m.st(0)]).toEqual([0xff, 0, 0xffff0102030405060708n]);
  });
  test("EMMS empties", () => {
    m.stack([f80(1)]);
    m.run("0f 77");
    expect(m.tags).toBe(0);
  });
  test.each([
    ["packsswb", "0f 63 c1", 0x7fff_8000_0001_ffffn, 0x0080_ff7f_0000_0005n, 0x7f_80_00_05_7f_80_01_ffn],
    ["punpckhbw", "0f 68 c1", 0x0706050403020100n, 0x1716151413121110n, 0x1707160615051404n],
    ["punpckldq", "0f 62 c1", 0x1111111100000000n, 0x3333333322222222n, 0x2222222200000000n],
    ["pmaddwd", "0f f5 c1", 0x0001_0002_0003_0004n, 0x0001_0002_0003_0004n, 0x00000005_00000019n],
    ["psadbw", "0f f6 c1", 0x0000000000000105n, 0xff00000000000203n, 0x102n],
    ["pmuludq", "0f f4 c1", 0xffffffffn, 0xffffffffn, 0xfffffffe00000001n],
    ["paddq", "0f d4 c1", (1n << 64n) - 1n, 2n, 1n],
    ["pshufw", "0f 70 c1 1b", 0n, 0x3333_2222_1111_0000n, 0x0000_1111_2222_3333n],
    ["pavgb", "0f e0 c1", 0xff00n, 0xff01n, 0xff01n],
    ["psrlq by 64", "0f d3 c1", (1n << 64n) - 1n, 64n, 0n],
  ])("%s", (_, text, a, b, result) => {
    m.stack([]);
    m.setMm(0, a);
    m.setMm(1, b);
    m.run(text);
    expect(m.mm(0)).toBe(result);
  });
  test("MOVQ2DQ and MOVDQ2Q cross over; CVTPI2PS and CVTTPD2PI convert", () => {
    m.stack([]);
    m.mxcsr = 0x1f80;
    m.setMm(1, 0xfffffffe00000003n);
    m.setXmm(0, -1n & ((1n << 128n) - 1n));
    m.run("f3 0f d6 c1");
    expect(m.xmm(0)).toBe(0xfffffffe00000003n);
    m.run("0f 2a d1"); // cvtpi2ps xmm2, mm1
    expect(m.xmm(2) & 0xffffffffffffffffn).toBe(0xc000000040400000n);
    m.setXmm(3, (f64(-7.5) << 64n) | f64(9));
    m.run("66 0f 2c e3"); // cvttpd2pi mm4, xmm3
    expect(m.mm(4)).toBe(0xfffffff900000009n);
    expect(m.mxcsr & 63).toBe(FLAG.PE);
  });
});

describe("hostile input", () => {
  test("no bytes of the x87, MMX and SSE opcode space and no register image stop the host", () => {
    const word = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
    const instruction = fc.oneof(
      fc.tuple(fc.integer({ min: 0xd8, max: 0xdf }), fc.nat(255)).map(([op, modrm]) => [op, modrm]),
      fc
        .tuple(
          fc.constantFrom([], [0x66], [0xf3], [0xf2]),
          fc.integer({ min: 0x10, max: 0xfe }),
          fc.integer({ min: 0xc0, max: 0xff }),
          fc.nat(255),
        )
        .filter(
          ([, op]) =>
            op < 0x18 ||
            (op >= 0x28 && op < 0x30) ||
            (op >= 0x50 && op < 0x80) ||
            op === 0xc2 ||
            (op >= 0xc4 && op < 0xc7) ||
            op >= 0xd0,
        )
        .map(([prefix, op, modrm, immediate]) => [...prefix, 0x0f, op, modrm, immediate]),
    );
    fc.assert(
      fc.property(
        fc.array(word, { minLength: 52, maxLength: 52 }),
        fc.array(instruction, { minLength: 1, maxLength: 12 }),
        (image, program) => {
          for (const [i, value] of image.entries()) m.bare.write(DATA + 8 * i, value);
          // Words that FXRSTOR accepts: MXCSR without reserved bits.
          m.bare.write(DATA + 24, (image[3] ?? 0n) & 0xffffn);
          m.bare.long();
          m.bare.set({ rdi: DATA, rax: DATA, rcx: DATA, rdx: DATA, rbx: DATA, rsi: DATA });
          const end = m.bare.run([0x0f, 0xae, 0x0f, ...program.flat(), 0xf4], 200);
          expect(["halt", "limit", "shutdown"]).toContain(end);
        },
      ),
      { numRuns: 400 },
    );
    m.bare.rebuild();
  });
  test("real mode has its own environment layout and no paging to hide behind", () => {
    m.stack([f80(1)]);
    m.bare.real();
    m.bare.run([0xd9, 0xe8, 0xbf, 0x00, 0x10, 0xd9, 0x35, 0xf4]); // fld1 ; mov di, 0x1000 ; fnstenv [di]
    expect(m.bare.read(0x1006, 2)).toBe(0xc000n);
    expect(m.bare.read(0x1008, 2)).toBe(0x01e8n);
    m.bare.rebuild();
    m.bare.long();
  });
});
