import { beforeEach, describe, expect, test } from "vitest";
import { LDTR_ATTRIBUTES, LDTR_SELECTOR, TR_BASE, TR_SELECTOR } from "../assembly/layout.ts";
import {
  ACCESS,
  BareMachine,
  CODE,
  CODE16,
  CODE32,
  code,
  DATA,
  descriptor,
  FREE,
  GDT,
  gate,
  KERNEL_CODE,
  KERNEL_DATA,
  STACK,
  TASK,
  TSS,
  USER_CODE,
  USER_CODE64,
  USER_DATA,
} from "./testing/bare-machine.ts";

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
});

describe("privilege", () => {
  test.each([
    ["hlt", "f4"],
    ["clts", "0f 06"],
    ["invd", "0f 08"],
    ["wbinvd", "0f 09"],
    ["lgdt", "0f 01 14 25 00 00 05 00"],
    ["lidt", "0f 01 1c 25 00 00 05 00"],
    ["lldt", "0f 00 d0"],
    ["ltr", "0f 00 d8"],
    ["lmsw", "0f 01 f0"],
    ["invlpg", "0f 01 38"],
    ["mov cr3, rax", "0f 22 d8"],
    ["mov rax, cr0", "0f 20 c0"],
    ["rdmsr", "0f 32"],
    ["wrmsr", "0f 30"],
    ["swapgs", "0f 01 f8"],
    ["cli", "fa"],
    ["sti", "fb"],
    ["in al, 0x80", "e4 80"],
    ["out dx, eax", "ef"],
    ["rdpmc", "0f 33"],
    ["sysexit", "0f 35"],
  ])("%s is #GP(0) at CPL 3", (_, bytes) => {
    m.long(3);
    expect(m.outcome(code(bytes))).toBe("#13(0x0)");
    expect(m.frame().rip).toBe(BigInt(USER_CODE));
  });

  test.each([
    ["clac", "0f 01 ca"],
    ["stac", "0f 01 cb"],
    ["monitor", "0f 01 c8"],
    ["mwait", "0f 01 c9"],
    ["vmcall, unhandled", "0f 01 c1"],
    ["rdfsbase without CR4.FSGSBASE", "f3 48 0f ae c0"],
  ])("%s is #UD at CPL 3", (_, bytes) => {
    m.long(3);
    expect(m.outcome(code(bytes))).toBe("#6");
  });

  test("SWAPGS outside 64-bit mode is #UD", () => {
    m.compatibility();
    expect(m.outcome(code("0f 01 f8"))).toBe("#6");
  });

  test("SGDT SIDT SLDT STR SMSW at CPL 3 are #GP(0) under CR4.UMIP and allowed without", () => {
    for (const bytes of [
      "0f 01 04 25 00 00 05 00",
      "0f 01 0c 25 00 00 05 00",
      "0f 00 c0",
      "0f 00 c8",
      "0f 01 e0",
    ]) {
      m.long(3);
      m.set({ cr4: 0x620 | 0x800 });
      expect(m.outcome(code(bytes))).toBe("#13(0x0)");
      m.long(3);
      expect(m.outcome([...code(bytes), ...code("0f 0b")])).toBe("#6");
    }
  });

  test("RDTSC and RDTSCP at CPL 3 are #GP(0) under CR4.TSD", () => {
    for (const bytes of ["0f 31", "0f 01 f9"]) {
      m.long(3);
      m.set({ cr4: 0x624 });
      expect(m.outcome(code(bytes))).toBe("#13(0x0)");
      m.long(3);
      expect(m.outcome([...code(bytes), ...code("0f 0b")])).toBe("#6");
    }
  });

  test("INVLPG checks neither limit nor canonical form", () => {
    m.compatibility();
    m.set({ rax: 0xffffffff });
    expect(m.run(code("0f 01 38 f4"))).toBe("halt");
    m.long();
    m.set({ rax: 1n << 60n });
    expect(m.run(code("0f 01 38 f4"))).toBe("halt");
  });

  test("VMMCALL reaches the host", () => {
    expect(m.run(code("0f 01 d9 f4"))).toBe("halt");
  });
});

