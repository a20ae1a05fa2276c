import { beforeEach, describe, expect, test } from "vitest";
import { STAR } from "../assembly/layout.ts";
import {
  ACCESS,
  BareMachine,
  CODE,
  CODE32,
  code,
  DATA,
  descriptor,
  FREE,
  gate,
  KERNEL_CODE,
  KERNEL_DATA,
  STACK,
  STACK0,
  TASK,
  USER_CODE,
  USER_CODE32,
  USER_CODE64,
  USER_DATA,
  USER_STACK,
} from "./testing/bare-machine.ts";

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
});

/** A far pointer of 32 bits at DATA, and one of 64 bits at DATA + 16. */
function pointer(selector: number, offset: number): void {
  m.write(DATA, BigInt(offset) | (BigInt(selector) << 32n));
  m.write(DATA + 16, BigInt(offset));
  m.write(DATA + 24, BigInt(selector));
}
const JMP = code(`
  ff 2c 25 00 00 05 00 ; jmp fword ptr [0x50000]
`);
const CALL = code(`
  ff 1c 25 00 00 05 00 ; call fword ptr [0x50000]
`);

describe("far JMP and CALL", () => {
  test("JMP to 32-bit code enters compatibility mode, and back", () => {
    pointer(CODE32, 0x12000);
    m.store(
      0x12000,
      code(`
      b8 ff ff ff ff ; mov eax, -1
      40             ; inc eax            # 40: a REX prefix in 64-bit code
      ea             ; .byte 0xea
      00 30 01 00    ; .long 0x13000
      08 00          ; .word 8
    `),
    );
    m.store(0x13000, code("48 ff c8 0f 0b")); // dec rax
    m.set({ rax: 0x1234_5678_9abc_def0n });
    expect(m.vectorOf(JMP)).toBe(6);
    expect(m.gpr("rax")).toBe(0xffff_ffff_ffff_ffffn);
    expect(m.frame()).toMatchObject({ cs: KERNEL_CODE, rip: 0x13003n });
  });

  test("CALL pushes CS and RIP in the operand size; RETF takes them and its parameters", () => {
    pointer(KERNEL_CODE, 0x12000);
    m.store(
      0x12000,
      code(`
      48 8b 1c 24 ; mov rbx, [rsp]
      ca 08 00    ; retf 8
    `),
    );
    expect(m.vectorOf([...CALL, ...code("0f 0b")])).toBe(6);
    expect(m.gpr("rbx")).toBe((BigInt(KERNEL_CODE) << 32n) | BigInt(CODE + CALL.length));
    expect(m.frame().rsp).toBe(BigInt(STACK + 8));
  });

  test("CALL to an offset beyond the limit has written the return address, and keeps the stack pointer", () => {
    m.long(3);
    m.setDescriptor(FREE, descriptor(ACCESS.CODE32 | ACCESS.USER, 0, 7));
    pointer(FREE | 3, 0x8000);
    expect(m.vectorOf(CALL)).toBe(13);
    expect(m.frame().rsp).toBe(BigInt(USER_STACK));
    expect(m.read(USER_STACK - 8)).toBe((BigInt(USER_CODE64) << 32n) | BigInt(USER_CODE + CALL.length));
  });

  test("a near CALL reports a stack that cannot take the return address before a target that is none (AMD)", () => {
    m.long(3);
    m.set({ rax: 1n << 60n, rsp: 1n << 61n });
    expect(m.vectorOf(code("ff d0"))).toBe(12);
    m.long(3);
    m.set({ rax: 1n << 60n });
    m.write(USER_STACK - 8, 7n);
    expect(m.vectorOf(code("ff d0"))).toBe(13);
    expect(m.read(USER_STACK - 8)).toBe(7n);
    m.compatibility(3);
    m.set({ rsp: 0xf000_0000 });
    m.setSegment("cs", USER_CODE32, ACCESS.CODE32 | ACCESS.USER, 0, 0xf_ffff);
    m.processor.applyRegisters();
    expect(m.vectorOf(code("e8 00 00 00 40"))).toBe(14);
  });

  test("faults name the selector and change nothing", () => {
    m.setDescriptor(FREE, descriptor(ACCESS.CODE64 & ~0x80));
    m.setDescriptor(FREE + 8, descriptor(ACCESS.CODE64 | 0x4000));
    const targets = [
      [0, "#13(0x0)"],
      [3, "#13(0x0)"],
      [KERNEL_DATA, "#13(0x10)"],
      [KERNEL_CODE | 3, "#13(0x8)"],
      [USER_CODE64, "#13(0x28)"],
      [0x1f8, "#13(0x1f8)"],
      [FREE, "#11(0x60)"],
      [FREE + 8, "#13(0x68)"],
      [TASK, "#13(0x40)"],
      [KERNEL_CODE | 4, "#13(0xc)"], // an LDT that is not there
    ] as const;
    for (const [selector, outcome] of targets) {
      for (const instruction of [JMP, CALL]) {
        m.long();
        pointer(selector, 0x12000);
        expect(m.outcome(instruction)).toBe(outcome);
        expect(m.frame()).toMatchObject({ rip: BigInt(CODE), cs: KERNEL_CODE, rsp: BigInt(STACK) });
      }
    }
  });

  test("a target beyond the limit of a 32-bit segment is #GP(0)", () => {
    m.setDescriptor(FREE, descriptor(ACCESS.CODE32 & ~0x8000, 0, 0x11fff));
    pointer(FREE, 0x12000);
    expect(m.outcome(JMP)).toBe("#13(0x0)");
  });

  test("conforming code is entered from CPL 3 and stays at CPL 3", () => {
    m.long(3);
    m.setDescriptor(FREE, descriptor(ACCESS.CODE64 | 4));
    pointer(FREE, 0x12000);
    m.store(0x12000, code("0f 0b"));
    expect(m.vectorOf(JMP)).toBe(6);
    expect(m.frame().cs).toBe(FREE | 3);
  });
});

