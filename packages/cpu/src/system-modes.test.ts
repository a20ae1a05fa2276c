import { beforeEach, describe, expect, test } from "vitest";
import { ACTIVITY_RUNNING, ACTIVITY_WAIT_SIPI, MODE, X87_CONTROL, XMM } from "../assembly/layout.ts";
import {
  ACCESS,
  BareMachine,
  CODE,
  code,
  DATA,
  descriptor,
  FREE,
  GDT,
  KERNEL_CODE,
  STACK,
} from "./testing/bare-machine.ts";

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
});

describe("reset, INIT and start-up", () => {
  test("power-on: the reset vector, CR0 with CD and NW, DR6 and DR7", () => {
    m.processor.resetVcpu(0, "power-on");
    expect(m.rip()).toBe(0xfffffff0n);
    expect(m.segmentBase("cs")).toBe(0xffff0000n);
    expect(m.selector("cs")).toBe(0xf000);
    expect(m.segmentLimit("ds")).toBe(0xffff);
    expect(m.gpr("rdx")).toBe(0x00a00f11n);
    expect(m.control("cr0")).toBe(0x60000010n);
    expect(m.control("dr6")).toBe(0xffff0ff0n);
    expect(m.control("dr7")).toBe(0x400n);
    expect(m.systemFlags()).toBe(2n);
    expect(m.word(X87_CONTROL) & 0xffff).toBe(0x40);
    expect(m.processor.activity(0)).toBe(ACTIVITY_RUNNING);
  });

  test("INIT keeps the SSE registers and clears EFER", () => {
    m.processor.view.setUint32(XMM, 0x1234, true);
    m.processor.resetVcpu(0, "init");
    expect(m.word(XMM)).toBe(0x1234);
    expect(m.control("efer")).toBe(0n);
    expect(m.control("cr0")).toBe(0x10n);
  });

  test("another vCPU waits for its start-up IPI, runs from vector << 12 and enters long mode", async () => {
    m = await BareMachine.create(2);
    m.processor.resetVcpu(1, "power-on");
    m.processor.select(1);
    expect(m.processor.activity(1)).toBe(ACTIVITY_WAIT_SIPI);
    expect(m.processor.canInterrupt()).toBe(false);
    m.processor.startup(1, 0x0c);
    expect(m.processor.activity(1)).toBe(ACTIVITY_RUNNING);
    expect([m.selector("cs"), m.segmentBase("cs"), m.rip()]).toEqual([0xc00, 0xc000n, 0xc000n]);
    // GDT pointer at 0xcf00
    m.write(0xcf00, 0xffn | (BigInt(GDT) << 16n));
    m.store(
      0xc000,
      code(`
      fa                ; cli
      8c c8             ; mov ax, cs
      8e d8             ; mov ds, ax
      66                ; .byte 0x66
      0f 01 16 00 0f    ; lgdt [0xf00]
      0f 20 e0          ; mov eax, cr4
      66 83 c8 20       ; or eax, 0x20
      0f 22 e0          ; mov cr4, eax
      66 b8 00 10 00 00 ; mov eax, 0x1000
      0f 22 d8          ; mov cr3, eax
      66 b9 80 00 00 c0 ; mov ecx, 0xc0000080
      0f 32             ; rdmsr
      66 0d 00 01 00 00 ; or eax, 0x100
      0f 30             ; wrmsr
      0f 20 c0          ; mov eax, cr0
      66 0d 01 00 00 80 ; or eax, 0x80000001
      0f 22 c0          ; mov cr0, eax
      66 ea             ; .byte 0x66, 0xea
      00 d0 00 00       ; .long 0xd000
      08 00             ; .word 8
    `),
    );
    m.store(
      0xd000,
      code(`
      66 b8 10 00                   ; mov ax, 0x10
      8e d0                         ; mov ss, eax
      48 b8 f0 de bc 9a 78 56 34 12 ; mov rax, 0x123456789abcdef0
      48 89 04 25 00 00 05 00       ; mov [0x50000], rax
      f4                            ; hlt
    `),
    );
    const end = m.processor.now() + 10_000;
    let stop = m.processor.run(end);
    while (stop === "limit" && m.processor.now() < end) stop = m.processor.run(end);
    expect(stop).toBe("halt");
    expect(m.read(DATA)).toBe(0x1234_5678_9abc_def0n);
    expect(m.selector("cs")).toBe(KERNEL_CODE);
    expect(m.control("efer")).toBe(0x500n);
    expect(m.word(MODE)).toBe(0);
  });

  test("a start-up IPI to a vCPU that does not wait is ignored", () => {
    m.processor.startup(0, 0x0c);
    expect(m.rip()).toBe(BigInt(CODE));
  });
});

