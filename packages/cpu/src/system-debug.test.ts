import { beforeEach, describe, expect, test } from "vitest";
import {
  BareMachine,
  CODE,
  code,
  DATA,
  HANDLERS,
  IST1,
  KERNEL_CODE,
  KERNEL_DATA,
  STACK,
  USER_CODE,
} from "./testing/bare-machine.ts";

const BS = 0x4000n;
const BD = 0x2000n;
const DR6_IDLE = 0xffff0ff0n;

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
});

/** Where #DB pushed its RIP, relative to CODE, and the DR6 bits that it found set. */
function trapped(program: readonly number[] = []): [number, bigint] {
  expect(m.vectorOf(program)).toBe(1);
  return [Number(m.frame().rip) - CODE, m.control("dr6") & 0xe00fn];
}

/** Runs `program`, which ends in UD2, with a handler that notes each #DB's RIP at [rdi] and returns; the list, relative to CODE. */
function steps(program: readonly number[], flags = 0x102): number[] {
  m.store(
    HANDLERS + 16,
    code(`
    8f 07       ; pop qword ptr [rdi]
    48 83 c7 08 ; add rdi, 8
    ff 77 f8    ; push qword ptr [rdi-8]
    48 cf       ; iretq
  `),
  );
  m.set({ flags, rdi: DATA });
  expect(m.vectorOf(program)).toBe(6);
  const count = (Number(m.gpr("rdi")) - DATA) / 8;
  return Array.from({ length: count }, (_, i) => Number(m.read(DATA + 8 * i)) - CODE);
}

describe("single step", () => {
  test("traps after each instruction that began with TF set", () => {
    m.set({ flags: 0x102 });
    expect(trapped(code("90 90 f4"))).toEqual([1, BS]);
    expect(m.frame().rflags).toBe(0x102n);
    expect(m.systemFlags() & 0x100n).toBe(0n);
  });

  test("every instruction of a run is stepped, jumps too", () => {
    expect(steps(code("90 48 ff c0 0f 1f 40 00 eb 01 cc 90 0f 0b"))).toEqual([1, 4, 8, 11, 12]);
  });

  test("POPF that sets TF traps after the next instruction, POPF that clears it traps at once", () => {
    expect(
      steps(
        code(`
      9c                   ; pushfq
      81 0c 24 00 01 00 00 ; or dword ptr [rsp], 0x100
      9d                   ; popfq                        # at 8
      90                   ; nop                          # at 9
      9c                   ; pushfq                       # at 10
      81 24 24 ff fe ff ff ; and dword ptr [rsp], ~0x100
      9d                   ; popfq                        # at 18
      90                   ; nop
      0f 0b                ; ud2
    `),
        2,
      ),
    ).toEqual([10, 11, 18, 19]);
  });

  test("PUSHF shows TF", () => {
    m.set({ flags: 0x102 });
    trapped(code("9c f4"));
    expect(m.read(STACK - 8)).toBe(0x102n);
  });

  test("REP MOVSB traps after each iteration", () => {
    m.set({ flags: 0x102, rcx: 3, rsi: DATA, rdi: DATA + 0x100 });
    expect(trapped(code("f3 a4 f4"))).toEqual([0, BS]);
    expect(m.gpr("rcx")).toBe(2n);
    m.store(HANDLERS + 16, code("48 cf"));
    m.set({ rip: HANDLERS + 16 });
    m.wake();
    expect(m.run()).toBe("limit");
    expect(m.gpr("rcx")).toBe(0n);
  });

  test("INT n clears TF for the handler and does not trap; the step goes on after IRET", () => {
    m.store(HANDLERS + 16 * 0x80, code("90 48 cf"));
    expect(steps(code("90 cd 80 90 0f 0b"))).toEqual([1, 4]);
  });

  test("a faulting instruction does not trap", () => {
    m.set({ flags: 0x102 });
    expect(m.vectorOf(code("0f 0b"))).toBe(6);
    expect(m.frame().rflags).toBe(0x10102n);
    expect(m.control("dr6")).toBe(DR6_IDLE);
  });

  test("MOV SS holds the trap off until the next instruction", () => {
    m.set({ rax: KERNEL_DATA });
    expect(steps(code("8e d0 90 90 0f 0b"))).toEqual([3, 4]);
  });

  test("INT1 in the shadow of MOV SS is one #DB, without BS", () => {
    m.set({ rax: KERNEL_DATA });
    expect(steps(code("8e d0 f1 f1 90 0f 0b"))).toEqual([3, 4, 5]);
  });

  test("DR7.GD faults in the shadow of MOV SS, and the access is stepped when it is repeated", () => {
    m.set({ dr7: 0x2400, rax: KERNEL_DATA, rbx: 0 });
    expect(steps(code("8e d0 0f 23 f3 90 0f 0b"))).toEqual([2, 5, 6]);
    expect(m.control("dr6")).toBe(DR6_IDLE | BS);
  });

  test("STI does not hold the trap off", () => {
    expect(steps(code("fb fa 90 0f 0b"))).toEqual([1, 2, 3]);
  });

  test("SYSCALL with TF in SFMASK does not trap; SYSRET that sets TF traps before its target runs", () => {
    m.long(3);
    m.set({ flags: 0x102, lstar: 0x12000, sfmask: 0x100 });
    m.store(0x12000, code("0f 0b"));
    expect(m.vectorOf(code("0f 05"))).toBe(1 + 5); // #UD at LSTAR, no #DB
    m.long();
    m.set({ rcx: USER_CODE, r11: 0x102 });
    m.store(USER_CODE, code("0f 0b"));
    expect(m.vectorOf(code("48 0f 07"))).toBe(1);
    expect(m.frame().rip).toBe(BigInt(USER_CODE));
  });

  test("SYSCALL without TF in SFMASK traps at LSTAR", () => {
    m.long(3);
    m.set({ flags: 0x102, lstar: 0x12000, sfmask: 0 });
    expect(m.vectorOf(code("0f 05"))).toBe(1);
    expect(m.frame()).toMatchObject({ rip: 0x12000n, cs: KERNEL_CODE });
  });

  test("IRET that sets TF traps after one instruction at its target", () => {
    const frame = [BigInt(CODE + 0x100), BigInt(KERNEL_CODE), 0x102n, BigInt(STACK), BigInt(KERNEL_DATA)];
    frame.forEach((word, i) => {
      m.write(STACK - 40 + 8 * i, word);
    });
    m.set({ rsp: STACK - 40 });
    m.store(CODE + 0x100, code("90 90 f4"));
    expect(trapped(code("48 cf"))).toEqual([0x101, BS]);
  });

  test("IRET that is stepped and sets RF shows RF in the frame of its trap, and nowhere later", () => {
    const frame = [BigInt(CODE + 0x100), BigInt(KERNEL_CODE), 0x10002n, BigInt(STACK), BigInt(KERNEL_DATA)];
    frame.forEach((word, i) => {
      m.write(STACK - 40 + 8 * i, word);
    });
    m.set({ rsp: STACK - 40, flags: 0x102 });
    expect(trapped(code("48 cf"))).toEqual([0x100, BS]);
    expect(m.frame().rflags).toBe(0x10002n);
    m.store(HANDLERS + 16, code("48 cf"));
    m.store(CODE + 0x100, code("cd 80"));
    m.set({ rip: HANDLERS + 16 });
    m.wake();
    expect(m.vectorOf()).toBe(0x80);
    expect(m.frame().rflags).toBe(0x2n);
  });

  test("the trap wakes from a HLT that was stepped", () => {
    m.set({ flags: 0x102 });
    expect(trapped(code("f4"))).toEqual([1, BS]);
  });
});