describe("64-bit call gates", () => {
  beforeEach(() => {
    m.setDescriptor(FREE, ...gate(KERNEL_CODE, 0x12000n, 0xec));
    m.store(0x12000, code("0f 0b"));
  });

  test("CALL to an inner level switches to RSP0, with SS RSP CS RIP in 8 bytes each", () => {
    m.long(3);
    pointer(FREE | 3, 0x77777777);
    expect(m.vectorOf(CALL)).toBe(6);
    const at = STACK0 - 32;
    expect(m.frame()).toMatchObject({ cs: KERNEL_CODE, rip: 0x12000n, rsp: BigInt(at), ss: 0 });
    expect([0, 8, 16, 24].map((i) => m.read(at + i))).toEqual([
      BigInt(USER_CODE + CALL.length),
      BigInt(USER_CODE64),
      BigInt(USER_STACK),
      BigInt(USER_DATA),
    ]);
  });

  test("RETF from the gate returns to CPL 3 and clears data segments of inner levels", () => {
    m.long(3);
    m.store(
      0x12000,
      code(`
      b8 10 00 00 00 ; mov eax, 0x10
      8e d8          ; mov ds, eax
      b8 23 00 00 00 ; mov eax, 0x23
      8e c0          ; mov es, eax
      48 cb          ; retfq
    `),
    );
    pointer(FREE, 0);
    expect(m.vectorOf([...CALL, ...code("0f 0b")])).toBe(6);
    expect(m.frame()).toMatchObject({ cs: USER_CODE64, ss: USER_DATA, rsp: BigInt(USER_STACK) });
    expect(m.selector("ds")).toBe(0);
    expect(m.selector("es")).toBe(USER_DATA);
  });

  test("CALL at the same level keeps the stack", () => {
    pointer(FREE, 0);
    expect(m.vectorOf(CALL)).toBe(6);
    expect(m.frame()).toMatchObject({ rsp: BigInt(STACK - 16), ss: KERNEL_DATA });
  });

  test("JMP cannot go to an inner level", () => {
    m.long(3);
    pointer(FREE, 0);
    expect(m.outcome(JMP)).toBe("#13(0x8)");
  });

  test("DPL, presence, the upper type and the code segment are checked", () => {
    const gates = [
      [gate(KERNEL_CODE, 0x12000n, 0x8c), "#13(0x60)"],
      [gate(KERNEL_CODE, 0x12000n, 0x6c), "#11(0x60)"],
      [gate(0, 0x12000n, 0xec), "#13(0x0)"],
      [gate(CODE32, 0x12000n, 0xec), "#13(0x30)"],
      [gate(KERNEL_DATA, 0x12000n, 0xec), "#13(0x10)"],
      [gate(KERNEL_CODE, 1n << 50n, 0xec), "#13(0x0)"],
      [[gate(KERNEL_CODE, 0x12000n, 0xec)[0], 1n << 40n], "#13(0x60)"],
    ] as const;
    for (const [entry, outcome] of gates) {
      m.long(3);
      m.setDescriptor(FREE, ...entry);
      pointer(FREE | 3, 0);
      expect(m.outcome(CALL)).toBe(outcome);
    }
  });
});

