import { beforeEach, describe, expect, test } from "vitest";
import { DR, IDTR_LIMIT, LDTR_SELECTOR, NMI_BLOCKED, TR_LIMIT, TR_SELECTOR } from "../assembly/layout.ts";
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
  HANDLERS,
  IDT,
  IDT32,
  KERNEL_DATA,
  STACK,
  STACK0,
  TASK,
  TSS,
  USER_CODE,
  USER_CODE32,
  USER_DATA,
  USER_STACK,
} from "./testing/bare-machine.ts";

/* Hardware tasks in 32-bit protected mode: two tasks, the running one (TASK at TSS) and another (NEXT at TSS2). */

const TSS2 = 0xa000;
const NEXT = FREE;
const GATE = FREE + 8;
const OTHER = FREE + 16;
const NEXT_CODE = 0x14000;
const NEXT_STACK = 0x34000;
const HLT = 0xf4;
const NT = 0x4000n;
const BT = 0x8000n;

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
  start();
});

/** The running task at CPL 0 or 3, and the other one ready. */
function start(level: 0 | 3 = 0): void {
  m.protected32(level);
  m.setDescriptor(NEXT, descriptor(0x89, TSS2, 0x67));
  m.setDescriptor(GATE, gate(NEXT, 0x1234_5678n, 0x85)[0]);
  task();
  m.store(NEXT_CODE, [HLT]);
}

function store32(at: number, value: number): void {
  m.store(
    at,
    [0, 8, 16, 24].map((shift) => (value >>> shift) & 255),
  );
}

const FIELDS = {
  ...{ link: 0, esp0: 4, ss0: 8, cr3: 0x1c, eip: 0x20, eflags: 0x24 },
  ...{ eax: 0x28, ecx: 0x2c, edx: 0x30, ebx: 0x34, esp: 0x38, ebp: 0x3c, esi: 0x40, edi: 0x44 },
  ...{ es: 0x48, cs: 0x4c, ss: 0x50, ds: 0x54, fs: 0x58, gs: 0x5c, ldt: 0x60, trap: 0x64 },
};
type Task = Record<keyof typeof FIELDS, number>;
const ready: Task = {
  ...{ link: 0, esp0: STACK0, ss0: KERNEL_DATA, cr3: 0, eip: NEXT_CODE, eflags: 2 },
  ...{ eax: 0xa0a0_0001, ecx: 2, edx: 3, ebx: 4, esp: NEXT_STACK, ebp: 5, esi: 6, edi: 7 },
  ...{ es: KERNEL_DATA, cs: CODE32, ss: KERNEL_DATA, ds: KERNEL_DATA, fs: 0, gs: 0, ldt: 0, trap: 0 },
};
/** Writes the other task's TSS. */
function task(fields: Partial<Task> = {}): void {
  for (const [name, value] of Object.entries({ ...ready, ...fields }))
    store32(TSS2 + FIELDS[name as keyof Task], value);
}
/** Reads a TSS; what the processor writes of a selector is its low half. */
function saved(at: number): Task {
  const entries = Object.entries(FIELDS).map(([name, offset]) => [name, Number(m.read(at + offset, 4))]);
  return Object.fromEntries(entries) as Task;
}
const running = (): number => m.word(TR_SELECTOR) & 0xffff;
const isBusy = (selector: number): boolean => (m.read(GDT + selector + 5, 1) & 2n) !== 0n;
const jump = (selector: number): number[] => [0xea, 0, 0, 0, 0, selector, 0];
const call = (selector: number): number[] => [0x9a, 0, 0, 0, 0, selector, 0];
const taskGate = (vector: number, type = 0x85): void => m.write(IDT32 + 8 * vector, gate(NEXT, 0n, type)[0]);
const outcomes = (program: number[]): [string, number] => [m.outcome(program), running()];

