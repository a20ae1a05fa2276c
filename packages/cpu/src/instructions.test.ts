import { beforeEach, describe, expect, test } from "vitest";
import * as layout from "../assembly/layout.ts";
import { BareMachine, CODE, code, DATA, STACK } from "./testing/bare-machine.ts";

/*
 * What the decoder decides: which encodings exist, how long they are, and where their memory operand lies (AMD64 volume 3, 1.2 to 1.7).
 */

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
});

describe("encodings that do not exist are #UD", () => {
  test.each([
    ["PREFETCHW of a register", "0f 0d c8"],
    ["EMMS with 66", "66 0f 77"],
    ["EMMS with F3", "f3 0f 77"],
    ["EMMS with F2", "f2 0f 77"],
    ["0F AE /7 with 66 (CLFLUSHOPT) where it is not offered", "66 0f ae 3f"],
    ["group 1 by opcode 82 in 64-bit code", "82 c0 01"],
    ["a far jump to an immediate in 64-bit code", "ea 00 00 00 00 08 00"],
    ["MOV immediate with another ModRM.reg than 0", "c7 c8 00 00 00 00"],
    ["BT by an immediate with ModRM.reg below 4", "0f ba d8 01"],
    ["0F B8 without F3", "0f b8 c0"],
    ["LOCK before an instruction that only reads", "f0 48 8b 07"],
    ["LOCK with a register as destination", "f0 01 c0"],
  ])("%s", (_, text) => {
    m.set({ rdi: DATA });
    expect(m.outcome(code(text))).toBe("#6");
  });

  test("UD0 and UD1 have no ModRM byte, so they need no byte of the next page", () => {
    for (const second of ["ff", "b9"]) {
      m.store(CODE + 0xffe, code(`0f ${second}`));
      m.setPage(CODE + 0x1000, 0n);
      m.set({ rip: CODE + 0xffe });
      m.wake();
      expect(m.vectorOf()).toBe(6);
    }
  });
});

describe("more than 15 bytes are #GP", () => {
  const prefixes = (n: number) => Array.from({ length: n }, () => 0x3e);
  test("15 bytes execute", () => {
    expect(m.run([...prefixes(14), 0xf4])).toBe("halt");
  });
  test("16 do not", () => {
    expect(m.outcome([...prefixes(15), 0xf4])).toBe("#13(0x0)");
  });
  test.each([
    ["0F B8", [0x0f, 0xb8, 0xc0], 13],
    ["82 in 64-bit code", [0x82, 0xc0, 0x01], 13],
    ["EA in 64-bit code", [0xea, 0, 0, 0, 0, 0, 0], 9],
    ["0F BA /3", [0x0f, 0xba, 0xd8, 0x01], 12],
  ])("an opcode that does not exist counts with its operands: %s", (_, bytes, n) => {
    expect(m.outcome([...prefixes(n), ...bytes])).toBe("#13(0x0)");
    m.set({ rip: CODE });
    m.wake();
    expect(m.vectorOf([...prefixes(n - 1), ...bytes])).toBe(6);
  });
});

describe("RIP-relative addresses", () => {
  test.each([
    ["the largest displacement", 0x7fff_ffff],
    ["one that does not fit once the length is added", 0x7fff_fffb],
    ["one well inside", 0x7fff_0000],
    ["the smallest", -0x8000_0000],
    ["a negative one", -0x10],
  ])("%s counts from the end of the instruction", (_, displacement) => {
    const four = [0, 8, 16, 24].map((shift) => (displacement >> shift) & 0xff);
    // nop; add rcx, rcx; lea rax, [rip + displacement]; hlt
    expect(m.run([0x90, 0x48, 0x01, 0xc9, 0x48, 0x8d, 0x05, ...four, 0xf4])).toBe("halt");
    expect(BigInt.asIntN(64, m.gpr("rax"))).toBe(BigInt(CODE + 11 + displacement));
  });
});