describe("instruction breakpoints", () => {
  test("are faults before the instruction; RF in the image lets it pass once", () => {
    m.set({ dr0: CODE + 1, dr7: 0x402 });
    expect(trapped(code("90 90 90 f4"))).toEqual([1, 1n]);
    expect(m.frame().rflags & 0x10000n).toBe(0n);
    m.store(
      HANDLERS + 16,
      code(`
      ff c3                   ; inc ebx
      81 4c 24 10 00 00 01 00 ; or dword ptr [rsp+16], 0x10000
      48 cf                   ; iretq
    `),
    );
    m.set({ rip: HANDLERS + 16 });
    m.wake();
    expect(m.run()).toBe("halt");
    expect(m.rip()).toBe(BigInt(CODE + 4));
    expect(m.gpr("rbx")).toBe(1n);
  });

  test("are not seen in the shadow of MOV SS", () => {
    m.set({ dr0: CODE + 2, dr7: 2, rax: KERNEL_DATA });
    expect(m.run(code("8e d0 90 f4"))).toBe("halt");
    expect(m.rip()).toBe(BigInt(CODE + 4));
  });

  test("work in user code", () => {
    m.long(3);
    m.set({ dr1: USER_CODE + 1, dr7: 0x404 });
    expect(m.vectorOf(code("90 90"))).toBe(1);
    expect(m.control("dr6") & 15n).toBe(2n);
  });
});