describe("a switch", () => {
  test("by JMP saves the old task and loads the new one", () => {
    m.set({ rax: 0x11, rcx: 0x12, rdx: 0x13, rbx: 0x14, rbp: 0x15, rsi: 0x16, rdi: 0x17, flags: 0x3202 });
    task({ eflags: 0x202ad7, fs: KERNEL_DATA });
    expect(m.run(jump(NEXT))).toBe("halt");
    expect(saved(TSS)).toMatchObject({
      ...{ eip: CODE + 7, eflags: 0x3202, eax: 0x11, ecx: 0x12, edx: 0x13, ebx: 0x14, esp: STACK, ebp: 0x15 },
      ...{
        esi: 0x16,
        edi: 0x17,
        es: KERNEL_DATA,
        cs: CODE32,
        ss: KERNEL_DATA,
        ds: KERNEL_DATA,
        gs: KERNEL_DATA,
      },
    });
    expect((["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"] as const).map((r) => m.gpr(r))).toEqual([
      0xa0a0_0001n,
      2n,
      3n,
      4n,
      BigInt(NEXT_STACK),
      5n,
      6n,
      7n,
    ]);
    expect((["es", "cs", "ss", "ds", "fs", "gs"] as const).map((s) => m.selector(s))).toEqual([
      KERNEL_DATA,
      CODE32,
      KERNEL_DATA,
      KERNEL_DATA,
      KERNEL_DATA,
      0,
    ]);
    expect(m.processor.flags).toBe(0x202ad7n);
    expect(m.rip()).toBe(BigInt(NEXT_CODE + 1));
    expect([running(), isBusy(TASK), isBusy(NEXT)]).toEqual([NEXT, false, true]);
    expect(m.control("cr0") & 8n).toBe(8n);
    expect(saved(TSS2).link).toBe(0);
  });

  test("by CALL links back with NT, and IRET returns behind it; the next CALL goes on behind the IRET", () => {
    m.store(NEXT_CODE, code("40 cf 83 c0 10 cf")); // inc eax; iret; add eax, 16; iret
    m.set({ rbx: 0x99 });
    expect(m.run([...call(NEXT), HLT])).toBe("halt");
    expect(m.rip()).toBe(BigInt(CODE + 8));
    expect([running(), isBusy(TASK), isBusy(NEXT)]).toEqual([TASK, true, false]);
    expect(m.systemFlags() & NT).toBe(0n);
    expect(saved(TSS2)).toMatchObject({ link: TASK, eip: NEXT_CODE + 2, eax: 0xa0a0_0002, eflags: 0x82 });
    m.wake();
    expect(m.run([...call(NEXT), HLT])).toBe("halt");
    expect(saved(TSS2)).toMatchObject({ eip: NEXT_CODE + 6, eax: 0xa0a0_0012 });
    expect(m.gpr("rbx")).toBe(0x99n);
  });

  test("by CALL leaves both tasks busy, and NT of the old one as it was", () => {
    m.set({ flags: 2 });
    expect(m.run(call(NEXT))).toBe("halt");
    expect([isBusy(TASK), isBusy(NEXT), m.systemFlags() & NT, saved(TSS).eflags]).toEqual([
      true,
      true,
      NT,
      2,
    ]);
  });

  test("goes through a task gate whose DPL admits CPL, whatever the DPL of the TSS; the offset is ignored", () => {
    for (const instruction of [jump, call]) {
      start(3);
      m.setDescriptor(GATE, gate(NEXT, 0x1234_5678n, 0xe5)[0]);
      expect(m.run(instruction(GATE | 3))).toBe("halt");
      expect([running(), m.cpl(), m.rip()]).toEqual([NEXT, 0, BigInt(NEXT_CODE + 1)]);
      expect(saved(TSS)).toMatchObject({
        eip: USER_CODE + 7,
        cs: USER_CODE32,
        ss: USER_DATA,
        esp: USER_STACK,
      });
    }
  });

  test("enters a task at CPL 3", () => {
    m.store(NEXT_CODE, code("0f 0b"));
    task({ cs: USER_CODE32, ss: USER_DATA, ds: USER_DATA, es: 0 });
    expect(m.vectorOf(jump(NEXT))).toBe(6);
    expect(m.gpr("rsp")).toBe(BigInt(STACK0 - 20));
    expect(m.read(STACK0 - 16, 4)).toBe(BigInt(USER_CODE32));
  });

  test("loads CR3 under paging, and the LDT before the segments that lie there", () => {
    const [here, there] = [0x100000, 0x101000];
    store32(here, 0x83);
    store32(there, 0x83);
    store32(there + 4, 0x83); // the second 4 MiB show the first again
    m.set({ cr3: here, cr4: 0x10, cr0: 0x8000_0033n });
    m.setDescriptor(OTHER, descriptor(0x82, 0xb000, 0x0f));
    m.write(0xb008, descriptor(ACCESS.DATA, DATA));
    store32(DATA, 0x5566_7788);
    task({ cr3: there, ldt: OTHER, ds: 0x0c });
    m.store(NEXT_CODE, code("a1 00 00 40 00 f4")); // mov eax, [0x400000]
    expect(m.run(jump(NEXT))).toBe("halt");
    expect([m.control("cr3"), m.word(LDTR_SELECTOR) & 0xffff, m.gpr("rax")]).toEqual([
      BigInt(there),
      OTHER,
      0x5566_7788n,
    ]);
    expect(saved(TSS).cr3).toBe(0); // only ever read
  });

  test("without paging leaves CR3 alone", () => {
    task({ cr3: 0x5000 });
    expect(m.run(jump(NEXT))).toBe("halt");
    expect(m.control("cr3")).toBe(0n);
  });

  test("clears the local breakpoints of DR7 and keeps the global ones", () => {
    m.set({ dr7: 0x7ff });
    expect(m.run(jump(NEXT))).toBe("halt");
    expect(m.control("dr7")).toBe(0x6aan);
  });

  test("to a 16-bit TSS and back: words, no CR3, FS or GS; the upper halves become 0", () => {
    m.setDescriptor(NEXT, descriptor(0x81, TSS2, 0x2b));
    m.setDescriptor(OTHER, descriptor(ACCESS.CODE32 & ~0xc000, 0, 0xffff));
    m.store(TSS2, Array(0x40).fill(0xff));
    const words = [0, 0, 0, 0, 0, 0, 0, 0x5000, 2, 0xa1, 0xa2, 0xa3, 0xa4, 0x7000, 0xa5, 0xa6, 0xa7];
    [...words, KERNEL_DATA, OTHER, KERNEL_DATA, KERNEL_DATA, 0].forEach((word, i) => {
      m.store(TSS2 + 2 * i, [word & 255, word >> 8]);
    });
    m.store(0x5000, code("40 cf")); // inc ax; iret
    m.store(0x5002, [HLT]);
    m.set({ rax: 0x1234_5678 });
    expect(m.run([...call(NEXT), HLT])).toBe("halt");
    expect([m.rip(), m.gpr("rax"), running()]).toEqual([BigInt(CODE + 8), 0x1234_5678n, TASK]);
    expect([0, 0x0e, 0x12, 0x14].map((at) => m.read(TSS2 + at, 2))).toEqual([
      BigInt(TASK),
      0x5002n,
      0xa2n,
      0xa2n,
    ]);
    expect(m.selector("gs")).toBe(KERNEL_DATA);
    m.wake();
    expect(m.run(jump(NEXT))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rsp"), m.selector("gs")]).toEqual([0xa2n, 0x7000n, 0]);
  });
});

describe("events through a task gate", () => {
  test("INT n needs a gate with DPL of CPL or above, and comes back behind itself", () => {
    start(3);
    taskGate(0x80);
    expect(m.outcome(code("cd 80"))).toBe("#13(0x402)");
    start(3);
    taskGate(0x80, 0xe5);
    m.store(NEXT_CODE, code("cf"));
    m.store(HANDLERS + 16 * 6, [HLT]);
    expect(m.vectorOf(code("cd 80 0f 0b"))).toBe(6);
    expect(m.read(STACK0 - 20, 4)).toBe(BigInt(USER_CODE + 2));
  });

  test("an exception pushes its error code on the new stack and saves RF with the old flags", () => {
    taskGate(13);
    expect(m.run(code("b8 f8 01 00 00 8e d8"))).toBe("halt"); // mov eax, 0x1f8; mov ds, eax
    expect([running(), m.gpr("rsp"), m.read(NEXT_STACK - 4, 4)]).toEqual([
      NEXT,
      BigInt(NEXT_STACK - 4),
      0x1f8n,
    ]);
    expect(saved(TSS)).toMatchObject({ eip: CODE + 5, eflags: 0x10002, eax: 0x1f8 });
    expect([saved(TSS2).link, m.systemFlags() & NT]).toEqual([TASK, NT]);
  });

  test("a handler drops the error code, mends the cause and returns to the instruction", () => {
    taskGate(13);
    // add esp, 4; mov dword [TSS + EAX], KERNEL_DATA; iret; jmp to the start
    m.store(NEXT_CODE, code("83 c4 04 c7 05 28 90 00 00 10 00 00 00 cf eb f0"));
    const program = code("b8 f8 01 00 00 8e d8 f4");
    for (let round = 0; round < 2; round++) {
      m.set({ rip: CODE });
      expect(m.run(program)).toBe("halt");
      expect([m.rip(), m.gpr("rax")]).toEqual([BigInt(CODE + 8), BigInt(KERNEL_DATA)]);
      m.wake();
    }
  });

  test("a 16-bit task gets a word of error code", () => {
    m.setDescriptor(NEXT, descriptor(0x81, TSS2, 0x2b));
    m.setDescriptor(OTHER, descriptor(ACCESS.CODE32 & ~0xc000, 0, 0xffff));
    const words = [0, 0, 0, 0, 0, 0, 0, 0x5000, 2, 0, 0, 0, 0, 0x7000, 0, 0, 0];
    [...words, KERNEL_DATA, OTHER, KERNEL_DATA, KERNEL_DATA, 0].forEach((word, i) => {
      m.store(TSS2 + 2 * i, [word & 255, word >> 8]);
    });
    m.store(0x5000, [HLT]);
    taskGate(13);
    expect(m.run(code("b8 f8 01 00 00 8e d8"))).toBe("halt");
    expect([m.gpr("rsp"), m.read(0x6ffe, 2)]).toEqual([0x6ffen, 0x1f8n]);
  });

  test("an external interrupt is not asked for a DPL, wakes from HLT and returns behind it", () => {
    start(3);
    m.set({ flags: 0x202 });
    taskGate(0x40);
    m.store(NEXT_CODE, code("cf"));
    m.store(USER_CODE, code("0f 0b"));
    m.processor.interrupt(0x40);
    expect(running()).toBe(NEXT);
    expect(m.vectorOf()).toBe(6);
    expect(m.read(STACK0 - 20, 4)).toBe(BigInt(USER_CODE));
  });

  test("an NMI blocks the next one until the task's IRET", () => {
    taskGate(2);
    m.store(CODE, code("90 f4"));
    m.store(NEXT_CODE, code("f4 cf"));
    m.processor.pendNmi(0);
    expect(m.run()).toBe("halt");
    expect([running(), m.word(NMI_BLOCKED)]).toEqual([NEXT, 1]);
    m.wake();
    expect(m.run()).toBe("halt");
    expect([running(), m.word(NMI_BLOCKED), m.rip()]).toEqual([TASK, 0, BigInt(CODE + 2)]);
  });

  test("faults of the gate and of the TSS have EXT unless INT asked for it", () => {
    taskGate(0x80, 0x05);
    expect(m.outcome(code("cd 80"))).toBe("#11(0x402)");
    start();
    taskGate(6);
    m.setDescriptor(NEXT, descriptor(0x09, TSS2, 0x67));
    expect(m.outcome(code("0f 0b"))).toBe("#11(0x61)");
    start();
    taskGate(6);
    m.setDescriptor(NEXT, descriptor(0x8b, TSS2, 0x67));
    expect(m.outcome(code("0f 0b"))).toBe("#13(0x61)");
    start();
    taskGate(6);
    task({ ds: 0x1f8 });
    expect(m.outcome(code("0f 0b"))).toBe("#10(0x1f9)");
  });

  test("#DF has a task of its own when the stack is gone", () => {
    taskGate(8);
    m.set({ rsp: 4 });
    m.setSegment("ss", KERNEL_DATA, 0xc097); // expand down: 4 GiB less the limit, nothing of it
    m.processor.applyRegisters();
    expect(m.run(code("0f 0b"))).toBe("halt");
    expect([running(), m.read(NEXT_STACK - 4, 4), saved(TSS).eip]).toEqual([NEXT, 0n, CODE]);
  });
});

describe("faults of the old task leave it as it was", () => {
  const rows: [string, () => number[], string][] = [
    [
      "a busy TSS",
      () => {
        m.setDescriptor(NEXT, descriptor(0x8b, TSS2, 0x67));
        return jump(NEXT);
      },
      "#13(0x60)",
    ],
    ["its own TSS", () => call(TASK), "#13(0x40)"],
    [
      "a TSS that is absent",
      () => {
        m.setDescriptor(NEXT, descriptor(0x09, TSS2, 0x67));
        return call(NEXT);
      },
      "#11(0x60)",
    ],
    [
      "a TSS that is too short",
      () => {
        m.setDescriptor(NEXT, descriptor(0x89, TSS2, 0x66));
        return jump(NEXT);
      },
      "#10(0x60)",
    ],
    [
      "a 16-bit one",
      () => {
        m.setDescriptor(NEXT, descriptor(0x81, TSS2, 0x2a));
        return jump(NEXT);
      },
      "#10(0x60)",
    ],
    ["RPL above the DPL of the TSS", () => jump(NEXT | 1), "#13(0x60)"],
    ["RPL above the DPL of the gate", () => jump(GATE | 1), "#13(0x68)"],
    [
      "a gate that is absent",
      () => {
        m.setDescriptor(GATE, gate(NEXT, 0n, 0x05)[0]);
        return call(GATE);
      },
      "#11(0x68)",
    ],
    [
      "a gate to an LDT",
      () => {
        m.setDescriptor(GATE, gate(NEXT | 4, 0n, 0x85)[0]);
        return jump(GATE);
      },
      "#13(0x64)",
    ],
    [
      "a gate to nothing",
      () => {
        m.setDescriptor(GATE, gate(0, 0n, 0x85)[0]);
        return jump(GATE);
      },
      "#13(0x0)",
    ],
    [
      "a gate beyond the GDT",
      () => {
        m.setDescriptor(GATE, gate(0x1f8, 0n, 0x85)[0]);
        return jump(GATE);
      },
      "#13(0x1f8)",
    ],
    [
      "a gate to data",
      () => {
        m.setDescriptor(GATE, gate(KERNEL_DATA, 0n, 0x85)[0]);
        return jump(GATE);
      },
      "#13(0x10)",
    ],
    [
      "a running TSS without room",
      () => {
        m.processor.view.setUint32(TR_LIMIT, 0x5e, true);
        return jump(NEXT);
      },
      "#10(0x40)",
    ],
    [
      "a task of virtual-8086 mode",
      () => {
        task({ eflags: 0x20002 });
        return jump(NEXT);
      },
      "#10(0x60)",
    ],
  ];
  test.each(rows)("%s", (_name, prepare, outcome) => {
    const program = prepare();
    m.set({ rdx: 0x77 });
    expect(outcomes(program)).toEqual([outcome, TASK]);
    expect(m.read(m.gpr("rsp") + 4n, 4)).toBe(BigInt(CODE));
    expect([m.gpr("rdx"), saved(TSS).eip, isBusy(TASK)]).toEqual([0x77n, 0, true]);
  });

  const returns: [string, () => void, string][] = [
    ["to nothing", () => m.store(TSS, [0, 0]), "#10(0x0)"],
    ["to an LDT", () => m.store(TSS, [NEXT | 4, 0]), "#10(0x64)"],
    ["beyond the GDT", () => m.store(TSS, [0xf8, 0x01]), "#10(0x1f8)"],
    ["to a task that is not busy", () => m.store(TSS, [NEXT, 0]), "#10(0x60)"],
    [
      "to a task that is absent",
      () => {
        m.store(TSS, [NEXT, 0]);
        m.setDescriptor(NEXT, descriptor(0x0b, TSS2, 0x67));
      },
      "#11(0x60)",
    ],
  ];
  test.each(returns)("IRET with NT %s", (_name, prepare, outcome) => {
    prepare();
    m.set({ flags: 0x4002 });
    expect(outcomes(code("cf"))).toEqual([outcome, TASK]);
    expect(saved(TSS).eip).toBe(0);
  });

  test.each([
    ["the new TSS is not there", TSS2, "#14(0x0)"],
    ["the old TSS is read-only", TSS, "#14(0x3)"],
    ["the GDT is read-only", GDT, "#14(0x3)"],
  ])("a page fault: %s", (_name, page, outcome) => {
    const [directory, table] = [0x100000, 0x101000];
    store32(directory, table | 3);
    for (let i = 0; i < 0x140; i++) store32(table + 4 * i, (i << 12) | 3);
    store32(table + 4 * (page >> 12), outcome === "#14(0x0)" ? 0 : page | 1);
    m.setDescriptor(CODE32, descriptor(ACCESS.CODE32)); // accessed: a handler can be entered without a write to the GDT
    m.set({ cr3: directory, cr0: 0x8001_0033n });
    task({ cr3: directory });
    expect(outcomes(jump(NEXT))).toEqual([outcome, TASK]);
    expect([saved(TSS).eip, isBusy(NEXT), isBusy(TASK)]).toEqual([0, false, true]);
  });
});

describe("faults of the new task come before its first instruction", () => {
  const rows: [string, () => void, string][] = [
    ["a null CS", () => task({ cs: 0 }), "#10(0x0)"],
    ["CS is data", () => task({ cs: KERNEL_DATA }), "#10(0x10)"],
    ["CS of another level", () => task({ cs: USER_CODE32 & ~3 }), "#10(0x18)"],
    ["CS beyond the GDT", () => task({ cs: 0x1f8 }), "#10(0x1f8)"],
    [
      "CS absent",
      () => {
        task({ cs: OTHER });
        m.setDescriptor(OTHER, descriptor(ACCESS.CODE32 & ~0x80));
      },
      "#11(0x70)",
    ],
    ["a null SS", () => task({ ss: 0 }), "#10(0x0)"],
    ["SS of another level", () => task({ ss: USER_DATA }), "#10(0x20)"],
    ["SS is code", () => task({ ss: CODE32 }), "#10(0x30)"],
    [
      "SS absent",
      () => {
        task({ ss: OTHER });
        m.setDescriptor(OTHER, descriptor(ACCESS.DATA & ~0x80));
      },
      "#12(0x70)",
    ],
    ["DS is a TSS", () => task({ ds: TASK }), "#10(0x40)"],
    [
      "GS absent",
      () => {
        task({ gs: OTHER });
        m.setDescriptor(OTHER, descriptor(ACCESS.DATA & ~0x80));
      },
      "#11(0x70)",
    ],
    ["an LDT that is none", () => task({ ldt: KERNEL_DATA }), "#10(0x10)"],
    ["an LDT in an LDT", () => task({ ldt: OTHER | 4 }), "#10(0x74)"],
    [
      "an LDT absent",
      () => {
        task({ ldt: OTHER });
        m.setDescriptor(OTHER, descriptor(0x02, 0xb000, 15));
      },
      "#10(0x70)",
    ],
    ["EIP beyond the limit", () => task({ cs: CODE16, eip: 0x1_0000 }), "#13(0x0)"],
  ];
  test.each(rows)("%s", (_name, prepare, outcome) => {
    prepare();
    expect(outcomes(jump(NEXT))).toEqual([outcome, NEXT]);
    expect(m.read(m.gpr("rsp") + 4n, 4)).toBe(BigInt(saved(TSS2).eip));
    expect([saved(TSS).eip, isBusy(TASK), isBusy(NEXT)]).toEqual([CODE + 7, false, true]);
  });

  test("page-directory pointers with reserved bits are #GP(0)", () => {
    store32(0x100000, 0x101001);
    store32(0x101000, 0x83);
    store32(0x102000, 0x101007);
    m.set({ cr3: 0x100000, cr4: 0x30, cr0: 0x8000_0033n });
    task({ cr3: 0x102000 });
    expect(outcomes(jump(NEXT))).toEqual(["#13(0x0)", NEXT]);
    expect(m.control("cr3")).toBe(0x100000n);
  });

  test("a stack without room for the error code is #SS, which makes #DF with the exception", () => {
    taskGate(13);
    task({ esp: 2, ss: OTHER });
    m.setDescriptor(OTHER, descriptor(0x4093, 0, 0xfff));
    m.write(IDT32 + 8 * 8, gate(OTHER + 8, 0n, 0x85)[0]);
    m.setDescriptor(OTHER + 8, descriptor(0x89, TSS2 + 0x100, 0x67));
    for (const [name, value] of Object.entries(ready))
      store32(TSS2 + 0x100 + FIELDS[name as keyof Task], value);
    expect(m.run(code("b8 f8 01 00 00 8e d8"))).toBe("halt");
    expect([running(), saved(TSS2 + 0x100).link, saved(TSS2).eip]).toEqual([OTHER + 8, NEXT, NEXT_CODE]);
  });
});

describe("the T bit", () => {
  test("traps with BT before the task's first instruction", () => {
    task({ trap: 1 });
    for (const program of [jump(NEXT), call(NEXT), code("cd 80")]) {
      start();
      task({ trap: 1 });
      taskGate(0x80);
      m.set({ dr6: 0xffff0ff0n });
      expect(m.vectorOf(program)).toBe(1);
      expect([m.control("dr6") & 0xe00fn, m.read(m.gpr("rsp"), 4), running()]).toEqual([
        BT,
        BigInt(NEXT_CODE),
        NEXT,
      ]);
    }
  });

  test("traps together with the single step of the instruction that switched", () => {
    task({ trap: 1 });
    m.set({ flags: 0x102 });
    expect(m.vectorOf(jump(NEXT))).toBe(1);
    expect([m.control("dr6") & 0xe00fn, m.read(m.gpr("rsp"), 4)]).toEqual([BT | 0x4000n, BigInt(NEXT_CODE)]);
  });

  test("is not asked again of the task that handles the trap", () => {
    task({ trap: 1 });
    m.write(IDT32 + 8, gate(OTHER, 0n, 0x85)[0]);
    m.setDescriptor(OTHER, descriptor(0x89, TSS2 + 0x100, 0x67));
    for (const [name, value] of Object.entries({ ...ready, trap: 1 }))
      store32(TSS2 + 0x100 + FIELDS[name as keyof Task], value);
    expect(m.run(jump(NEXT))).toBe("halt");
    expect([running(), m.rip(), saved(TSS2).eip]).toEqual([OTHER, BigInt(NEXT_CODE + 1), NEXT_CODE]);
    expect(m.processor.view.getBigUint64(DR + 48, true) & 0xe00fn).toBe(BT);
  });
});

describe("long mode has no tasks", () => {
  test("a task gate is #GP with the IDT bit, a TSS and a task gate are #GP with the selector", () => {
    m.long();
    m.processor.view.setUint32(IDTR_LIMIT, 0xfff, true);
    m.write(IDT + 16 * 0x80, gate(TASK, 0n, 0x85)[0]);
    expect(m.outcome(code("cd 80"))).toBe("#13(0x402)");
    for (const type of [0x85, 0x89, 0x8b]) {
      m.compatibility();
      m.setDescriptor(FREE, type === 0x85 ? gate(TASK, 0n, type)[0] : descriptor(type, TSS2, 0x67), 0n);
      expect(m.outcome(jump(FREE))).toBe("#13(0x60)");
      m.compatibility();
      expect(m.outcome(call(FREE))).toBe("#13(0x60)");
    }
  });
});
