import { beforeEach, describe, expect, test } from "vitest";
import { ACTIVITY, ACTIVITY_SHUTDOWN, IDTR_LIMIT, NMI_BLOCKED, TR_LIMIT } from "../assembly/layout.ts";
import {
  ACCESS,
  BareMachine,
  CODE,
  CODE32,
  code,
  DATA,
  descriptor,
  FREE,
  GDT,
  HANDLERS,
  IST1,
  KERNEL_CODE,
  KERNEL_DATA,
  STACK,
  STACK0,
  TASK,
  TSS,
  USER_CODE,
  USER_CODE64,
  USER_DATA,
  USER_STACK,
} from "./testing/bare-machine.ts";

const UD2 = code("0f 0b");
const IRETQ = code("48 cf");

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
});

describe("delivery in long mode", () => {
  test("pushes SS RSP RFLAGS CS RIP on a 16-byte boundary, RF set for a fault", () => {
    m.set({ rsp: STACK - 5, flags: 0x202 });
    expect(m.vectorOf(UD2)).toBe(6);
    expect(m.gpr("rsp")).toBe(BigInt(STACK - 16 - 40));
    expect(m.frame()).toEqual({
      error: undefined,
      rip: BigInt(CODE),
      cs: KERNEL_CODE,
      rflags: 0x10202n,
      rsp: BigInt(STACK - 5),
      ss: KERNEL_DATA,
    });
    expect(m.systemFlags() & 0x10300n).toBe(0n);
  });

  test("a trap gate leaves IF set, an interrupt gate clears it", () => {
    m.setGate(3, KERNEL_CODE, BigInt(HANDLERS + 0x30), 0x8f);
    m.set({ flags: 0x202 });
    expect(m.vectorOf(code("cc"))).toBe(3);
    expect(m.systemFlags() & 0x200n).toBe(0x200n);
    expect(m.frame().rflags & 0x10000n).toBe(0n);
    expect(m.frame().rip).toBe(BigInt(CODE + 1));
  });

  test("from CPL 3 takes RSP0 and a null SS, and IRET goes back", () => {
    m.long(3);
    m.store(HANDLERS + 16 * 6, [
      ...code(`
        48 83 04 24 02 ; add qword ptr [rsp], 2   # over the UD2
        48 cf          ; iretq
      `),
    ]);
    m.setGate(0x80, KERNEL_CODE, BigInt(HANDLERS + 0x800), 0xee);
    expect(m.vectorOf([...UD2, ...code("cd 80")])).toBe(0x80);
    expect(m.cpl()).toBe(0);
    expect(m.selector("ss")).toBe(0);
    expect(m.selector("cs")).toBe(KERNEL_CODE);
    expect(m.frame()).toMatchObject({
      rip: BigInt(USER_CODE + 4),
      cs: USER_CODE64,
      rsp: BigInt(USER_STACK),
      ss: USER_DATA,
    });
    expect(m.gpr("rsp")).toBe(BigInt(STACK0 - 40));
  });

  test("an IST entry switches the stack without a change of CPL and keeps SS", () => {
    m.setGate(6, KERNEL_CODE, BigInt(HANDLERS + 0x60), 0x8e, 1);
    expect(m.vectorOf(UD2)).toBe(6);
    expect(m.gpr("rsp")).toBe(BigInt(IST1 - 40));
    expect(m.selector("ss")).toBe(KERNEL_DATA);
    expect(m.frame().rsp).toBe(BigInt(STACK));
  });

  test("INT n through a gate of lower DPL is #GP with the IDT bit, at the INT", () => {
    m.long(3);
    expect(m.vectorOf(code("cd 81"))).toBe(13);
    expect(m.frame()).toMatchObject({ error: 0x40an, rip: BigInt(USER_CODE) });
  });

  test("INT1 ignores the gate's DPL", () => {
    m.long(3);
    expect(m.vectorOf(code("f1"))).toBe(1);
    expect(m.frame().rip).toBe(BigInt(USER_CODE + 1));
  });

  test("a gate that is not present is #NP, EXT set only for events that were not asked for", () => {
    m.setGate(0x80, KERNEL_CODE, 0n, 0x0e);
    expect(m.outcome(code("cd 80"))).toBe("#11(0x402)");
    m.long();
    m.setGate(6, KERNEL_CODE, 0n, 0x0e);
    expect(m.outcome(UD2)).toBe("#11(0x33)");
  });

  test("a gate of a wrong type, beyond the IDT, or with a reserved upper type is #GP", () => {
    m.setGate(0x80, KERNEL_CODE, BigInt(HANDLERS), 0x85);
    expect(m.outcome(code("cd 80"))).toBe("#13(0x402)");
    m.long();
    m.processor.view.setUint32(IDTR_LIMIT, 0x80e, true);
    expect(m.outcome(code("cd 80"))).toBe("#13(0x402)");
    m.long();
    m.setGate(0x80, KERNEL_CODE, BigInt(HANDLERS), 0x8e);
    m.write(0x7000 + 0x808, 1n << 40n);
    expect(m.outcome(code("cd 80"))).toBe("#13(0x402)");
  });

  test("the handler's segment must be 64-bit code of at least CPL's privilege", () => {
    const outcomes = [
      [0, "#13(0x0)"],
      [KERNEL_DATA, "#13(0x10)"],
      [USER_CODE64, "#13(0x28)"],
      [CODE32, "#13(0x30)"],
      [0xf8 + 0x100, "#13(0x1f8)"],
    ] as const;
    for (const [selector, outcome] of outcomes) {
      m.long();
      m.setGate(0x80, selector, BigInt(HANDLERS), 0x8e);
      expect(m.outcome(code("cd 80"))).toBe(outcome);
    }
    m.setDescriptor(FREE, descriptor(ACCESS.CODE64 & ~0x80));
    m.setGate(0x80, FREE, BigInt(HANDLERS), 0x8e);
    m.long();
    expect(m.outcome(code("cd 80"))).toBe("#11(0x60)");
  });

  test("a conforming handler runs at the caller's CPL on the caller's stack", () => {
    m.setDescriptor(FREE, descriptor(ACCESS.CODE64 | 4));
    m.setGate(0x80, FREE, BigInt(DATA), 0xee);
    m.store(DATA, code("0f 0b"));
    m.long(3);
    expect(m.vectorOf(code("cd 80"))).toBe(6);
    expect(m.frame()).toMatchObject({ cs: FREE | 3, rip: BigInt(DATA), rsp: BigInt(USER_STACK - 40) });
  });

  test("a TSS too short for RSP0 is #TS", () => {
    m.long(3);
    m.processor.view.setUint32(TR_LIMIT, 10, true);
    // The #TS itself has an IST stack beyond the limit as well, so it is a double fault, then a triple fault.
    expect(m.run(UD2)).toBe("shutdown");
    m.long(3);
    m.processor.view.setUint32(TR_LIMIT, 0x2b, true);
    m.setGate(6, KERNEL_CODE, BigInt(HANDLERS + 0x60), 0x8e, 2);
    expect(m.outcome(UD2)).toBe(`#10(0x${(TASK | 1).toString(16)})`);
  });

  test("a stack that is not canonical is #SS", () => {
    m.write(TSS + 0x24, 1n << 63n);
    m.setGate(6, KERNEL_CODE, BigInt(HANDLERS + 0x60), 0x8e, 1);
    expect(m.outcome(UD2)).toBe("#12(0x1)");
  });

  test("a handler address that is not canonical is #GP", () => {
    m.setGate(6, KERNEL_CODE, 1n << 50n, 0x8e);
    expect(m.outcome(UD2)).toBe("#13(0x1)");
  });

  test("from compatibility mode SS:ESP is pushed and the handler runs 64-bit code", () => {
    m.compatibility(3);
    expect(m.vectorOf(UD2)).toBe(6);
    expect(m.frame()).toMatchObject({
      cs: 0x1b,
      ss: USER_DATA,
      rsp: BigInt(USER_STACK),
      rip: BigInt(USER_CODE),
    });
  });
});