describe("memory operands outside 64-bit mode", () => {
  beforeEach(() => m.protected32());
  /** Puts a data segment in ES whose last byte is DATA + `limit`. */
  function es(attributes: number, limit = 0xffffffff): void {
    m.setSegment("es", 0x60, attributes, 0, limit);
    m.set({ rdi: DATA, rsi: DATA });
  }

  test.each([
    ["MOV to memory", "2e 89 07"],
    ["MOV of a segment register to memory", "2e 8c 07"],
    ["ARPL", "2e 63 07"],
    ["SETcc", "2e 0f 94 07"],
    ["XCHG", "2e 87 07"],
  ])("a code segment cannot be written: %s", (_, text) => {
    m.set({ rdi: DATA, rax: 3 });
    expect(m.outcome(code(text))).toBe("#13(0x0)");
  });
  test("a code segment can be read", () => {
    m.set({ rdi: DATA });
    expect(m.run(code("2e 8b 07 f4"))).toBe("halt");
  });

  test.each([
    ["STOS", "aa", "#13(0x0)"],
    ["MOVS", "a4", "#13(0x0)"],
    ["REP STOS", "f3 aa", "#13(0x0)"],
    ["REP MOVS", "f3 a4", "#13(0x0)"],
    ["SCAS, which reads", "ae f4", "halt"],
    ["CMPS, which reads", "a6 f4", "halt"],
  ])("a read-only ES: %s", (_, text, outcome) => {
    es(0xc091);
    m.set({ rcx: 4 });
    expect(m.outcome(code(text))).toBe(outcome);
  });

  test.each([
    ["a byte by MOV", "26 8a 3f f4", 0, "halt"],
    ["a byte by TEST", "26 84 3f f4", 0, "halt"],
    ["a byte by MOVZX", "26 0f b6 07 f4", 0, "halt"],
    ["a byte by MOVSX", "26 0f be 07 f4", 0, "halt"],
    ["a word by MOVZX", "26 0f b7 07 f4", 1, "halt"],
    ["a word by MOVZX, one byte short", "26 0f b7 07", 0, "#13(0x0)"],
    ["a doubleword by MOV", "26 8b 07 f4", 3, "halt"],
    ["a doubleword by MOV, one byte short", "26 8b 07", 2, "#13(0x0)"],
    ["CMPXCHG8B", "26 0f c7 0f f4", 7, "halt"],
    ["CMPXCHG8B, one byte short", "26 0f c7 0f", 6, "#13(0x0)"],
  ])("the limit counts what is accessed: %s", (_, text, last, outcome) => {
    es(0xc093, DATA + last);
    expect(m.outcome(code(text))).toBe(outcome);
  });

  test("POPA that faults half-way has loaded the registers before, not the stack pointer", () => {
    m.setSegment("ss", 0x60, 0xc093, 0, STACK + 27);
    m.set({ rsp: STACK, rax: 7, rcx: 7, rdi: 7 });
    m.write(STACK, 0x2222_2222_1111_1111n);
    m.write(STACK + 24, 0x4444n);
    // #SS cannot be delivered on that stack; it only has to be raised
    m.run(code("61"));
    expect([m.gpr("rdi"), m.gpr("rsi"), m.gpr("rcx"), m.gpr("rax")]).toEqual([
      0x11111111n,
      0x22222222n,
      0x4444n,
      7n,
    ]);
  });

  test("code ends at CS's limit, also where CS's base lies above it", () => {
    // CS.base 0xFFFF0000: EIP = 0x20000 + CODE's offset wraps to CODE.
    m.setSegment("cs", 0x30, 0xc09b, 0xffff0000, 0x2000a);
    m.store(CODE, code("31 c0 90 90 90 90 90 90 90 90 90 90"));
    m.set({ rip: CODE });
    m.set({ rax: 1 });
    expect(m.outcome()).toBe("#13(0x0)");
    expect([m.gpr("rax"), m.read(m.gpr("rsp") + 4n, 4)]).toEqual([0n, 0x2000bn]);
  });
});

describe("branches to addresses that are not canonical", () => {
  const HIGH = 0x7fff_ffff_f000n;
  beforeEach(() => {
    // The last page below the hole shows CODE.
    m.write(0x1000 + 8 * 255, 0x2007n);
    m.write(0x2000 + 8 * 511, 0x3007n);
    m.write(0x3000 + 8 * 511, 0x4007n);
    m.write(0x4000 + 8 * 511, BigInt(CODE) | 7n);
  });
  test.each([
    ["LOOP", "e2 10", 2n],
    ["JRCXZ", "e3 10", 0n],
    ["JMP", "eb 10", 0n],
    ["CALL", "e8 10 00 00 00", 0n],
  ])("%s faults itself and changes nothing", (_, text, rcx) => {
    const bytes = code(text);
    m.store(CODE + 0x1000 - bytes.length - 1, [...bytes, 0xf4]);
    const at = HIGH + 0x1000n - BigInt(bytes.length) - 1n;
    m.set({ rip: at, rcx, rsp: STACK });
    expect(m.outcome()).toBe("#13(0x0)");
    expect(m.frame()).toMatchObject({ rip: at, rsp: BigInt(STACK) });
    expect(m.gpr("rcx")).toBe(rcx);
  });
  test("one that is not taken goes on", () => {
    m.store(CODE + 0x1000 - 3, code("e2 10 f4"));
    m.set({ rip: HIGH + 0x1000n - 3n, rcx: 1 });
    expect(m.run()).toBe("halt");
  });
});

describe("x87 opcode", () => {
  test("FOP holds the ModRM byte of a memory form", () => {
    m.set({ rdi: DATA, cr0: m.control("cr0") & ~0xcn });
    expect(m.run(code("db e3 d9 47 10 f4"))).toBe("halt"); // fninit; fld dword [rdi + 16]
    expect(m.processor.view.getUint16(layout.X87_OPCODE, true)).toBe(0x147);
  });
});
