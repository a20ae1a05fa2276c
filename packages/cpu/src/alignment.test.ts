import { beforeEach, describe, expect, test } from "vitest";
import { BareMachine, code, DATA, STACK, USER_CODE, USER_STACK } from "./testing/bare-machine.ts";

/* Alignment checks: CR0.AM and RFLAGS.AC at CPL 3. What the table says was seen on an AMD processor. */

const AM = 0x40000n;
const AC = 0x40000n;
const DONE = "#6";
const MISALIGNED = "#17(0x0)";

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
});

/** Runs `program` with RDI at DATA + `offset`, RSI behind it, aligned, and RCX = 4; `#6` when it came to its end. */
function outcome(program: string, offset: number, level: 0 | 3 = 3, am = AM, ac = AC): string {
  m.rebuild();
  m.long(level);
  m.setPage(DATA + 0x1000, 0n);
  m.set({
    cr0: (m.control("cr0") & ~AM) | am,
    flags: ac | 2n,
    rdi: DATA + offset,
    rsi: DATA + 0x100,
    rcx: 4,
  });
  return m.outcome([...code(program), ...code("0f 0b")]);
}

describe("#AC", () => {
  test.each([
    ["mov eax, [rdi]", "8b 07", [1, 2], [0, 4]],
    ["mov ax, [rdi]", "66 8b 07", [1, 3], [2]],
    ["mov [rdi], rax", "48 89 07", [4], [8]],
    ["add [rdi], eax", "01 07", [2], [4]],
    ["mov al, [rdi]", "8a 07", [], [1]],
    ["lea rax, [rdi]", "48 8d 07", [], [1]],
    ["xchg ecx, [rdi]", "87 0f", [2], [4]],
    ["cmpxchg8b [rdi]", "0f c7 0f", [2, 4], [8]],
    ["lgs eax, [rdi]", "0f b5 07", [2], [4]],
    ["movups xmm0, [rdi]", "0f 10 07", [1, 2, 4, 8], [16]],
    ["movups [rdi], xmm0", "0f 11 07", [4, 8], [16]],
    ["movq xmm0, [rdi]", "f3 0f 7e 07", [4], [8]],
    ["movss xmm0, [rdi]", "f3 0f 10 07", [2], [4]],
    ["movq mm0, [rdi]", "0f 6f 07", [4], [8]],
    ["punpcklbw mm0, [rdi]", "0f 60 07", [2], [4]],
    ["maskmovdqu xmm0, xmm1", "66 0f f7 c1", [1, 4], [8]],
    ["fld tbyte [rdi]", "db e3 db 2f", [2, 4], [8]],
    ["fstp tbyte [rdi]", "db e3 d9 ee db 3f", [4], [8]],
    ["fild word [rdi]", "db e3 df 07", [1], [2]],
    ["fnstenv [rdi]", "d9 37", [1, 2], [4]],
    ["fnstenv [rdi], 16 bits", "66 d9 37", [1], [2]],
    ["fnsave [rdi]", "dd 37", [1, 2], [4]],
    ["fninit; fnsave [rdi]; frstor [rdi], 16 bits", "db e3 66 dd 37 66 dd 27", [1], [2]],
    ["stmxcsr [rdi]", "0f ae 1f", [2], [4]],
    ["movsq", "48 a5", [4], [8]],
    ["rep movsd", "f3 a5", [2], [4]],
    ["rep stosq", "f3 48 ab", [4], [8]],
    ["rep movsb", "f3 a4", [], [1]],
    ["push rax", "48 8d 64 24 fd 50", [0], []],
    ["push ax", "48 8d 64 24 fe 66 50", [], [0]],
    ["call", "48 8d 64 24 fc e8 00 00 00 00", [0], []],
    ["prefetcht0 and clflush", "0f 18 0f 0f ae 3f", [], [1]],
  ] as [string, string, number[], number[]][])("%s", (_name, program, faults, passes) => {
    expect(faults.map((offset) => outcome(program, offset))).toEqual(faults.map(() => MISALIGNED));
    expect(passes.map((offset) => outcome(program, offset))).toEqual(passes.map(() => DONE));
  });

  test("needs CPL 3, CR0.AM and RFLAGS.AC", () => {
    expect(outcome("8b 07", 1, 0)).toBe(DONE);
    expect(outcome("8b 07", 1, 3, 0n)).toBe(DONE);
    expect(outcome("8b 07", 1, 3, AM, 0n)).toBe(DONE);
  });

  test("leaves registers and memory, and the return address is the instruction's", () => {
    expect(outcome("48 ff c0 48 01 07", 4)).toBe(MISALIGNED);
    expect([m.frame().rip, m.gpr("rax"), m.read(DATA)]).toEqual([BigInt(USER_CODE + 3), 1n, 0n]);
    expect(m.frame().rflags & 0x50000n).toBe(0x50000n);
  });

  test("comes before a page fault, and behind #GP of an address that is not canonical or must be aligned", () => {
    expect(outcome("8b 07", 0x1001)).toBe(MISALIGNED);
    expect(outcome("8b 07", 0xfff)).toBe(MISALIGNED);
    expect(outcome("8b 07", 0x1000)).toBe("#14(0x4)");
    expect(outcome("48 b8 01 00 00 00 00 00 00 80 8b 08", 0)).toBe("#13(0x0)");
    expect(outcome("0f 28 07", 8)).toBe("#13(0x0)");
  });

  test("begins and ends with POPF, and with the level, though the page was used before", () => {
    const set = "68 02 00 04 00 9d"; // push 0x40002; popf
    const clear = "6a 02 9d"; // push 2; popf
    expect(outcome(`8b 07 ${set} 8b 07`, 2, 3, AM, 0n)).toBe(MISALIGNED);
    expect(outcome(`8b 17 ${set} ${clear} 8b 07`, 2, 3, AM, 0n)).toBe(DONE);
    // From CPL 0, where nothing is checked, by IRETQ to CPL 3 and back by #UD.
    const frame = [USER_CODE, 0x2b, 0x40002, USER_STACK, 0x23];
    frame.forEach((word, i) => {
      m.write(STACK - 40 + 8 * i, word);
    });
    m.store(USER_CODE, code("8b 07"));
    m.long();
    m.set({ cr0: m.control("cr0") | AM, flags: AC | 2n, rdi: DATA + 2, rsp: STACK - 40 });
    expect(m.outcome(code("8b 07 48 cf"))).toBe(MISALIGNED);
    expect(m.frame().rip).toBe(BigInt(USER_CODE));
    m.wake();
    m.set({ rip: 0x12000 });
    expect(m.outcome(code("8b 07 0f 0b"))).toBe(DONE);
  });

  test("is checked in 32-bit code too", () => {
    m.protected32(3);
    m.set({ cr0: m.control("cr0") | AM, flags: 0x40002, rdi: DATA + 2 });
    expect(m.outcome(code("8b 07"))).toBe("#17(0x0)");
  });
});
