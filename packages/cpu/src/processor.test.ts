import { beforeEach, describe, expect, test } from "vitest";
import * as layout from "../assembly/layout.ts";
import { Processor } from "./processor.ts";
import { BareMachine, CODE, code, DATA, STACK } from "./testing/bare-machine.ts";

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create(2);
});

/** rax counts up for ever. */
const COUNTING = code("48 ff c0 ; inc rax\n eb fb ; jmp back");
/** Writes a register of vCPU `i` wherever its context is now. */
function setGpr(i: number, register: number, value: bigint): void {
  m.processor.view.setBigUint64(
    m.processor.context(i) + layout.GPR - layout.CONTEXT + 8 * register,
    value,
    true,
  );
}
function gpr(i: number, register: number): bigint {
  return m.processor.view.getBigUint64(
    m.processor.context(i) + layout.GPR - layout.CONTEXT + 8 * register,
    true,
  );
}

describe("making a processor", () => {
  const host = { ...Object.fromEntries([]) } as never;
  test.each([
    [{ ramSize: 0, vcpus: 1 }],
    [{ ramSize: 4097, vcpus: 1 }],
    [{ ramSize: 2 ** 32, vcpus: 1 }],
    [{ ramSize: 4096, vcpus: 0 }],
    [{ ramSize: 4096, vcpus: 17 }],
    [{ ramSize: 4096, vcpus: 1, physicalBits: 31 }],
  ])("%j is refused", async (options) => {
    await expect(Processor.create({ ...options, host })).rejects.toThrow(RangeError);
  });

  test("vCPU 0 starts at the reset vector, the others wait for a start-up IPI", async () => {
    const fresh = await Processor.create({ ramSize: 4096, vcpus: 2, host });
    expect(fresh.view.getBigUint64(layout.RIP, true)).toBe(0xfffffff0n);
    expect([fresh.activity(0), fresh.activity(1)]).toEqual([
      layout.ACTIVITY_RUNNING,
      layout.ACTIVITY_WAIT_SIPI,
    ]);
  });
});

describe("time", () => {
  test("an instruction takes a nanosecond and run stops at its limit, at most one block late", () => {
    const start = m.processor.now();
    m.store(CODE, COUNTING);
    expect(m.processor.run(start + 1000)).toBe("limit");
    const passed = m.processor.now() - start;
    expect(passed).toBeGreaterThanOrEqual(1000);
    expect(passed).toBeLessThan(1064);
    expect(m.gpr("rax")).toBe(BigInt(passed / 2));
  });

  test("skipTo lets time pass without instructions and never goes back", () => {
    const { instructions } = m.processor;
    m.processor.skipTo(5000);
    expect(m.processor.now()).toBe(5000);
    m.processor.skipTo(10);
    expect([m.processor.now(), m.processor.instructions]).toEqual([5000, instructions]);
  });

  test("PAUSE alone passes a microsecond; among several vCPUs 100 ns, and each 256th ends the slice", async () => {
    // l: pause; jmp l
    m.store(CODE, code("f3 90 eb fc"));
    for (let slice = 1; slice <= 2; slice++) {
      const before = m.processor.now();
      expect(m.run([], 1e6)).toBe("pause");
      expect(Math.abs(m.processor.now() - before - 256 * 102)).toBeLessThanOrEqual(1);
    }
    const alone = await BareMachine.create(1);
    const start = alone.processor.now();
    expect(alone.run(code("f3 90 f4"))).toBe("halt");
    expect(alone.processor.now() - start).toBe(1002);
  });

  test("a guest whose faults never end does not stop the clock", () => {
    m.setGate(6, 0x08, BigInt(CODE), 0x8e); // #UD's handler is UD2
    expect(m.run(code("0f 0b"), 500)).not.toBe("halt");
    expect(m.processor.now()).toBeLessThan(1000);
  });
});

describe("large numbers of nanoseconds", () => {
  test("time goes on beyond 2^32 and 2^50 exactly", () => {
    m.store(CODE, COUNTING);
    for (const ns of [2 ** 32 - 1, 2 ** 33 + 5, 2 ** 50 + 1]) {
      m.processor.skipTo(ns);
      expect(m.processor.now()).toBe(ns);
      expect(m.processor.run(ns + 1000)).toBe("limit");
      expect(m.processor.now() - ns).toBeGreaterThanOrEqual(1000);
      expect(m.processor.now() - ns).toBeLessThan(1064);
    }
  });

  test("a limit in the past, before the skew, returns at once; one without end runs until something stops it", () => {
    m.store(CODE, code("48 ff c0 f4"));
    m.processor.skipTo(1e6);
    expect(m.processor.run(5)).toBe("limit");
    expect(m.processor.run(-5)).toBe("limit");
    expect(m.gpr("rax")).toBe(0n);
    expect(m.processor.run(Number.POSITIVE_INFINITY)).toBe("halt");
  });
});