describe("flags", () => {
  test("POPF at CPL 0 sets IOPL and IF; VM, VIF, VIP and RF stay clear", () => {
    m.write(STACK - 8, 0x3f7fd7);
    m.set({ rsp: STACK - 8 });
    expect(m.run(code("9d f4"))).toBe("halt");
    // TF was loaded: the HLT traps, so look at what #DB pushed
    expect(m.vectorOf()).toBe(1);
    expect(m.frame().rflags).toBe(0x247fd7n);
  });

  test("POPF above IOPL changes neither IF nor IOPL and does not fault", () => {
    m.long(3);
    m.write(0x38000 - 8, 0x3000);
    m.set({ rsp: 0x38000 - 8, flags: 0x202 });
    expect(m.vectorOf(code("9d 0f 0b"))).toBe(6);
    expect(m.frame().rflags).toBe(0x10202n);
  });

  test("16-bit POPF keeps the upper half", () => {
    m.write(STACK - 8, 0x8d5);
    m.set({ rsp: STACK - 8, flags: 0x240002 });
    expect(m.run(code("66 9d 9c f4"))).toBe("halt");
    expect(m.read(STACK - 14)).toBe(0x2408d7n);
    expect(m.gpr("rsp")).toBe(BigInt(STACK - 14));
  });

  test("CLI and STI obey IOPL", () => {
    m.long(3);
    m.set({ flags: 0x3002 });
    expect(m.vectorOf(code("fb 90 0f 0b"))).toBe(6);
    expect(m.frame().rflags).toBe(0x13202n);
  });
});