describe("32-bit call gates", () => {
  test("copy their parameters to the inner stack, and RETF n drops them from both", () => {
    m.protected32(3);
    m.setDescriptor(FREE, gate(CODE32, 0x12000n, 0xec, 2)[0]);
    pointer(FREE, 0);
    m.store(
      0x12000,
      code(`
      8b 5c 24 08 ; mov ebx, [esp+8]
      8b 4c 24 0c ; mov ecx, [esp+12]
      8b 54 24 10 ; mov edx, [esp+16]
      ca 08 00    ; retf 8
    `),
    );
    expect(
      m.vectorOf(
        code(`
      68 11 11 00 00    ; push 0x1111
      68 22 22 00 00    ; push 0x2222
      ff 1d 00 00 05 00 ; call fword ptr [0x50000]
      0f 0b             ; ud2
    `),
      ),
    ).toBe(6);
    expect([m.gpr("rbx"), m.gpr("rcx"), m.gpr("rdx")]).toEqual([0x2222n, 0x1111n, BigInt(USER_STACK - 8)]);
    // ESP as #UD from CPL 3 pushed it: both parameters are gone.
    expect(m.read(STACK0 - 8, 4)).toBe(BigInt(USER_STACK));
  });
});

describe("IRET", () => {
  /** Pushes an IRETQ frame. */
  function iret(cs: number, rip: bigint, ss: number, rflags = 2, rsp = USER_STACK): void {
    const at = STACK - 40;
    [rip, BigInt(cs), BigInt(rflags), BigInt(rsp), BigInt(ss)].forEach((word, i) => {
      m.write(at + 8 * i, word);
    });
    m.set({ rsp: at });
  }
  const IRETQ = code("48 cf");

  test("to CPL 3 loads SS:RSP, clears inner data segments and keeps user ones", () => {
    m.setSegment("es", USER_DATA, ACCESS.DATA | ACCESS.USER);
    iret(USER_CODE64, BigInt(USER_CODE), USER_DATA, 0x3202);
    m.store(USER_CODE, code("0f 0b"));
    expect(m.vectorOf(IRETQ)).toBe(6);
    expect(m.frame()).toMatchObject({ cs: USER_CODE64, ss: USER_DATA, rflags: 0x13202n });
    expect([m.selector("ds"), m.selector("es"), m.selector("gs")]).toEqual([0, USER_DATA, 0]);
  });

  test("RETF reads CS before RIP, IRET RFLAGS before both; then SS before RSP, and before any descriptor (AMD)", () => {
    const PAGE = 0x2f000;
    m.setPage(PAGE, 0n);
    for (const [bytes, words, mapped, first] of [
      ["48 cb", 2, 0, 1],
      ["48 cb", 2, 1, 1],
      ["48 cf", 3, 0, 2],
      ["48 cf", 3, 1, 2],
    ] as const) {
      // `mapped` words of the frame lie on the page below, the rest on the page that is absent
      m.long();
      const at = PAGE - 8 * mapped;
      m.set({ rsp: at });
      expect(m.outcome(code(bytes))).toBe("#14(0x0)");
      expect(m.control("cr2")).toBe(BigInt(at + 8 * first));
      // the inner part of the frame is there, with a selector that is not, and the outer part is absent
      m.long();
      m.write(PAGE - 8 * words + 8, 0x1fbn);
      m.set({ rsp: PAGE - 8 * words });
      expect(m.outcome(code(bytes))).toBe("#14(0x0)");
      expect(m.control("cr2")).toBe(BigInt(PAGE + 8));
    }
  });

  test("to compatibility mode needs an offset within the limit, in all 64 bits; so does RETF", () => {
    for (const offset of [0x1_0001_0100n, 1n << 32n]) {
      m.long();
      iret(CODE32, offset, KERNEL_DATA);
      expect(m.outcome(IRETQ)).toBe("#13(0x0)");
      expect(m.frame()).toMatchObject({ rip: BigInt(CODE), rsp: BigInt(STACK - 40) });
      m.long();
      iret(CODE32, offset, KERNEL_DATA);
      expect(m.outcome(code("48 cb"))).toBe("#13(0x0)");
      expect(m.frame()).toMatchObject({ rip: BigInt(CODE), rsp: BigInt(STACK - 40) });
    }
  });

  test("to compatibility mode", () => {
    iret(USER_CODE32, BigInt(USER_CODE), USER_DATA);
    m.store(USER_CODE, code("48 0f 0b")); // dec eax; ud2
    m.set({ rax: 5 });
    expect(m.vectorOf(IRETQ)).toBe(6);
    expect(m.gpr("rax")).toBe(4n);
    expect(m.frame().cs).toBe(USER_CODE32);
  });

  test("within CPL 0 of 64-bit mode SS may be null", () => {
    iret(KERNEL_CODE, 0x12000n, 0, 2, STACK);
    m.store(0x12000, code("0f 0b"));
    expect(m.vectorOf(IRETQ)).toBe(6);
    expect(m.frame()).toMatchObject({ ss: 0, rsp: BigInt(STACK) });
  });

  test("faults leave RSP as it was", () => {
    m.setDescriptor(FREE, descriptor((ACCESS.DATA | ACCESS.USER) & ~0x80));
    const frames = [
      [0, 0x12000n, USER_DATA, "#13(0x0)"],
      [USER_CODE64, 1n << 47n, USER_DATA, "#13(0x0)"],
      [USER_CODE64, 0x12000n, 0, "#13(0x0)"],
      [USER_CODE64, 0x12000n, KERNEL_DATA, "#13(0x10)"],
      [USER_CODE64, 0x12000n, FREE | 3, "#12(0x60)"],
      [USER_CODE64 & ~3, 0x12000n, USER_DATA, "#13(0x28)"],
      [KERNEL_DATA, 0x12000n, KERNEL_DATA, "#13(0x10)"],
      [KERNEL_CODE, 0x12000n, USER_DATA, "#13(0x20)"],
    ] as const;
    for (const [cs, rip, ss, outcome] of frames) {
      m.long();
      iret(cs, rip, ss);
      expect(m.outcome(IRETQ)).toBe(outcome);
      expect(m.frame()).toMatchObject({ rip: BigInt(CODE), rsp: BigInt(STACK - 40) });
    }
  });

  test("with NT set is #GP(0) in long mode", () => {
    iret(KERNEL_CODE, 0x12000n, KERNEL_DATA);
    m.set({ flags: 0x4002 });
    expect(m.outcome(IRETQ)).toBe("#13(0x0)");
  });

  test("at CPL 3 keeps IOPL and IF", () => {
    m.long(3);
    m.set({ flags: 0x202 });
    [BigInt(USER_CODE + 0x100), BigInt(USER_CODE64), 0x3000n, BigInt(USER_STACK), BigInt(USER_DATA)].forEach(
      (word, i) => {
        m.write(USER_STACK - 40 + 8 * i, word);
      },
    );
    m.set({ rsp: USER_STACK - 40 });
    m.store(USER_CODE + 0x100, code("0f 0b"));
    expect(m.vectorOf(IRETQ)).toBe(6);
    expect(m.frame().rflags).toBe(0x10202n);
  });

  test("in 32-bit code a return to virtual-8086 mode is #GP(0)", () => {
    m.protected32();
    m.write(STACK - 12, BigInt(CODE) | (BigInt(CODE32) << 32n));
    m.write(STACK - 4, 0x20002n);
    m.set({ rsp: STACK - 12 });
    expect(m.outcome(code("cf"))).toBe("#13(0x0)");
  });
});