describe("double and triple faults", () => {
  test("#GP in the delivery of #GP is #DF with error code 0", () => {
    m.setGate(13, 0, 0n, 0x8e);
    expect(m.outcome(code("0f 23 f8 0f 22 c0"))).toBe("#8(0x0)"); // mov dr7, rax; mov cr0, rax = 0 is #GP
  });

  test("#PF in the delivery of #UD, a benign exception, is #PF", () => {
    m.set({ rsp: 0x800000 });
    m.setGate(14, KERNEL_CODE, BigInt(HANDLERS + 16 * 14), 0x8e, 1);
    expect(m.outcome(UD2)).toBe("#14(0x2)");
    expect(m.control("cr2")).toBe(0x800000n - 8n);
    expect(m.frame().rip).toBe(BigInt(CODE));
  });

  test("#PF in the delivery of #PF is #DF", () => {
    m.set({ rsp: 0x800000 });
    m.setGate(8, KERNEL_CODE, BigInt(HANDLERS + 16 * 8), 0x8e, 1);
    expect(m.outcome(code("48 8b 04 25 00 00 80 00"))).toBe("#8(0x0)");
    expect(m.frame().rip).toBe(BigInt(CODE));
  });

  test("a fault in the delivery of #DF shuts the processor down", () => {
    m.setGate(13, 0, 0n, 0x8e);
    m.setGate(8, 0, 0n, 0x8e);
    expect(m.run(code("0f 22 c0"))).toBe("shutdown");
    expect(m.word(ACTIVITY)).toBe(ACTIVITY_SHUTDOWN);
    expect(m.processor.canInterrupt()).toBe(false);
  });

  test("an empty IDT shuts down at the first exception", () => {
    m.processor.view.setUint32(IDTR_LIMIT, 0, true);
    expect(m.run(UD2)).toBe("shutdown");
  });
});