describe("model-specific registers", () => {
  function wrmsr(msr: number, value: bigint): string {
    m.long();
    m.set({ rcx: msr, rax: value & 0xffffffffn, rdx: value >> 32n });
    return m.outcome(code("0f 30 f4"));
  }

  test("addresses must be canonical", () => {
    for (const msr of [0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102]) {
      expect(wrmsr(msr, 0x8000_0000_0000n)).toBe("#13(0x0)");
      expect(wrmsr(msr, 0xffff_8000_0000_0000n)).toBe("halt");
    }
  });

  test("SYSENTER_ESP and EIP have 32 bits (AMD)", () => {
    expect(wrmsr(0x176, 0x8000_1234_5678_9abcn)).toBe("halt");
    m.long();
    m.set({ rcx: 0x176, rdx: -1 });
    expect(m.run(code("0f 32 f4"))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rdx")]).toEqual([0x5678_9abcn, 0n]);
  });

  test("unknown ones are the host's; it can refuse", () => {
    expect(wrmsr(0x277, 1n)).toBe("#13(0x0)");
    m.msrs.set(0x277, 0n);
    expect(wrmsr(0x277, 0x0007_0406_0007_0406n)).toBe("halt");
    expect(m.msrs.get(0x277)).toBe(0x0007_0406_0007_0406n);
    m.long();
    m.set({ rcx: 0x277 });
    expect(m.run(code("0f 32 f4"))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rdx")]).toEqual([0x70406n, 0x70406n]);
  });

  test("SWAPGS exchanges GS.base and KERNEL_GS_BASE", () => {
    wrmsr(0xc0000101, 0x1111n);
    m.set({ rip: CODE, rcx: 0xc0000102, rax: 0x2222, rdx: 0 });
    m.wake();
    expect(m.run(code("0f 30 0f 01 f8 f4"))).toBe("halt");
    expect(m.segmentBase("gs")).toBe(0x2222n);
  });

  test("the TSC can be written and goes on from there; TSC_AUX comes with RDTSCP", () => {
    m.set({ rcx: 0x10, rdx: 5, rax: 0 });
    expect(
      m.run(
        code(`
      0f 30          ; wrmsr
      b9 03 01 00 c0 ; mov ecx, 0xc0000103
      b8 77 00 00 00 ; mov eax, 0x77
      31 d2          ; xor edx, edx
      0f 30          ; wrmsr
      0f 01 f9       ; rdtscp
      f4             ; hlt
    `),
      ),
    ).toBe("halt");
    expect(m.gpr("rcx")).toBe(0x77n);
    expect(m.gpr("rdx")).toBe(5n);
    expect(m.gpr("rax")).toBeLessThan(100n);
  });

  test("the host hears of a new TSC and cannot refuse it", () => {
    m.msrs.set(0x10, 0n);
    expect(wrmsr(0x10, 0x12_3456_789an)).toBe("halt");
    expect(m.msrs.get(0x10)).toBe(0x12_3456_789an);
    m.msrs.delete(0x10);
    expect(wrmsr(0x10, 0n)).toBe("halt");
  });

  test("LME cannot change while paging is on", () => {
    expect(wrmsr(0xc0000080, 0xc01n)).toBe("#13(0x0)");
    expect(wrmsr(0xc0000080, 0x101n)).toBe("halt");
    expect(m.control("efer")).toBe(0x501n);
  });

  test("WRFSBASE and RDGSBASE under CR4.FSGSBASE, 32-bit forms zero-extend", () => {
    m.set({ cr4: 0x10620, rax: 0x1234_5678_9abcn, rbx: -1 });
    expect(m.run(code("f3 48 0f ae d0 f3 0f ae c3 f4"))).toBe("halt");
    expect(m.segmentBase("fs")).toBe(0x1234_5678_9abcn);
    expect(m.gpr("rbx")).toBe(0x5678_9abcn);
    m.long();
    m.set({ cr4: 0x10620, rax: 1n << 63n });
    expect(m.outcome(code("f3 48 0f ae d8"))).toBe("#13(0x0)");
  });
});

describe("descriptor tables", () => {
  test("LGDT and LIDT load 10 bytes in 64-bit mode; a base that is not canonical is #GP", () => {
    m.write(DATA, 0x1234n | (0x1122_3344_5566n << 16n));
    m.write(DATA + 8, 0n);
    expect(m.run(code("0f 01 14 25 00 00 05 00 0f 01 04 25 10 00 05 00 f4"))).toBe("halt");
    expect(m.read(DATA + 16)).toBe(0x1234n | (0x1122_3344_5566n << 16n));
    m.long();
    m.write(DATA + 8, 0x80n);
    expect(m.outcome(code("0f 01 1c 25 00 00 05 00"))).toBe("#13(0x0)");
  });

  test("a 16-bit LGDT loads 24 bits of base", () => {
    m.protected32();
    m.write(DATA, 0xffn | (0xff00_6000n << 16n));
    expect(m.run(code("66 0f 01 15 00 00 05 00 0f 01 05 10 00 05 00 f4"))).toBe("halt");
    expect(m.read(DATA + 16)).toBe(0xffn | (0x6000n << 16n));
  });

  test("SGDT that crosses into a page that is not writable stores nothing", () => {
    m.setPage(0x51000, 1n);
    m.write(0x50ff8, -1);
    expect(m.outcome(code("0f 01 04 25 fa 0f 05 00"))).toBe("#14(0x3)");
    expect(m.read(0x50ff8)).toBe(0xffff_ffff_ffff_ffffn);
  });

  test("LTR marks the TSS busy and refuses a busy one, a null one, one in an LDT, one that is absent", () => {
    m.setDescriptor(FREE, descriptor(0x0089, 0x3456, 0x67), 0x1234n);
    m.set({ rax: FREE });
    expect(m.run(code("0f 00 d8 f4"))).toBe("halt");
    expect(m.read(GDT + FREE + 5, 1)).toBe(0x8bn);
    expect(m.word(TR_SELECTOR) & 0xffff).toBe(FREE);
    expect(m.processor.view.getBigUint64(TR_BASE, true)).toBe(0x1234_0000_3456n);
    for (const [selector, outcome] of [
      [FREE, "#13(0x60)"],
      [0, "#13(0x0)"],
      [FREE | 4, "#13(0x64)"],
      [KERNEL_DATA, "#13(0x10)"],
      [FREE + 16, "#11(0x70)"],
    ] as const) {
      m.long();
      m.setDescriptor(FREE + 16, descriptor(0x0009, 0x3456, 0x67), 0n);
      m.set({ rax: selector });
      expect(m.outcome(code("0f 00 d8"))).toBe(outcome);
    }
  });

  test("LLDT takes a null selector, and selectors with TI then fault", () => {
    m.setDescriptor(FREE, descriptor(0x0082, DATA, 0xf), 0n);
    m.write(DATA + 8, descriptor(ACCESS.DATA));
    m.set({ rax: FREE, rbx: 0xc });
    expect(m.run(code("0f 00 d0 8e c3 f4"))).toBe("halt"); // mov es, ebx
    expect(m.selector("es")).toBe(0xc);
    expect(m.word(LDTR_SELECTOR) & 0xffff).toBe(FREE);
    m.long();
    m.set({ rax: 0, rbx: 0xc });
    expect(m.outcome(code("0f 00 d0 8e c3"))).toBe("#13(0xc)");
    expect(m.word(LDTR_ATTRIBUTES) & 0xffff).toBe(0);
  });
});

describe("segment loads", () => {
  function load(index: number, selector: number, level: 0 | 3 = 0): string {
    m.long(level);
    m.set({ rax: selector });
    return m.outcome([0x8e, 0xc0 | (index << 3), ...code("0f 0b")]);
  }
  const ES = 0;
  const SS = 2;
  const GS = 5;

  test("data and readable code of sufficient privilege; others #GP, absent #NP", () => {
    m.setDescriptor(FREE, descriptor(ACCESS.DATA & ~0x80), descriptor((ACCESS.CODE64 & ~2) | 0x60));
    expect(load(ES, 0)).toBe("#6");
    expect(load(ES, 3)).toBe("#6");
    expect(load(ES, KERNEL_CODE)).toBe("#6");
    expect(load(GS, KERNEL_DATA | 3)).toBe("#13(0x10)");
    expect(load(ES, KERNEL_DATA, 3)).toBe("#13(0x10)");
    expect(load(ES, USER_DATA & ~3, 3)).toBe("#6");
    expect(load(ES, TASK)).toBe("#13(0x40)");
    expect(load(ES, FREE)).toBe("#11(0x60)");
    expect(load(ES, FREE + 8)).toBe("#13(0x68)");
    expect(load(ES, 0x100)).toBe("#13(0x100)");
    expect(load(ES, 0xfffc)).toBe("#13(0xfffc)");
  });

  test("conforming code may be read from any level", () => {
    m.setDescriptor(FREE, descriptor(ACCESS.CODE64 | 4));
    expect(load(ES, FREE, 3)).toBe("#6");
  });

  test("SS: RPL and DPL equal CPL, writable; null only below CPL 3; absent #SS", () => {
    m.setDescriptor(FREE, descriptor(ACCESS.DATA & ~0x80), descriptor(ACCESS.DATA & ~2));
    expect(load(SS, 0)).toBe("#6");
    expect(load(SS, 1)).toBe("#6"); // AMD: any RPL
    expect(load(SS, 3, 3)).toBe("#13(0x0)");
    expect(load(SS, KERNEL_DATA | 1)).toBe("#13(0x10)");
    expect(load(SS, USER_DATA)).toBe("#13(0x20)");
    expect(load(SS, KERNEL_CODE)).toBe("#13(0x8)");
    expect(load(SS, FREE)).toBe("#12(0x60)");
    expect(load(SS, FREE + 8)).toBe("#13(0x68)");
  });

  test("MOV to CS is #UD", () => {
    expect(m.outcome(code("8e c8"))).toBe("#6");
  });

  test("in 64-bit mode GS takes a 32-bit base, and a null selector clears it", () => {
    m.setDescriptor(FREE, descriptor(ACCESS.DATA, 0x89abcdef));
    m.set({ rax: FREE });
    expect(m.run(code("8e e8 f4"))).toBe("halt");
    expect(m.segmentBase("gs")).toBe(0x89abcdefn);
    m.long();
    m.set({ rax: 0 });
    expect(m.run(code("8e e8 f4"))).toBe("halt");
    expect(m.segmentBase("gs")).toBe(0n);
  });

  test("PUSH and POP of FS move 8 bytes in 64-bit mode", () => {
    m.setSegment("fs", USER_DATA, ACCESS.DATA | ACCESS.USER);
    expect(m.run(code("0f a0 0f a9 f4"))).toBe("halt"); // push fs; pop gs
    expect(m.selector("gs")).toBe(USER_DATA);
    expect(m.read(STACK - 8)).toBe(BigInt(USER_DATA));
    expect(m.gpr("rsp")).toBe(BigInt(STACK));
  });

  test("LSS loads stack segment and pointer together; a fault changes neither", () => {
    m.write(DATA, 0x12345n | (BigInt(KERNEL_DATA) << 32n));
    expect(m.run(code("0f b2 24 25 00 00 05 00 f4"))).toBe("halt");
    expect(m.gpr("rsp")).toBe(0x12345n);
    m.long();
    m.write(DATA, 0x12345n | (BigInt(USER_DATA) << 32n));
    expect(m.outcome(code("0f b2 24 25 00 00 05 00"))).toBe("#13(0x20)");
    expect(m.frame().rsp).toBe(BigInt(STACK));
  });
});

describe("limits and null segments outside 64-bit mode", () => {
  test("an access beyond the limit is #GP(0), on the stack #SS(0)", () => {
    m.protected32();
    m.setSegment("ds", 0x10, ACCESS.DATA & ~0x8000, 0, 0x50003);
    m.set({});
    expect(m.outcome(code("a1 00 00 05 00 a1 01 00 05 00"))).toBe("#13(0x0)");
    expect(m.read(STACK - 12, 4)).toBe(BigInt(CODE + 5));
    m.protected32();
    m.setSegment("ss", 0x10, ACCESS.DATA & ~0x8000, 0, STACK + 3);
    m.set({});
    expect(m.outcome(code("8b 04 24 8b 44 24 01"))).toBe("#12(0x0)");
  });

  test("a write to a segment that is not writable is #GP(0)", () => {
    m.protected32();
    m.setDescriptor(FREE, descriptor(ACCESS.DATA & ~2));
    m.set({ rax: FREE });
    expect(m.outcome(code("8e d8 8b 0d 00 00 05 00 89 0d 00 00 05 00"))).toBe("#13(0x0)"); // mov ds, eax; a read; a write
    expect(m.read(STACK - 12, 4)).toBe(BigInt(CODE + 8));
  });

  test("an operand counts in its whole length", () => {
    const LGDT = "0f 01 15";
    for (const [bytes, length] of [
      ["0f 01 05", 6], // sgdt
      [LGDT, 6],
      ["0f 00 05", 2], // sldt
      ["0f 00 25", 2], // verr
      ["0f 01 25", 2], // smsw
      ["8c 1d", 2], // mov m16, ds
      ["8e 05", 2], // mov es, m16
      ["63 05", 2], // arpl
      ["c4 05", 6], // les
      ["66 c4 05", 4],
      ["62 05", 8], // bound
      ["66 62 05", 4],
    ] as const) {
      for (const [beyond, outcome] of [
        [1, "#13(0x0)"],
        [0, "#6"],
      ] as const) {
        m.protected32();
        m.setSegment("ds", 0x10, ACCESS.DATA & ~0x8000, 0, DATA + 0xf);
        const at = 0x10 - length + beyond;
        m.write(DATA + at, bytes === LGDT ? 0xffn | (BigInt(GDT) << 16n) : 0n);
        m.set({ rax: 0 });
        expect(m.outcome([...code(bytes), at, 0, 5, 0, 0x0f, 0x0b])).toBe(outcome);
      }
    }
  });

  test("the second part of a far pointer or a BOUND pair wraps where the address size ends", () => {
    for (const [bytes, length] of [
      ["c4 06", 2], // les
      ["66 c4 06", 4],
      ["62 06", 2], // bound
      ["66 62 06", 4],
    ] as const) {
      for (const [misplaced, outcome] of [
        [0, "#6"],
        [1, "#13(0x0)"],
      ] as const) {
        m.protected32();
        m.setSegment("cs", CODE16, ACCESS.CODE16, 0, 0x1ffff);
        m.setSegment("ds", KERNEL_DATA, 0x93, DATA, 0xffff);
        m.write(DATA, 0n);
        m.write(DATA + 0xfff8, 0n);
        m.set({ rax: 0, rip: 0xc000 });
        const at = 0x10000 - length + misplaced;
        expect(m.outcome([...code(bytes), at & 255, at >> 8, 0x0f, 0x0b])).toBe(outcome);
      }
    }
  });

  test("a store through CS is #GP(0), a load is not", () => {
    for (const [bytes, outcome] of [
      ["2e 8c 1d", "#13(0x0)"], // mov cs:m16, ds
      ["2e 0f 01 05", "#13(0x0)"], // sgdt
      ["2e 0f 00 0d", "#13(0x0)"], // str
      ["2e 63 0d", "#13(0x0)"], // arpl that raises
      ["2e 63 05", "#6"], // arpl that does not
      ["2e c4 05", "#6"], // les
      ["2e 62 05", "#6"], // bound
      ["2e 8e 05", "#6"], // mov es, cs:m16
    ] as const) {
      m.protected32();
      m.write(DATA, 0n);
      m.set({ rax: 0, rcx: 3 });
      expect(m.outcome([...code(bytes), ...code("00 00 05 00 0f 0b")])).toBe(outcome);
    }
  });

  test("a null segment is #GP(0)", () => {
    m.protected32();
    m.set({ rax: 0 });
    expect(m.outcome(code("8e c0 26 a1 00 00 05 00"))).toBe("#13(0x0)");
  });

  test("an expand-down segment is valid above its limit", () => {
    m.protected32();
    m.setDescriptor(FREE, descriptor((ACCESS.DATA | 4) & ~0x8000, 0, 0x4ffff));
    m.set({ rax: FREE });
    expect(m.outcome(code("8e d8 a1 00 00 05 00 a1 ff ff 04 00"))).toBe("#13(0x0)");
    expect(m.read(STACK - 12, 4)).toBe(BigInt(CODE + 7));
  });
});

describe("LAR, LSL, VERR, VERW", () => {
  /** ZF and EAX after the instruction on `selector`. */
  function inspect(bytes: string, selector: number, level: 0 | 3 = 0): bigint | undefined {
    m.long(level);
    m.set({ rbx: selector, rax: 0x7777 });
    expect(m.vectorOf([...code(bytes), ...code("0f 0b")])).toBe(6);
    return m.frame().rflags & 0x40n ? m.gpr("rax") : undefined;
  }
  const LAR = "0f 02 c3";
  const LSL = "0f 03 c3";
  const VERR = "0f 00 e3";
  const VERW = "0f 00 eb";

  test("LAR gives the access rights of what CPL and RPL can reach", () => {
    expect(inspect(LAR, KERNEL_DATA)).toBe(0xcf9300n);
    expect(inspect(LAR, KERNEL_DATA | 3)).toBeUndefined();
    expect(inspect(LAR, KERNEL_DATA, 3)).toBeUndefined();
    expect(inspect(LAR, USER_CODE64, 3)).toBe(0xaffb00n);
    expect(inspect(LAR, 0)).toBeUndefined();
    expect(inspect(LAR, 0x1f8)).toBeUndefined();
  });

  test("LAR of 16 bits leaves the upper part of the register alone", () => {
    expect(inspect(`66 ${LAR}`, KERNEL_DATA)).toBe(0x9300n);
  });

  test("system types: TSS, LDT and call gates for LAR, no gates for LSL, no 16-bit ones in long mode", () => {
    for (const [type, lar, lsl] of [
      [0x81, false, false],
      [0x82, true, true],
      [0x84, false, false],
      [0x85, false, false],
      [0x89, true, true],
      [0x8b, true, true],
      [0x8c, true, false],
      [0x8e, false, false],
    ] as const) {
      m.setDescriptor(FREE, descriptor(type, 0, 0x67), 0n);
      expect(inspect(LAR, FREE) !== undefined).toBe(lar);
      expect(inspect(LSL, FREE) !== undefined).toBe(lsl);
    }
  });

  test("LSL scales by the granularity", () => {
    expect(inspect(LSL, KERNEL_DATA)).toBe(0xffffffffn);
    expect(inspect(LSL, CODE16)).toBe(0xffffn);
    expect(inspect(LSL, TASK)).toBe(0x88n);
  });

  test("VERR and VERW", () => {
    m.setDescriptor(FREE, descriptor(ACCESS.DATA & ~2), descriptor(ACCESS.CODE64 & ~2));
    const seen = (selector: number) => [
      inspect(VERR, selector) !== undefined,
      inspect(VERW, selector) !== undefined,
    ];
    expect(seen(KERNEL_DATA)).toEqual([true, true]);
    expect(seen(FREE)).toEqual([true, false]);
    expect(seen(FREE + 8)).toEqual([false, false]);
    expect(seen(KERNEL_CODE)).toEqual([true, false]);
    expect(seen(TASK)).toEqual([false, false]);
    expect(seen(0)).toEqual([false, false]);
  });
});

describe("ports", () => {
  function bitmap(...bytes: number[]): void {
    m.write(TSS + 0x60, 0x68n << 48n);
    m.store(TSS + 0x68, bytes);
  }

  test("IN and OUT in all widths at CPL 0", () => {
    m.portValue = 0x11223344;
    m.set({ rax: -1, rdx: 0x3f8 });
    expect(m.run(code("ec ee 66 ef ed ef e6 80 f4"))).toBe("halt");
    expect(m.written).toEqual([
      [0x3f8, 1, 0x44],
      [0x3f8, 2, 0xff44],
      [0x3f8, 4, 0x11223344],
      [0x80, 1, 0x44],
    ]);
    expect(m.gpr("rax")).toBe(0x11223344n);
  });

  test("CPL 3 needs a 0 in the bitmap for every byte of the access", () => {
    bitmap(0b1111_0000, 0xff);
    for (const [port, bytes, outcome] of [
      [0, "ed", "#6"],
      [1, "ed", "#13(0x0)"],
      [2, "66 ed", "#6"],
      [3, "66 ed", "#13(0x0)"],
      [3, "ec", "#6"],
      [4, "ec", "#13(0x0)"],
    ] as const) {
      m.long(3);
      m.set({ rdx: port });
      expect(m.outcome([...code(bytes), ...code("0f 0b")])).toBe(outcome);
    }
  });

  test("both bytes that are read must lie in the TSS", () => {
    bitmap(...new Array<number>(0x30).fill(0));
    // limit 0x88: the last byte pair is 0x87, 0x88, for ports 0xf8 to 0xff
    for (const [port, outcome] of [
      [0xff, "#6"],
      [0x100, "#13(0x0)"],
    ] as const) {
      m.long(3);
      m.set({ rdx: port });
      expect(m.outcome(code("ec 0f 0b"))).toBe(outcome);
    }
  });

  test("IOPL 3 opens all ports", () => {
    m.long(3);
    m.set({ flags: 0x3002 });
    expect(m.outcome(code("e6 80 0f 0b"))).toBe("#6");
    expect(m.written).toEqual([[0x80, 1, 0]]);
  });
});

describe("page rights", () => {
  test("SMEP: supervisor code on a user page is #PF with I/D", () => {
    m.setPage(DATA, 3n);
    m.set({ cr4: 0x100620, rax: 0x60000 });
    for (const page of [CODE, 0x20000, STACK - 1, 0x6000, 0x7000, 0x9000]) m.setPage(page & ~0xfff, 3n);
    m.processor.applyRegisters();
    expect(m.outcome(code("ff e0"))).toBe("#14(0x11)"); // jmp rax
    expect(m.control("cr2")).toBe(0x60000n);
  });

  test("SMAP: supervisor data on a user page is #PF unless STAC", () => {
    for (const page of [CODE, 0x20000, STACK - 1, 0x6000, 0x7000, 0x9000]) m.setPage(page & ~0xfff, 3n);
    m.set({ cr4: 0x200620 });
    const read = "8a 04 25 00 00 05 00";
    expect(m.outcome(code(`0f 01 cb ${read} 0f 01 ca ${read}`))).toBe("#14(0x1)");
    expect(m.frame().rip).toBe(BigInt(CODE + 13));
    expect(m.frame().rflags & 0x40000n).toBe(0n);
  });
});

describe("identification, time and randomness", () => {
  test("CPUID zero-extends its four registers", () => {
    m.set({ rax: -1n << 32n, rbx: -1, rcx: 3, rdx: -1 });
    expect(m.run(code("0f a2 f4"))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rbx"), m.gpr("rcx"), m.gpr("rdx")]).toEqual([0n, 3n, 0x1234n, 0x5678n]);
  });

  test("RDRAND sets CF and clears the other flags, in three widths", () => {
    m.set({ rbx: -1 });
    expect(m.vectorOf(code("48 83 f8 01 48 0f c7 f0 0f c7 f9 66 0f c7 f3 0f 0b"))).toBe(6);
    expect(m.gpr("rax")).toBe(0x0123_4567_89ab_cdefn);
    expect(m.gpr("rcx")).toBe(0x89ab_cdefn);
    expect(m.gpr("rbx")).toBe(0xffff_ffff_ffff_cdefn);
    expect(m.frame().rflags & 0x8d5n).toBe(1n);
  });
});

describe("old instructions", () => {
  beforeEach(() => m.protected32());

  test("PUSHA stores the SP from before, POPA skips it", () => {
    m.set({ rax: 1, rcx: 2, rdx: 3, rbx: 4, rbp: 6, rsi: 7, rdi: 8 });
    expect(m.run(code("60 f4"))).toBe("halt");
    expect([0, 4, 8, 12, 16, 20, 24, 28].map((at) => m.read(STACK - 32 + at, 4))).toEqual([
      8n,
      7n,
      6n,
      BigInt(STACK),
      4n,
      3n,
      2n,
      1n,
    ]);
    m.wake();
    m.store(CODE + 2, code("31 c0 31 ff 61 f4"));
    expect(m.run()).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rdi"), m.gpr("rsp")]).toEqual([1n, 8n, BigInt(STACK)]);
  });

  test("ENTER copies frame pointers", () => {
    m.write(STACK + 0x100 - 4, 0xaaaa);
    m.set({ rbp: STACK + 0x100 });
    expect(m.run(code("c8 10 00 02 f4"))).toBe("halt");
    expect([0, -4, -8].map((at) => m.read(STACK - 4 + at, 4))).toEqual([
      BigInt(STACK + 0x100),
      0xaaaan,
      BigInt(STACK - 4),
    ]);
    expect([m.gpr("rbp"), m.gpr("rsp")]).toEqual([BigInt(STACK - 4), BigInt(STACK - 12 - 16)]);
  });

  test("ENTER faults when the page of the new stack pointer cannot be written", () => {
    m.long();
    m.setPage(STACK - 0x4000, 1n);
    m.set({ rbp: 0x1234 });
    expect(m.outcome(code("c8 00 30 00"))).toBe("#14(0x3)");
    expect(m.control("cr2")).toBe(BigInt(STACK - 0x3008));
    expect(m.frame()).toMatchObject({ rip: BigInt(CODE), rsp: BigInt(STACK) });
    expect(m.gpr("rbp")).toBe(0x1234n);
    m.setPage(STACK - 0x4000, 3n);
    m.long();
    expect(m.run(code("c8 00 30 00 f4"))).toBe("halt");
    expect([m.gpr("rsp"), m.gpr("rbp")]).toEqual([BigInt(STACK - 0x3008), BigInt(STACK - 8)]);
  });

  test("BOUND compares signed and faults outside", () => {
    m.write(DATA, 0xffff_fffen | (5n << 32n));
    m.set({ rax: 5, rbx: -2 });
    expect(m.outcome(code("62 05 00 00 05 00 62 1d 00 00 05 00 40 62 05 00 00 05 00"))).toBe("#5");
    expect(m.read(STACK - 12, 4)).toBe(BigInt(CODE + 13));
  });

  test("ARPL raises the RPL", () => {
    m.set({ rax: 0x10, rcx: 0x23, rdx: 0 });
    expect(m.run(code("63 c8 0f 94 c2 63 c8 0f 94 c3 f4"))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rdx"), m.gpr("rbx")]).toEqual([0x13n, 1n, 0n]);
  });

  test.each([
    ["daa", "27", 0x79, 0x10, 0x7f, 0x10],
    ["daa with both corrections", "27", 0x9a, 0, 0x00, 0x11],
    ["das", "2f", 0x47, 0x11, 0xe1, 0x11],
    ["aaa", "37", 0x000b, 0, 0x0101, 0x11],
    ["aas, with a borrow out of AL", "3f", 0x0205, 0x10, 0x000f, 0x11],
    ["aam", "d4 0a", 0x003b, 0, 0x0509, 0],
    ["aad", "d5 0a", 0x0509, 0, 0x003b, 0],
  ])("%s", (_, bytes, ax, flags, result, carries) => {
    m.set({ rax: ax });
    m.write(STACK - 4, flags);
    m.set({ rsp: STACK - 4 });
    // popfd; the instruction; pushfd
    expect(m.run([0x9d, ...code(bytes), ...code("9c f4")])).toBe("halt");
    expect(m.gpr("rax")).toBe(BigInt(result));
    if (bytes.length === 2) expect(m.read(STACK - 4, 4) & 0x11n).toBe(BigInt(carries));
  });

  test("AAM 0 is #DE", () => {
    expect(m.outcome(code("d4 00"))).toBe("#0");
  });

  test("XLAT reads DS:[EBX + AL]", () => {
    m.store(DATA + 5, [0x99]);
    m.set({ rax: 0x105, rbx: DATA });
    expect(m.run(code("d7 f4"))).toBe("halt");
    expect(m.gpr("rax")).toBe(0x199n);
  });

  test("INTO takes vector 4 when OF is set", () => {
    m.set({ rax: 0x7fffffff });
    expect(m.vectorOf(code("31 c9 ce 40 ce"))).toBe(4);
    expect(m.read(STACK - 12, 4)).toBe(BigInt(CODE + 5));
  });
});

test("gates of 16 bytes split their offset", () => {
  expect(gate(CODE32, 0x1122_3344_5566_7788n, 0x8e)).toEqual([0x5566_8e00_0030_7788n, 0x1122_3344n]);
});