describe("real mode", () => {
  test("interrupts go through the vector table with FLAGS CS IP on a 16-bit stack", () => {
    m.real();
    m.write(0x80 * 4, 0x0100_2000n); // 0100:2000
    m.store(0x3000, code("f4"));
    m.set({ flags: 0x302 });
    expect(m.run(code("cd 80"))).toBe("halt");
    expect(m.rip()).toBe(0x3001n);
    expect(m.selector("cs")).toBe(0x100);
    expect(m.gpr("rsp")).toBe(0x8000n - 6n);
    expect([0, 2, 4].map((at) => m.read(0x8000 - 6 + at, 2))).toEqual([0xc002n, 0n, 0x302n]);
    expect(m.systemFlags() & 0x300n).toBe(0n);
  });

  test("IRET restores FLAGS, CS and IP", () => {
    m.real();
    m.write(0x80 * 4, 0x0100_2000n);
    m.store(0x3000, code("cf"));
    m.set({ flags: 0x202 });
    expect(m.run(code("cd 80 f4"))).toBe("halt");
    expect(m.rip()).toBe(0xc003n);
    expect(m.systemFlags()).toBe(0x202n);
    expect(m.gpr("rsp")).toBe(0x8000n);
  });

  test("far calls and returns change base = selector << 4 only", () => {
    m.real();
    m.store(0x12340 + 0x10, code("8c c8 cb")); // mov ax, cs; retf
    expect(
      m.run(
        code(`
      9a 10 00 34 12 ; call 0x1234:0x10
      8c cb          ; mov bx, cs
      f4             ; hlt
    `),
      ),
    ).toBe("halt");
    expect(m.gpr("rax")).toBe(0x1234n);
    expect(m.gpr("rbx")).toBe(0n);
  });

  test("an access beyond 64 KiB is #GP through the table", () => {
    m.real();
    m.write(13 * 4, 0x0000_3000n);
    m.store(0x3000, code("f4"));
    expect(
      m.run(
        code(`
      67 8a 83 00 00 01 00 ; mov al, [ebx + 0x10000]
    `),
      ),
    ).toBe("halt");
    expect(m.rip()).toBe(0x3001n);
    expect(m.read(m.gpr("rsp"), 2)).toBe(0xc000n);
  });

  test("limits loaded in protected mode stay (unreal mode)", () => {
    m.real();
    m.write(0xcf00, 0xffn | (BigInt(GDT) << 16n));
    m.setDescriptor(FREE, descriptor(ACCESS.DATA));
    m.write(0x200000, 0x77n);
    expect(
      m.run(
        code(`
      0f 01 16 00 cf    ; lgdt [0xcf00]
      0f 20 c0          ; mov eax, cr0
      0c 01             ; or al, 1
      0f 22 c0          ; mov cr0, eax
      bb 60 00          ; mov bx, 0x60
      8e db             ; mov ds, bx
      24 fe             ; and al, 0xfe
      0f 22 c0          ; mov cr0, eax
      31 db             ; xor bx, bx
      8e db             ; mov ds, bx
      66 bb 00 00 20 00 ; mov ebx, 0x200000
      67 8a 0b          ; mov cl, [ebx]
      f4                ; hlt
    `),
      ),
    ).toBe("halt");
    expect(m.gpr("rcx") & 0xffn).toBe(0x77n);
    expect(m.segmentLimit("ds")).toBe(0xffffffff);
    expect(m.segmentBase("ds")).toBe(0n);
  });

  test("LDT and task register instructions are #UD", () => {
    for (const bytes of ["0f 00 c0", "0f 00 c8", "0f 00 d0", "0f 00 d8", "0f 00 e0", "0f 02 c0", "63 c0"]) {
      m.real();
      m.write(6 * 4, 0x0000_3000n);
      m.store(0x3000, code("f4"));
      expect(m.run(code(bytes))).toBe("halt");
      expect(m.rip()).toBe(0x3001n);
    }
  });

  test("a vector beyond the table shuts down when #GP and #DF are beyond it too", () => {
    m.real();
    m.processor.view.setUint32(0x11b4, 0x1f, true);
    expect(m.run(code("cd 80"))).toBe("shutdown");
  });
});