describe("NMI", () => {
  test("ends a HLT, but not while the handler of an earlier one has not returned", () => {
    expect(m.run(code("f4"))).toBe("halt");
    m.processor.pendNmi(0);
    expect(m.processor.activity(0)).toBe(layout.ACTIVITY_RUNNING);
    expect(m.vectorOf()).toBe(2); // the handler halts
    m.processor.pendNmi(0);
    expect(m.processor.activity(0)).toBe(layout.ACTIVITY_HALTED);
    expect([m.run(), m.word(layout.NMI_PENDING)]).toEqual(["halt", 1]);
  });
});

describe("several vCPUs", () => {
  test("each keeps its registers; decoded blocks and translations survive the switch", () => {
    m.store(CODE, COUNTING);
    const context = m.processor.context(0);
    // vCPU 1 becomes a copy of vCPU 0
    const bytes = new Uint8Array(m.processor.view.buffer);
    const index = m.processor.view.getUint32(
      m.processor.context(1) + layout.VCPU_INDEX - layout.CONTEXT,
      true,
    );
    bytes.copyWithin(m.processor.context(1), context, context + layout.CONTEXT_SIZE);
    m.processor.view.setUint32(m.processor.context(1) + layout.VCPU_INDEX - layout.CONTEXT, index, true);
    for (const i of [0, 1]) {
      m.processor.select(i);
      m.processor.applyRegisters();
      m.processor.run(m.processor.now() + 100);
      setGpr(i, 0, BigInt(i) << 32n);
    }
    const before = m.processor.counters();
    for (let round = 0; round < 10; round++)
      for (const i of [0, 1]) {
        m.processor.select(i);
        m.processor.run(m.processor.now() + 100);
      }
    const after = m.processor.counters();
    expect([gpr(0, 0) >> 32n, gpr(1, 0) >> 32n]).toEqual([0n, 1n]);
    expect(gpr(0, 0)).toBeGreaterThanOrEqual(500n);
    expect(gpr(1, 0) & 0xffffffffn).toBeGreaterThanOrEqual(500n);
    expect([after["walks"], after["decoded"], after["blockMisses"], after["tlbFlushes"]]).toEqual([
      before["walks"],
      before["decoded"],
      before["blockMisses"],
      before["tlbFlushes"],
    ]);
  });

  test("code changed while another vCPU runs is seen by the one that ran it before", () => {
    m.store(CODE, COUNTING);
    m.processor.run(m.processor.now() + 100);
    m.processor.select(1);
    m.store(CODE, code("f4"));
    m.processor.select(0);
    m.set({ rip: CODE });
    expect(m.run()).toBe("halt");
  });

  test("there is no vCPU beyond the last", () => {
    expect(() => m.processor.select(2)).toThrow(RangeError);
    expect(() => m.processor.context(-1)).toThrow(RangeError);
  });
});

describe("saved state", () => {
  test("a processor continues from a saved one exactly", async () => {
    m.store(CODE, COUNTING);
    m.set({ rcx: 0x123456789abcdef0n, rsp: STACK });
    m.processor.run(m.processor.now() + 777);
    const other = await BareMachine.create(2);
    other.processor.ram.set(m.processor.ram);
    other.processor.restore(m.processor.save());
    for (const machine of [m, other]) machine.processor.run(machine.processor.now() + 1000);
    expect(other.processor.save()).toEqual(other.processor.save());
    expect([other.gpr("rax"), other.gpr("rcx"), other.rip(), other.processor.now()]).toEqual([
      m.gpr("rax"),
      m.gpr("rcx"),
      m.rip(),
      m.processor.now(),
    ]);
  });

  test("what is not a saved processor of this shape is refused", async () => {
    const saved = m.processor.save();
    const one = await BareMachine.create(1);
    expect(() => one.processor.restore(saved)).toThrow(RangeError);
    expect(() => m.processor.restore(saved.subarray(1))).toThrow(RangeError);
    expect(() => m.processor.restore(new Uint8Array(saved.length))).toThrow(RangeError);
  });
});

describe("calls out during an instruction", () => {
  test("a reset asked for by a device takes effect after the instruction, before run returns", async () => {
    let processor: Processor | undefined;
    const host = {
      portIn: () => 0,
      portOut: () => processor?.resetVcpu(0, "init"),
      mmioRead: () => 0,
      mmioWrite: () => undefined,
      cpuid: () => undefined,
      readMsr: () => false,
      writeMsr: () => false,
      readTaskPriority: () => 0,
      writeTaskPriority: () => undefined,
      hypercall: () => false,
      random: () => 0n,
    };
    processor = await Processor.create({ ramSize: 0x100000, vcpus: 1, host });
    const { view } = processor;
    processor.ram.set(code("e6 80 f4"), 0x8000); // out 0x80, al
    view.setBigUint64(layout.SEGMENT_BASE + 16, 0n, true);
    view.setUint16(layout.SEGMENT_SELECTOR + 4, 0, true);
    view.setBigUint64(layout.RIP, 0x8000n, true);
    processor.applyRegisters();
    expect(processor.run(processor.now() + 1000)).toBe("limit");
    expect(view.getBigUint64(layout.RIP, true)).toBe(0xfffffff0n);
  });
});

