import { beforeEach, describe, expect, test } from "vitest";
import { BareMachine, CODE, code, DATA } from "./testing/bare-machine.ts";

/*
 * What this processor does not have: a guest that tries it gets the exception that says so, never something half done.
 * CPUID offers none of it (specs/cpuid-msr.md).
 */

const INVALID_OPCODE = "#6";
const PROTECTION = "#13(0x0)";

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
  m.set({ rdi: DATA });
});

describe("instructions of absent extensions are #UD", () => {
  const rows: [string, string[]][] = [
    [
      "SSE3 and SSSE3",
      ["f2 0f f0 07", "f2 0f d0 c1", "f3 0f 16 c1", "0f 38 00 c1", "66 0f 38 1c c1", "df 0f"],
    ],
    [
      "SSE4.1, SSE4.2 and SSE4a",
      ["66 0f 38 10 c1", "66 0f 3a 0b c1 00", "f2 0f 38 f1 c1", "66 0f 78 c1 00 00"],
    ],
    ["AES, PCLMULQDQ and SHA", ["66 0f 38 dc c1", "66 0f 3a 44 c1 00", "0f 38 c8 c1", "0f 3a cc c1 00"]],
    [
      "AVX, AVX2 and BMI (VEX)",
      ["c5 f8 77", "c5 f4 58 c2", "c4 e2 7d 58 c1", "c4 e2 78 f2 c1", "c4 e3 7b f0 c1 01"],
    ],
    ["AVX-512 (EVEX)", ["62 f1 74 48 58 c2", "62 f1 7c 48 10 07"]],
    ["XOP", ["8f e9 78 e1 c1", "8f e8 78 c0 c1 01"]],
    ["3DNow!", ["0f 0e", "0f 0f c1 9e", "0f 0f 07 b4"]],
    ["MOVBE, ADX and RDPID", ["0f 38 f0 07", "66 0f 38 f6 c1", "f3 0f 38 f6 c1", "f3 0f c7 f8"]],
    [
      "XSAVE",
      ["0f 01 d0", "0f 01 d1", "0f ae 27", "0f ae 2f", "0f ae 37", "0f c7 27", "0f c7 2f", "0f c7 1f"],
    ],
    ["PCID and protection keys", ["66 0f 38 82 07", "0f 01 ee", "0f 01 ef"]],
    ["shadow stacks", ["f3 0f ae e8", "f3 0f 01 ea", "f3 0f 01 e8", "0f 38 f6 07", "f3 0f ae 37"]],
    ["SVM", ["0f 01 d8", "0f 01 da", "0f 01 db", "0f 01 dc", "0f 01 dd", "0f 01 de", "0f 01 df"]],
    [
      "VMX and SMX",
      ["0f 01 c2", "0f 01 c3", "0f 01 c4", "0f c7 37", "66 0f c7 37", "f3 0f c7 37", "0f 78 07", "0f 37"],
    ],
    ["MONITOR and MWAIT", ["0f 01 c8", "0f 01 c9", "0f 01 fa", "0f 01 fb"]],
    ["WAITPKG and CLWB", ["f3 0f ae f1", "66 0f ae f1", "f2 0f ae f1", "66 0f ae 37"]],
    ["memory encryption", ["f2 0f 01 ff", "f3 0f 01 ff", "f2 0f 01 fe", "f3 0f 01 fe"]],
    ["transactions and fast returns", ["c7 f8 00 00 00 00", "c6 f8 00", "0f 01 d5", "0f 01 d6"]],
    ["system management mode", ["0f aa"]],
  ];
  test.each(rows)("%s", (_name, encodings) => {
    for (const encoding of encodings) {
      m.long();
      m.set({ rdi: DATA });
      expect([encoding, m.outcome(code(encoding))]).toEqual([encoding, INVALID_OPCODE]);
    }
  });
});