describe("entering and leaving modes", () => {
  test("PG needs PE; NW needs CD; upper CR0 bits and reserved CR4 and EFER bits are #GP", () => {
    for (const [program, rax] of [
      ["0f 22 c0", 0x80000000n],
      ["0f 22 c0", 0xa0000011n],
      ["0f 22 c0", 0x1_8000_0011n],
      ["0f 22 c0", 0x11n], // 64-bit code cannot switch paging off
      ["0f 22 e0", 0x2020n], // CR4.VMXE
      ["0f 22 e0", 0x40020n], // CR4.OSXSAVE
      ["0f 22 e0", 0x600n], // PAE off in long mode
      ["0f 22 d8", 1n << 52n], // CR3 beyond the physical address
      ["44 0f 22 c0", 0x10n], // CR8
    ] as const) {
      m.long();
      m.set({ rax });
      expect(m.outcome(code(program))).toBe("#13(0x0)");
    }
    for (const efer of [0x1d01n, 0x4d01n, 0xc01n]) {
      m.long();
      m.set({ rax: efer, rcx: 0xc0000080n });
      expect(m.outcome(code("0f 30"))).toBe("#13(0x0)");
    }
  });

  test("long mode needs PAE", () => {
    m.protected32();
    m.set({ efer: 0x100, cr3: 0x1000, rax: 0x80000033n });
    expect(m.outcome(code("0f 22 c0"))).toBe("#13(0x0)");
  });

  test("legacy PAE paging refuses page-directory pointers with reserved bits when they are loaded", () => {
    const POINTERS = 0xa000;
    const OTHER = 0xa020;
    const LOAD = code("0f 20 c0 0d 00 00 00 80 0f 22 c0 0f 22 db f4"); // CR0.PG := 1; mov cr3, ebx
    const PHYSICAL_END = 1n << 40n;
    for (const reserved of [2n, 4n, 0x20n, 0x100n, PHYSICAL_END, 1n << 63n]) {
      for (const bad of [POINTERS, OTHER]) {
        m.write(POINTERS, 0x3001n);
        m.write(OTHER, 0x3001n);
        m.write(bad + 8, 1n | reserved);
        m.protected32();
        m.set({ cr4: 0x20, cr3: POINTERS, rbx: OTHER });
        expect(m.outcome(LOAD)).toBe("#13(0x0)");
        expect(m.read(m.gpr("rsp") + 4n, 4)).toBe(BigInt(CODE + (bad === OTHER ? 11 : 8)));
        m.write(bad + 8, reserved & ~1n); // not present: the rest does not matter
        m.protected32();
        m.set({ cr4: 0x20, cr3: POINTERS, rbx: OTHER });
        expect(m.run(LOAD)).toBe("halt");
        expect(m.control("cr3")).toBe(BigInt(OTHER));
      }
    }
  });

  test("compatibility mode can leave long mode", () => {
    m.compatibility();
    m.set({ rax: 0x33 });
    expect(m.run(code("0f 22 c0 f4"))).toBe("halt");
    expect(m.control("efer")).toBe(0x901n);
    expect(m.rip()).toBe(BigInt(CODE + 4));
  });

  test("CR1, CR5 and CR9 are #UD, before the check of CPL", () => {
    m.long(3);
    for (const bytes of ["0f 20 c8", "0f 20 e8", "44 0f 20 c8", "0f 22 f8"]) {
      m.long(3);
      expect(m.outcome(code(bytes))).toBe("#6");
    }
  });

  test("CR8 is the task priority", () => {
    m.set({ rax: 7 });
    expect(m.run(code("44 0f 22 c0 44 0f 20 c3 f4"))).toBe("halt");
    expect(m.taskPriority).toBe(7);
    expect(m.gpr("rbx")).toBe(7n);
  });

  test("LMSW sets PE but does not clear it", () => {
    m.protected32();
    m.set({ rax: 0xfff0 });
    expect(m.run(code("0f 01 f0 f4"))).toBe("halt");
    expect(m.control("cr0")).toBe(0x31n);
  });

  test("SMSW stores 16, 32 or 64 bits in a register, 16 in memory", () => {
    m.set({ rax: -1, rbx: -1, rcx: -1 });
    m.write(DATA, -1);
    expect(m.run(code("66 0f 01 e0 0f 01 e3 48 0f 01 e1 0f 01 24 25 00 00 05 00 f4"))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rbx"), m.gpr("rcx"), m.read(DATA)]).toEqual([
      0xffff_ffff_ffff_0033n,
      0x80050033n,
      0x80050033n,
      0xffff_ffff_ffff_0033n,
    ]);
  });

  test("32-bit code with a 16-bit stack segment uses SP", () => {
    m.protected32();
    m.setSegment("ss", 0x10, 0x0093, 0, 0xffff);
    m.set({ rsp: 0x7777_8000n });
    expect(m.run(code("50 f4"))).toBe("halt");
    expect(m.gpr("rsp")).toBe(0x7777_7ffcn);
    expect(STACK).toBeGreaterThan(0x8000);
  });
});