describe("SYSCALL and SYSRET", () => {
  test("SYSCALL saves RIP and RFLAGS, masks flags and loads flat segments", () => {
    m.long(3);
    m.set({ lstar: 0x12000, sfmask: 0x40200, flags: 0x40202 });
    m.store(0x12000, code("0f 0b"));
    expect(m.vectorOf(code("f9 0f 05"))).toBe(6); // stc; syscall
    expect(m.gpr("rcx")).toBe(BigInt(USER_CODE + 3));
    expect(m.gpr("r11")).toBe(0x40203n);
    expect(m.frame()).toMatchObject({ cs: KERNEL_CODE, ss: KERNEL_DATA, rip: 0x12000n, rflags: 0x10003n });
  });

  test("SYSRETQ returns to STAR + 16, SYSRETL to STAR in compatibility mode", () => {
    for (const [bytes, cs] of [
      ["48 0f 07", USER_CODE64],
      ["0f 07", USER_CODE32],
    ] as const) {
      m.long();
      m.set({ rcx: USER_CODE, r11: 0x13246 });
      m.store(USER_CODE, code("0f 0b"));
      expect(m.vectorOf(code(bytes))).toBe(6);
      // RF of R11 is ignored; #UD then sets it in the image.
      expect(m.frame()).toMatchObject({ cs, ss: 0x20, rflags: 0x13246n, rip: BigInt(USER_CODE) });
      expect(m.frame().rsp).toBe(BigInt(STACK));
    }
  });

  test("from compatibility mode SYSCALL enters 64-bit code at CSTAR (AMD)", () => {
    m.compatibility(3);
    m.processor.view.setBigUint64(STAR + 16, 0x12000n, true);
    m.store(0x12000, code("48 89 c8 0f 0b")); // mov rax, rcx
    expect(m.vectorOf(code("0f 05"))).toBe(6);
    expect(m.gpr("rax")).toBe(BigInt(USER_CODE + 2));
    expect(m.frame().cs).toBe(KERNEL_CODE);
  });

  test("SYSRET to an address that is not canonical faults at CPL 3 (AMD)", () => {
    m.set({ rcx: 1n << 60n, r11: 2 });
    expect(m.outcome(code("48 0f 07"))).toBe("#13(0x0)");
    expect(m.frame()).toMatchObject({ cs: USER_CODE64, rip: 1n << 60n });
    expect(m.gpr("rsp")).toBe(BigInt(STACK0 - 48));
  });

  test("without EFER.SCE both are #UD; SYSRET outside CPL 0 is #GP", () => {
    m.set({ efer: 0xd00 });
    expect(m.outcome(code("0f 05"))).toBe("#6");
    m.long(3);
    expect(m.outcome(code("48 0f 07"))).toBe("#13(0x0)");
  });
});

