import { beforeEach, describe, expect, test } from "vitest";
import { BareMachine, CODE, code, DATA } from "./testing/bare-machine.ts";

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
});
function bytes(at: number, n: number): number[] {
  return [...m.processor.ram.subarray(at, at + n)];
}

describe("REP", () => {
  test("is interruptible: the registers tell how far it came and the instruction starts again", () => {
    const n = 0x40000;
    m.set({ rcx: n, rdi: DATA + 0x50000, rax: 0x5a });
    m.store(CODE, code("f3 aa f4"));
    let slices = 0;
    while (m.processor.run(m.processor.now() + 100) === "limit") {
      slices++;
      expect(m.rip()).toBe(BigInt(CODE));
      expect(m.gpr("rcx") + m.gpr("rdi")).toBe(BigInt(DATA + 0x50000 + n));
      expect(slices).toBeLessThan(1000);
    }
    expect(slices).toBeGreaterThan(10);
    expect(m.gpr("rcx")).toBe(0n);
    expect(m.processor.ram.subarray(DATA + 0x50000, DATA + 0x50000 + n).every((b) => b === 0x5a)).toBe(true);
  });

  test("a count without end does not hold the processor up", () => {
    m.set({ rcx: -1n, rsi: DATA });
    m.store(CODE, code("f3 ac f4")); // rep lodsb, reads on until it leaves the mapped memory
    const start = performance.now();
    expect(m.processor.run(m.processor.now() + 1000)).toBe("limit");
    expect(performance.now() - start).toBeLessThan(1000);
    expect(m.gpr("rcx")).toBeLessThan(0xffff_ffff_ffff_ffffn);
  });

  test("a fault in the middle leaves the registers at the element that faulted", () => {
    m.set({ rcx: 0x2000, rdi: DATA, rax: 1 });
    m.setPage(DATA + 0x1000, 0n);
    expect(m.outcome(code("f3 aa"))).toBe("#14(0x2)");
    expect([m.gpr("rcx"), m.gpr("rdi"), m.frame().rip]).toEqual([
      0x1000n,
      BigInt(DATA + 0x1000),
      BigInt(CODE),
    ]);
  });

  test("a count of 0 does nothing", () => {
    m.set({ rcx: 0, rdi: 0x7000_0000_0000n });
    expect(m.run(code("f3 48 ab f4"))).toBe("halt");
  });

  test("REPNE SCAS stops behind the match, REPE CMPS behind the difference", () => {
    m.store(DATA, [1, 2, 3, 4, 5, 6]);
    m.store(DATA + 0x100, [1, 2, 9]);
    m.set({ rcx: 6, rdi: DATA, rax: 4 });
    expect(m.run(code("f2 ae f4"))).toBe("halt");
    expect([m.gpr("rcx"), m.gpr("rdi")]).toEqual([2n, BigInt(DATA + 4)]);
    m.set({ rcx: 6, rdi: DATA, rsi: DATA + 0x100, rip: CODE });
    m.wake();
    expect(m.run(code("f3 a6 f4"))).toBe("halt");
    expect([m.gpr("rcx"), m.gpr("rsi")]).toEqual([3n, BigInt(DATA + 0x103)]);
  });
});

describe("MOVS", () => {
  test("upwards over its own result repeats the pattern, as element by element", () => {
    m.store(DATA, [1, 2, 3]);
    m.set({ rcx: 9, rsi: DATA, rdi: DATA + 3 });
    expect(m.run(code("f3 a4 f4"))).toBe("halt");
    expect(bytes(DATA, 12)).toEqual([1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
  });

  test("downwards with DF", () => {
    m.store(DATA, [1, 2, 3, 4]);
    m.set({ rcx: 4, rsi: DATA + 3, rdi: DATA + 4, flags: 0x402 });
    expect(m.run(code("f3 a4 f4"))).toBe("halt");
    expect(bytes(DATA, 5)).toEqual([1, 1, 2, 3, 4]);
  });

  test("across pages that are not neighbours in RAM", () => {
    for (let i = 0; i < 64; i++) m.store(DATA + 0x8000 + i, [i]);
    m.write(0x4000 + 8 * ((DATA + 0x1000) >> 12), BigInt(DATA + 0x5000) | 7n);
    m.set({ cr3: m.control("cr3"), rcx: 64, rsi: DATA + 0x8000, rdi: DATA + 0xfe0 });
    expect(m.run(code("f3 a4 f4"))).toBe("halt");
    expect(bytes(DATA + 0xfe0, 32)).toEqual(Array.from({ length: 32 }, (_, i) => i));
    expect(bytes(DATA + 0x5000, 32)).toEqual(Array.from({ length: 32 }, (_, i) => 32 + i));
  });

  test("67 uses 32-bit registers", () => {
    m.store(DATA, [7]);
    m.set({ rcx: 0xffff_ffff_0000_0001n, rsi: 0xffff_ffff_0000_0000n | BigInt(DATA), rdi: DATA + 8 });
    expect(m.run(code("67 f3 a4 f4"))).toBe("halt");
    expect([m.gpr("rcx"), m.gpr("rsi"), m.gpr("rdi")]).toEqual([0n, BigInt(DATA + 1), BigInt(DATA + 9)]);
  });
});

describe("port strings", () => {
  test("OUTS and INS move elements of their width", () => {
    m.store(DATA, [1, 0, 2, 0]);
    m.set({ rcx: 2, rsi: DATA, rdx: 0x80 });
    expect(m.run(code("f3 66 6f f4"))).toBe("halt");
    expect(m.gpr("rcx")).toBe(0n);
    expect(m.written.slice(-2)).toEqual([
      [0x80, 2, 1],
      [0x80, 2, 2],
    ]);
  });
});

describe("faults", () => {
  test("when both operands of CMPS fault, ES:rDI does first", () => {
    m.setPage(DATA, 0n);
    m.setPage(DATA + 0x1000, 0n);
    m.set({ rsi: DATA, rdi: DATA + 0x1000 });
    expect(m.outcome(code("a6"))).toBe("#14(0x0)");
    expect(m.control("cr2")).toBe(BigInt(DATA + 0x1000));
  });

  test("REP INS and OUTS ask for permission even when the count is 0", () => {
    for (const text of ["f3 6c", "f3 6e"]) {
      m.long(3);
      m.set({ rcx: 0, rdx: 0x80, rsi: DATA, rdi: DATA });
      expect(m.outcome(code(text))).toBe("#13(0x0)");
      m.long(0);
      m.set({ rcx: 0 });
      expect(m.run(code(`${text} f4`))).toBe("halt");
    }
  });
});