describe("external interrupts and NMI", () => {
  test("an interrupt wakes from HLT and returns behind it", () => {
    m.set({ flags: 0x202 });
    expect(m.run(code("f4 0f 0b"))).toBe("halt");
    expect(m.processor.canInterrupt()).toBe(true);
    m.store(HANDLERS + 0x400, IRETQ);
    m.processor.interrupt(0x40);
    expect(m.vectorOf()).toBe(6);
    expect(m.frame().rip).toBe(BigInt(CODE + 1));
  });

  test("a gate fault of an external interrupt has EXT set", () => {
    m.set({ flags: 0x202 });
    m.setGate(0x40, KERNEL_CODE, 0n, 0x0e);
    m.processor.interrupt(0x40);
    expect(m.outcome()).toBe("#11(0x203)");
  });

  test("STI holds interrupts off for one instruction", () => {
    m.processor.setInterruptWaiting(true);
    m.store(CODE, code("fb 90 90 90 f4"));
    expect(m.processor.run(m.processor.now() + 1000)).toBe("limit");
    expect(m.rip()).toBe(BigInt(CODE + 2));
    expect(m.processor.canInterrupt()).toBe(true);
  });

  test("STI with IF already set casts no shadow", () => {
    m.set({ flags: 0x202 });
    m.store(CODE, code("fb 90 f4"));
    m.processor.run(m.processor.now() + 1);
    expect(m.processor.canInterrupt()).toBe(true);
  });

  test("MOV SS holds interrupts off for one instruction", () => {
    m.set({ flags: 0x202, rax: KERNEL_DATA });
    m.store(CODE, code("8e d0 90 90 f4"));
    m.processor.run(m.processor.now() + 1);
    expect(m.rip()).toBe(BigInt(CODE + 2));
    expect(m.processor.canInterrupt()).toBe(false);
    m.processor.setInterruptWaiting(true);
    m.processor.run(m.processor.now() + 100);
    expect(m.rip()).toBe(BigInt(CODE + 3));
    expect(m.processor.canInterrupt()).toBe(true);
  });

  test("a second MOV SS in a row casts no shadow", () => {
    m.set({ flags: 0x202, rax: KERNEL_DATA });
    m.store(CODE, code("8e d0 8e d0 90 f4"));
    m.processor.setInterruptWaiting(true);
    m.processor.run(m.processor.now() + 100);
    expect(m.rip()).toBe(BigInt(CODE + 4));
  });

  test("an NMI blocks the next one until IRET", () => {
    m.store(CODE, code("90 90 90 f4"));
    m.store(
      HANDLERS + 0x20,
      code(`
      f4    ; hlt
      ff c3 ; inc ebx
      48 cf ; iretq
    `),
    );
    m.processor.pendNmi(0);
    expect(m.run()).toBe("halt");
    expect(m.word(NMI_BLOCKED)).toBe(1);
    expect(m.rip()).toBe(BigInt(HANDLERS + 0x21));
    m.processor.pendNmi(0);
    m.wake();
    // IRET opens NMIs, and the latched one comes in at once.
    expect(m.run()).toBe("halt");
    expect(m.rip()).toBe(BigInt(HANDLERS + 0x21));
    expect(m.gpr("rbx")).toBe(1n);
    m.wake();
    expect(m.run()).toBe("halt");
    expect(m.rip()).toBe(BigInt(CODE + 4));
    expect(m.gpr("rbx")).toBe(2n);
    expect(m.word(NMI_BLOCKED)).toBe(0);
  });

  test("POPF that sets IF leaves the run loop for a waiting interrupt", () => {
    m.processor.setInterruptWaiting(true);
    m.store(
      CODE,
      code(`
      68 02 02 00 00 ; push 0x202
      9d             ; popfq
      90             ; nop
      90             ; nop
      f4             ; hlt
    `),
    );
    m.processor.run(m.processor.now() + 1000);
    expect(m.rip()).toBe(BigInt(CODE + 6));
  });
});