describe("data breakpoints", () => {
  test("a write breakpoint traps after the instruction, also for a part of the range", () => {
    for (const [program, hit] of [
      ["88 04 25 03 00 05 00 90", true], // mov [DATA + 3], al
      ["89 04 25 fd ff 04 00 90", true], // mov [DATA - 3], eax
      ["88 04 25 04 00 05 00 f4", false],
      ["89 04 25 fc ff 04 00 f4", false],
      ["8a 04 25 00 00 05 00 f4", false], // a read
    ] as const) {
      m.long();
      m.set({ dr0: DATA, dr7: 0xd0402, dr6: DR6_IDLE });
      const bytes = code(program);
      m.store(CODE, bytes);
      if (hit) expect(trapped()).toEqual([7, 1n]);
      else {
        expect(m.run()).toBe("halt");
        expect(m.control("dr6")).toBe(DR6_IDLE);
      }
    }
  });

  test("a read-or-write breakpoint of 8 bytes sees reads", () => {
    m.set({ dr1: DATA + 8, dr7: 0xb0_0000 | 0x404 });
    expect(trapped(code("8a 04 25 0f 00 05 00 f4"))).toEqual([7, 2n]);
  });

  test("a push and a string store are seen", () => {
    m.set({ dr0: STACK - 8, dr7: 0xd0402 });
    expect(trapped(code("50 90"))).toEqual([1, 1n]);
    m.long();
    m.set({ dr0: DATA + 2, dr7: 0x10402, dr6: DR6_IDLE, rdi: DATA, rcx: 8 });
    expect(trapped(code("f3 aa f4"))).toEqual([0, 1n]);
    expect(m.gpr("rcx")).toBe(5n);
  });

  test("one hit in the shadow of MOV SS waits for the next instruction, also when that is INT3", () => {
    m.write(DATA, KERNEL_DATA);
    m.set({ dr0: DATA, dr7: 0xf0402, rax: DATA });
    expect(trapped(code("8e 10 90 90"))).toEqual([3, 1n]);
    m.long();
    m.set({ dr0: DATA, dr7: 0xf0402, rax: DATA });
    m.setGate(3, KERNEL_CODE, BigInt(DATA + 0x100), 0x8e);
    expect(trapped(code("8e 10 cc"))).toEqual([DATA + 0x100 - CODE, 1n]);
  });

  test("one hit in the shadow of MOV SS joins the #DB of INT1", () => {
    m.write(DATA, KERNEL_DATA);
    m.set({ dr0: DATA, dr7: 0xf0402, rax: DATA });
    expect(trapped(code("8e 10 f1 90"))).toEqual([3, 1n]);
    expect(m.gpr("rsp")).toBe(BigInt(STACK - 40));
  });

  test("B0 to B3 of an earlier #DB are cleared, BS and BD stay until software clears them", () => {
    m.set({ dr0: DATA, dr7: 0xd0402, dr6: DR6_IDLE | BS | 6n });
    expect(trapped(code("88 04 25 00 00 05 00 90"))).toEqual([7, BS | 1n]);
  });

  test("a disarmed breakpoint is silent", () => {
    m.set({ dr0: DATA, dr7: 0xd0400 });
    expect(m.run(code("88 04 25 00 00 05 00 f4"))).toBe("halt");
  });

  test("single step and a breakpoint of one instruction are one #DB", () => {
    m.set({ dr0: DATA, dr7: 0xd0402, flags: 0x102 });
    expect(trapped(code("88 04 25 00 00 05 00 90"))).toEqual([7, BS | 1n]);
  });
});

describe("I/O breakpoints", () => {
  test("need CR4.DE and trap after the access", () => {
    m.set({ dr0: 0x80, dr7: 0x20402, cr4: 0x628 });
    expect(trapped(code("e6 80 90"))).toEqual([2, 1n]);
    m.long();
    m.set({ dr0: 0x80, dr7: 0x20402 });
    expect(m.run(code("e6 80 f4"))).toBe("halt");
  });
});

describe("debug registers", () => {
  test("DR7.GD faults on any access with BD, and is cleared by the #DB", () => {
    m.set({ dr7: 0x2400 });
    expect(trapped(code("0f 21 c0"))).toEqual([0, BD]);
    expect(m.control("dr7")).toBe(0x400n);
    m.long();
    m.set({ dr7: 0x2400, dr6: DR6_IDLE });
    expect(trapped(code("0f 23 f0"))).toEqual([0, BD]);
  });

  test("DR4 and DR5 are DR6 and DR7, or #UD under CR4.DE", () => {
    m.set({ dr7: 0x400 });
    expect(m.run(code("0f 21 e8 f4"))).toBe("halt"); // mov rax, dr5
    expect(m.gpr("rax")).toBe(0x400n);
    m.long();
    m.set({ cr4: 0x628 });
    expect(m.outcome(code("0f 21 e8"))).toBe("#6");
    m.long();
    expect(m.outcome(code("44 0f 21 c0"))).toBe("#6"); // dr8
  });

  test("upper halves of DR6 and DR7 are #GP, fixed bits stay", () => {
    m.set({ rax: 1n << 32n });
    expect(m.outcome(code("0f 23 f0"))).toBe("#13(0x0)");
    m.long();
    m.set({ rax: 1n << 32n });
    expect(m.outcome(code("0f 23 f8"))).toBe("#13(0x0)");
    m.long();
    m.set({ rax: 0xffffffff, rbx: 0 });
    expect(m.run(code("0f 23 f0 0f 23 c0 0f 21 f2 0f 23 f3 0f 21 f3 f4"))).toBe("halt");
    expect(m.gpr("rdx")).toBe(0xffffefffn);
    expect(m.gpr("rbx")).toBe(DR6_IDLE);
  });

  test("are #GP outside CPL 0", () => {
    m.long(3);
    expect(m.outcome(code("0f 21 c0"))).toBe("#13(0x0)");
  });
});

test("INT1 leaves DR6 alone", () => {
  m.setGate(1, KERNEL_CODE, BigInt(HANDLERS + 16), 0x8e, 1);
  m.set({ dr6: DR6_IDLE });
  expect(trapped(code("f1"))).toEqual([1, 0n]);
  expect(m.gpr("rsp")).toBe(BigInt(IST1 - 40));
});