describe("SYSENTER and SYSEXIT", () => {
  test("are #UD in long mode (AMD)", () => {
    expect(m.outcome(code("0f 34"))).toBe("#6");
    m.long();
    expect(m.outcome(code("0f 35"))).toBe("#6");
  });

  test("enter and leave CPL 0 in 32-bit mode", () => {
    m.protected32();
    // SYSENTER_CS = FREE: code and data of CPL 0, then of CPL 3
    m.setDescriptor(
      FREE,
      descriptor(ACCESS.CODE32),
      descriptor(ACCESS.DATA),
      descriptor(ACCESS.CODE32 | 0x60),
      descriptor(ACCESS.DATA | 0x60),
    );
    m.store(USER_CODE, code("0f 34")); // sysenter
    m.store(0x12000, code("0f 0b"));
    expect(
      m.vectorOf(
        code(`
      b9 74 01 00 00 ; mov ecx, 0x174
      b8 60 00 00 00 ; mov eax, 0x60
      31 d2          ; xor edx, edx
      0f 30          ; wrmsr
      41             ; inc ecx
      b8 00 50 03 00 ; mov eax, 0x35000
      0f 30          ; wrmsr
      41             ; inc ecx
      b8 00 20 01 00 ; mov eax, 0x12000
      0f 30          ; wrmsr
      ba 00 80 01 00 ; mov edx, 0x18000
      b9 00 80 03 00 ; mov ecx, 0x38000
      0f 35          ; sysexit
    `),
      ),
    ).toBe(6);
    expect(m.read(0x35000 - 12, 4)).toBe(0x12000n);
    expect(m.read(0x35000 - 8, 4)).toBe(BigInt(FREE));
    expect(m.gpr("rsp")).toBe(0x35000n - 12n);
  });

  test("SYSENTER with a null SYSENTER_CS is #GP(0)", () => {
    m.protected32();
    expect(m.outcome(code("0f 34"))).toBe("#13(0x0)");
  });
});