describe("delivery in 32-bit protected mode", () => {
  test("same level: EFLAGS CS EIP, no stack switch", () => {
    m.protected32();
    expect(m.vectorOf(UD2)).toBe(6);
    expect(m.gpr("rsp")).toBe(BigInt(STACK - 12));
    expect([0, 4, 8].map((at) => m.read(STACK - 12 + at, 4))).toEqual([
      BigInt(CODE),
      BigInt(CODE32),
      0x10002n,
    ]);
  });

  test("to an inner level: SS:ESP from the TSS, the old one pushed, and IRET back", () => {
    m.protected32(3);
    expect(m.vectorOf(UD2)).toBe(6);
    expect(m.gpr("rsp")).toBe(BigInt(STACK0 - 20));
    expect(m.selector("ss")).toBe(KERNEL_DATA);
    expect([0, 4, 8, 12, 16].map((at) => m.read(STACK0 - 20 + at, 4))).toEqual([
      BigInt(USER_CODE),
      0x1bn,
      0x10002n,
      BigInt(USER_STACK),
      BigInt(USER_DATA),
    ]);
    m.wake();
    m.store(USER_CODE, code("90 cd 0d"));
    m.store(Number(m.rip()), code("cf"));
    expect(m.outcome()).toBe("#13(0x6a)");
    expect(m.read(STACK0 - 20, 4)).toBe(BigInt(USER_CODE + 1));
  });

  test("an inner stack that is null, of another level or not writable is #TS, absent #SS", () => {
    const stacks = [
      [0, "#10(0x1)"],
      [USER_DATA, "#10(0x21)"],
      [CODE32, "#10(0x31)"],
      [FREE, "#12(0x61)"],
    ] as const;
    m.setDescriptor(FREE, descriptor(ACCESS.DATA & ~0x80));
    // The fault itself must find a stack: it goes to a conforming handler on the user's.
    m.setDescriptor(FREE + 8, descriptor(ACCESS.CODE32 | 4));
    for (const [selector, outcome] of stacks) {
      m.protected32(3);
      for (const vector of [10, 12])
        m.write(
          0x8000 + 8 * vector,
          (BigInt(FREE + 8) << 16n) |
            0x8e00_0000_0000n |
            BigInt((HANDLERS + 16 * vector) & 0xffff) |
            ((BigInt(HANDLERS) >> 16n) << 48n),
        );
      m.write(TSS + 4, BigInt(STACK0) | (BigInt(selector) << 32n));
      m.store(HANDLERS + 16 * 10, code("eb fe"));
      m.store(HANDLERS + 16 * 12, code("eb fe"));
      expect(m.run(UD2)).toBe("limit");
      const vector = (Number(m.rip()) - HANDLERS) / 16;
      expect(`#${vector}(0x${m.read(m.gpr("rsp"), 4).toString(16)})`).toBe(outcome);
    }
  });

  test("a 16-bit gate pushes words", () => {
    m.protected32();
    m.setDescriptor(FREE, descriptor(ACCESS.CODE32, HANDLERS));
    m.write(0x8000 + 8 * 6, (BigInt(FREE) << 16n) | 0x8600_0000_0000n | 0x60n);
    expect(m.vectorOf(UD2)).toBe(6);
    expect(m.gpr("rsp")).toBe(BigInt(STACK - 6));
    expect(m.read(STACK - 6, 2)).toBe(BigInt(CODE & 0xffff));
  });
});

test("the GDT is read with supervisor rights and its accessed bit is set", () => {
  m.long(3);
  m.setPage(GDT, 3n);
  m.setDescriptor(FREE, descriptor((ACCESS.DATA | ACCESS.USER) & ~1));
  expect(
    m.vectorOf(
      code(`
    b8 63 00 00 00 ; mov eax, 0x63
    8e c0          ; mov es, eax
    0f 0b          ; ud2
  `),
    ),
  ).toBe(6);
  expect(m.read(GDT + FREE + 5, 1)).toBe(0xf3n);
});