describe("encodings that older processors run as something else do so here", () => {
  test("LZCNT is BSR, TZCNT is BSF, POPCNT counts", () => {
    m.set({ rcx: 0x0010_0100 });
    // lzcnt eax, ecx; tzcnt edx, ecx; popcnt ebx, ecx
    expect(m.outcome(code("f3 0f bd c1 f3 0f bc d1 f3 0f b8 d9 f4"))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rdx"), m.gpr("rbx")]).toEqual([20n, 8n, 2n]);
  });

  test("ENDBR64, RDSSP, CLDEMOTE and PREFETCHIT are NOPs, WBNOINVD is WBINVD", () => {
    m.set({ rax: 0x1234 });
    expect(m.outcome(code("f3 0f 1e fa f3 48 0f 1e c8 0f 1c 07 0f 18 3f f3 0f 09 f4"))).toBe("halt");
    expect(m.gpr("rax")).toBe(0x1234n);
  });
});

describe("control bits of absent features", () => {
  test.each([
    ["VME", 0],
    ["PVI", 1],
    ["LA57", 12],
    ["VMXE", 13],
    ["SMXE", 14],
    ["PCIDE", 17],
    ["OSXSAVE", 18],
    ["PKE", 22],
    ["CET", 23],
    ["bit 24", 24],
    ["bit 31", 31],
    ["bit 32", 32],
  ])("CR4.%s is #GP(0) and changes nothing", (_name, bit) => {
    const before = m.control("cr4");
    m.set({ rax: before | (1n << BigInt(bit)) });
    expect(m.outcome(code("0f 22 e0"))).toBe(PROTECTION);
    expect(m.control("cr4")).toBe(before);
  });

  test.each([
    ["SVME", 12],
    ["LMSLE", 13],
    ["FFXSR", 14],
    ["TCE", 15],
    ["MCOMMIT", 17],
    ["INTWB", 18],
    ["UAIE", 20],
    ["AIBRSE", 21],
    ["bit 1", 1],
    ["bit 63", 63],
  ])("EFER.%s is #GP(0) and changes nothing", (_name, bit) => {
    const before = m.control("efer");
    const value = before | (1n << BigInt(bit));
    m.set({ rax: value & 0xffffffffn, rdx: value >> 32n, rcx: 0xc0000080n });
    expect(m.outcome(code("0f 30"))).toBe(PROTECTION);
    expect(m.control("efer")).toBe(before);
  });

  test("CR4.MCE is kept; there are no machine checks, whose registers are the host's to refuse", () => {
    m.set({ rax: m.control("cr4") | 0x40n });
    expect(m.outcome(code("0f 22 e0 0f 20 e3 f4"))).toBe("halt");
    expect(m.gpr("rbx") & 0x40n).toBe(0x40n);
    for (const msr of [0x179, 0x17a, 0x400]) {
      m.long();
      m.set({ rcx: msr });
      expect(m.outcome(code("0f 32"))).toBe(PROTECTION);
    }
  });

  test("CR8 has no second encoding: LOCK MOV CR0 is #UD, in all modes", () => {
    for (const encoding of ["f0 0f 20 c0", "f0 0f 22 c0", "f0 0f 20 d8"]) {
      m.long();
      expect(m.outcome(code(encoding))).toBe(INVALID_OPCODE);
      m.compatibility();
      expect(m.outcome(code(encoding))).toBe(INVALID_OPCODE);
      m.protected32();
      expect(m.outcome(code(encoding))).toBe(INVALID_OPCODE);
    }
  });
});

describe("virtual-8086 mode", () => {
  test("POPF leaves VM, VIF and VIP clear", () => {
    m.protected32();
    // push 0x1a0202; popf; pushf; pop eax
    expect(m.outcome(code("68 02 02 1a 00 9d 9c 58 f4"))).toBe("halt");
    expect(m.gpr("rax") & 0x1a0000n).toBe(0n);
  });
});

describe("FERR# and IRQ 13", () => {
  test("an unmasked x87 exception is #MF with CR0.NE = 0 too", () => {
    for (const cr0 of [0x80050013n, 0x80050033n]) {
      m.long();
      m.set({ cr0 });
      // fninit; fld1; fldz; fldcw with ZE unmasked; fdivp; fwait
      m.write(DATA, 0x37bn);
      m.set({ rdi: DATA });
      expect(m.outcome(code("db e3 d9 e8 d9 ee d9 2f de f9 9b f4"))).toBe("#16");
      expect(m.written).toEqual([]);
    }
  });
});

describe("caches", () => {
  test("INVD, WBINVD, prefetches and CR0.CD change neither memory nor registers", () => {
    m.write(DATA, 0x1234n);
    m.set({ rdx: 0x5678, rbx: 0xc0050033n });
    // mov [rdi],rdx; invd; wbinvd; prefetcht0 [rdi]; prefetchnta [rdi]; prefetchw [rdi]; mov cr0,rbx (CD); mov rax,[rdi]; clflush [rdi]; mov rcx,[rdi]
    const program = "48 89 17 0f 08 0f 09 0f 18 0f 0f 18 07 0f 0d 0f 0f 22 c3 48 8b 07 0f ae 3f 48 8b 0f f4";
    expect(m.outcome(code(program))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rcx"), m.read(DATA)]).toEqual([0x5678n, 0x5678n, 0x5678n]);
    expect(m.control("cr0")).toBe(0xc0050033n);
  });

  test("a prefetch does not fault, CLFLUSH checks its address like a load", () => {
    m.setPage(DATA, 0n);
    expect(m.outcome(code("0f 18 0f 0f 0d 0f 0f ae 3f"))).toBe("#14(0x0)");
    expect(m.frame().rip).toBe(BigInt(CODE + 6));
    m.long();
    m.set({ rdi: 0x8000_0000_0000n });
    expect(m.outcome(code("0f ae 3f"))).toBe(PROTECTION);
    m.setPage(DATA, 1n); // read-only is enough
    m.long();
    m.set({ rdi: DATA });
    expect(m.outcome(code("0f ae 3f f4"))).toBe("halt");
  });

  test("INVD and WBINVD are #GP(0) at CPL 3", () => {
    for (const encoding of ["0f 08", "0f 09"]) {
      m.long(3);
      expect(m.outcome(code(encoding))).toBe(PROTECTION);
    }
  });
});

describe("performance counters and branch records", () => {
  test("RDPMC is #GP(0) at any CPL, under CR4.PCE too", () => {
    for (const level of [0, 3] as const) {
      for (const counter of [0n, 1n, 0x4000_0000n, 0xffff_ffffn]) {
        m.long(level);
        m.set({ cr4: m.control("cr4") | 0x100n, rcx: counter });
        expect(m.outcome(code("0f 33"))).toBe(PROTECTION);
      }
    }
  });

  test("their registers are the host's to refuse", () => {
    for (const msr of [0xc1n, 0x186n, 0x1d9n, 0x1dbn, 0x38fn, 0xc0010000n, 0xc0010200n, 0xc000010en]) {
      for (const encoding of ["0f 32", "0f 30"]) {
        m.long();
        m.set({ rcx: msr });
        expect(m.outcome(code(encoding))).toBe(PROTECTION);
      }
    }
  });

  test("DR7.LE and GE are kept without effect", () => {
    m.set({ rax: 0x700 });
    expect(m.outcome(code("0f 23 f8 0f 21 fb f4"))).toBe("halt");
    expect(m.gpr("rbx")).toBe(0x700n);
  });
});