describe("writes into code", () => {
  test("the next instruction of the running block is the new one", () => {
    // mov byte [rip + 0], 0x40 rewrites the INC that follows: inc eax (ff c0) becomes inc edx (ff c2)
    m.set({ rax: 0, rdx: 0 });
    expect(m.run(code("c6 05 01 00 00 00 c2 ff c0 f4"))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rdx")]).toEqual([0n, 1n]);
  });

  test.each([
    ["NOPs", "90 90"],
    ["a jump", "eb 00"],
  ])("also where %s stood that nothing was decoded for", (_, behind) => {
    // mov [rdi], ax writes inc edx right behind itself
    m.set({ rdx: 0 });
    m.set({ rax: 0xc2ff, rdi: CODE + 3 });
    expect(m.run(code(`66 89 07 ${behind} f4`))).toBe("halt");
    expect(m.gpr("rdx")).toBe(1n);
  });

  test("a REP STOS over what follows it takes effect at once", () => {
    // rep stosb writes NOPs over UD2
    m.set({ rdi: CODE + 2, rcx: 2, rax: 0x90 });
    expect(m.run(code("f3 aa 0f 0b f4"))).toBe("halt");
  });

  test("a block whose page holds data too is entered afresh after each write, and stays right", () => {
    // loop: inc dword [rip + data]; dec ecx; jnz loop; hlt; data
    m.set({ rcx: 1000, rax: 0 });
    m.store(CODE, code("ff 05 05 00 00 00 ff c9 75 f6 f4 00 00 00 00"));
    expect(m.run()).toBe("halt");
    expect(m.read(CODE + 11, 4)).toBe(1000n);
  });

  test("RAM written by a device is decoded again", () => {
    expect(m.run(code("b8 01 00 00 00 f4"))).toBe("halt");
    m.store(CODE, code("b8 02 00 00 00 f4"));
    m.set({ rip: CODE });
    m.wake();
    expect(m.run()).toBe("halt");
    expect(m.gpr("rax")).toBe(2n);
  });
});

describe("an instruction across two pages", () => {
  const LAST = CODE + 0xffd;
  /** mov eax, imm32 with three bytes on the first page. */
  const CROSSING = code("b8 44 33 22 11 f4");

  test("runs and is cached", () => {
    m.store(LAST, [...CROSSING.slice(0, 5), ...code("ff c9 75 f7 f4")]); // ... dec ecx; jnz back
    m.set({ rip: LAST, rcx: 500 });
    const before = m.processor.counters()["decoded"] ?? 0;
    expect(m.run()).toBe("halt");
    expect(m.gpr("rax")).toBe(0x11223344n);
    expect((m.processor.counters()["decoded"] ?? 0) - before).toBeLessThan(10);
  });

  test("faults on the second page with its address", () => {
    m.store(LAST, CROSSING);
    m.setPage(CODE + 0x1000, 0n);
    m.set({ rip: LAST });
    expect(m.outcome()).toBe("#14(0x10)");
    expect(m.control("cr2")).toBe(BigInt(CODE + 0x1000));
    expect(m.frame().rip).toBe(BigInt(LAST));
  });

  test("sees a change of its second half, and another mapping of it", () => {
    m.store(LAST, CROSSING);
    m.set({ rip: LAST });
    expect(m.run()).toBe("halt");
    m.store(CODE + 0x1000, [0x99]);
    m.set({ rip: LAST });
    m.wake();
    expect(m.run()).toBe("halt");
    expect(m.gpr("rax")).toBe(0x11993344n);
    m.store(DATA, [0x55, 0x66, 0xf4]);
    m.write(0x4000 + 8 * ((CODE + 0x1000) >> 12), BigInt(DATA) | 7n);
    m.set({ rip: LAST });
    m.wake();
    expect(m.run()).toBe("halt");
    expect(m.gpr("rax")).toBe(0x66553344n);
  });
});

describe("single step", () => {
  test("the instruction that clears TF still traps, even when what follows is cached", () => {
    // pushes with and without TF: popf (TF on); nop; popf (TF off) traps; hlt
    const program = code("9d 90 9d f4");
    m.store(CODE, program);
    const steps = (): number => {
      m.wake();
      m.write(STACK - 16, 0x102n);
      m.write(STACK - 8, 0x2n);
      m.set({ rip: CODE, rsp: STACK - 16 });
      m.setGate(1, 0x08, BigInt(DATA), 0x8e);
      m.store(DATA, code("48 ff c3 48 cf")); // inc rbx; iretq
      m.set({ rbx: 0 });
      expect(m.run()).toBe("halt");
      return Number(m.gpr("rbx"));
    };
    expect([steps(), steps(), steps()]).toEqual([2, 2, 2]);
  });
});
