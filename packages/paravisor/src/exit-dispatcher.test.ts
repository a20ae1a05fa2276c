import { ApicFabric, Bus, LocalApic, ManualTime } from "@entresol/devices";
import { asGpa, type Registers } from "@entresol/hypervisor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ExitDispatcher, exitKinds, msrRules } from "./index.ts";

const apicPage = 0xfee00000;

function machine(index = 0) {
  const time = new ManualTime();
  const bus = new Bus();
  const fabric = new ApicFabric({ init() {}, startup() {}, nmi() {}, ready() {} });
  const apics = [0, 1].map((i) => {
    const apic = new LocalApic({ index: i, time, bus: fabric, physicalAddressBits: 40 });
    fabric.attach(apic);
    return apic;
  });
  const log: string[] = [];
  const device = {
    portRead: (port: number, width: number) => {
      log.push(`in ${port} ${width}`);
      return 0x12345678;
    },
    portWrite: (port: number, width: number, value: number) => void log.push(`out ${port} ${width} ${value}`),
    mmioRead: (offset: number, width: number) => {
      log.push(`read ${offset} ${width}`);
      return 0x9abcdef0;
    },
    mmioWrite: (offset: number, width: number, value: number) =>
      void log.push(`write ${offset} ${width} ${value}`),
  };
  bus.registerPorts("device", 0x100, 8, device);
  const cpuidMachine = { processors: 2, physicalAddressBits: 40, linearAddressBits: 48 };
  const apic = apics[index]!;
  const exits = new ExitDispatcher(bus, apic, cpuidMachine, index);
  const count = (kind: (typeof exitKinds)[number]) => exits.counts[exitKinds.indexOf(kind)];
  const read = (at: number, width: 1 | 2 | 4 = 4) => exits.mmioRead(asGpa(at), width);
  const write = (at: number, value: number, width: 1 | 2 | 4 = 4) => exits.mmioWrite(asGpa(at), width, value);
  const msr = (number: number) => {
    const out = { low: 0xdead, high: 0xbeef };
    return exits.readMsr(number, out) ? [out.low, out.high] : undefined;
  };
  return { time, bus, fabric, apic, apics, device, log, exits, count, read, write, msr };
}

describe("ports", () => {
  it("reach the bus with port, width and value, and come back masked", () => {
    const { exits, log, count } = machine();
    expect(exits.portIn(0x100, 1)).toBe(0x78);
    expect(exits.portIn(0x102, 2)).toBe(0x5678);
    expect(exits.portIn(0x104, 4)).toBe(0x12345678);
    exits.portOut(0x101, 2, 0xabcd);
    expect(log).toEqual(["in 256 1", "in 258 2", "in 260 4", "out 257 2 43981"]);
    expect([count("port in"), count("port out")]).toEqual([3, 1]);
  });

  it("float high where nobody is", () => {
    const { exits } = machine();
    expect([exits.portIn(0x5000, 1), exits.portIn(0x5000, 2), exits.portIn(0xffff, 4)]).toEqual([
      0xff, 0xffff, 0xffffffff,
    ]);
    exits.portOut(0xffff, 4, 0xffffffff);
  });
});

describe("MMIO", () => {
  it("reaches the processor's own APIC in its page, and the bus around it", () => {
    const { bus, device, log, read, write, apic, count } = machine(1);
    bus.registerMmio("below", apicPage - 0x1000, 0x1000, device);
    bus.registerMmio("above", apicPage + 0x1000, 0x1000, device);
    expect(read(apicPage + 0x20)).toBe(0x01000000);
    write(apicPage + 0x80, 0x50);
    expect(apic.processorPriority).toBe(0x50);
    expect(log).toEqual([]);
    expect(read(apicPage - 4)).toBe(0x9abcdef0);
    expect(read(apicPage + 0x1000, 2)).toBe(0xdef0);
    write(apicPage + 0x1004, 7, 1);
    expect(log).toEqual(["read 4092 4", "read 0 2", "write 4 1 7"]);
    expect([count("mmio read"), count("mmio write")]).toEqual([3, 2]);
  });

  it("takes the APIC before whatever the bus has at the same address", () => {
    const { bus, device, log, read, exits } = machine();
    bus.registerMmio("device", apicPage, 0x1000, device);
    expect(read(apicPage + 0x30) & 0xff).not.toBe(0xf0);
    expect(log).toEqual([]);
    // Disabled, the page belongs to what lies below.
    expect(exits.writeMsr(0x1b, apicPage + 0x100, 0)).toBe(true);
    expect(read(apicPage + 0x30)).toBe(0x9abcdef0);
    expect(log).toEqual(["read 48 4"]);
  });

  it.each([0xd0000000, 0xfec00000, 0xff_ffff_f000])("follows the APIC's page to %d", (page) => {
    const { bus, device, read, write, exits, log } = machine();
    bus.registerMmio("there", page, 0x1000, device);
    bus.registerMmio("here", apicPage, 0x1000, device);
    expect(exits.writeMsr(0x1b, (page % 2 ** 32) + 0x900, Math.floor(page / 2 ** 32))).toBe(true);
    write(page + 0x80, 0x70);
    expect(read(page + 0x80)).toBe(0x70);
    expect(log).toEqual([]);
    expect(read(apicPage + 0x80)).toBe(0x9abcdef0);
    expect(log).toEqual(["read 128 4"]);
  });

  it("of one processor's page is its own: another may have moved its away", () => {
    const { apics, bus, fabric, read } = machine(0);
    const machineOf = { processors: 2, physicalAddressBits: 40, linearAddressBits: 48 };
    const other = new ExitDispatcher(bus, apics[1]!, machineOf, 1);
    expect(fabric.apics.length).toBe(2);
    expect(other.writeMsr(0x1b, 0xd0000800, 0)).toBe(true);
    expect(read(apicPage + 0x20)).toBe(0);
    expect(other.mmioRead(asGpa(apicPage + 0x20), 4)).toBe(0xffffffff);
    expect(other.mmioRead(asGpa(0xd0000020), 4)).toBe(0x01000000);
  });

  it("in x2APIC mode is the bus's everywhere", () => {
    const { exits, read } = machine();
    expect(exits.writeMsr(0x1b, apicPage + 0xd00, 0)).toBe(true);
    expect(read(apicPage + 0x20)).toBe(0xffffffff);
    expect(read(apicPage + 0x20, 1)).toBe(0xff);
  });
});

describe("MSRs", () => {
  it("lead to the APIC: base, deadline, and 0x800 to 0x8FF in x2APIC mode only", () => {
    const { exits, msr, count } = machine(1);
    expect(msr(0x1b)).toEqual([0xfee00800, 0]);
    expect(machine(0).msr(0x1b)).toEqual([0xfee00900, 0]);
    expect(msr(0x802)).toBeUndefined();
    expect(exits.writeMsr(0x808, 0x20, 0)).toBe(false);
    expect(exits.writeMsr(0x1b, 0xfee00c00, 0)).toBe(true);
    expect(msr(0x802)).toEqual([1, 0]);
    expect(exits.writeMsr(0x808, 0x20, 0)).toBe(true);
    expect(exits.readTaskPriority()).toBe(2);
    expect(msr(0x8ff)).toBeUndefined();
    expect(exits.writeMsr(0x1b, 0xfee00800, 0)).toBe(false);
    expect([count("msr read"), count("msr write")]).toEqual([4, 4]);
  });

  it("keep the TSC deadline in its mode, where it fires", () => {
    const { exits, msr, time, write } = machine();
    write(apicPage + 0xf0, 0x1ff);
    expect(exits.writeMsr(0x6e0, 1000, 0)).toBe(true);
    expect(msr(0x6e0)).toEqual([0, 0]);
    write(apicPage + 0x320, 0x40044);
    expect(exits.writeMsr(0x6e0, 1000, 0)).toBe(true);
    expect(msr(0x6e0)).toEqual([1000, 0]);
    expect(exits.interruptReady()).toBe(false);
    time.advance(1000);
    expect(exits.interruptReady()).toBe(true);
    expect(exits.acknowledgeInterrupt()).toBe(0x44);
    expect(msr(0x6e0)).toEqual([0, 0]);
  });

  it("else follow the policy's table, and are counted when refused", () => {
    const { exits, msr } = machine();
    for (const { msr: number, write } of msrRules)
      if (write !== "refuse") expect([number, exits.writeMsr(number, 0, 0)]).toEqual([number, true]);
    expect(exits.writeMsr(0x277, 0x06060606, 0x06060606)).toBe(true);
    expect(msr(0x277)).toEqual([0x06060606, 0x06060606]);
    expect(msr(0xdead)).toBeUndefined();
    expect(exits.writeMsr(0xdead, 0, 0)).toBe(false);
    expect(exits.msrs.refusals.get(0xdead)).toBe(2);
  });

  it("take numbers as they are in ECX, signed or not", () => {
    const { exits, msr } = machine();
    expect(msr(0xc0000103 | 0)).toEqual(msr(0xc0000103));
    expect(exits.writeMsr(0xc0011029 | 0, 0, 0)).toBe(exits.writeMsr(0xc0011029, 0, 0));
  });
});

describe("CPUID", () => {
  const ask = (exits: ExitDispatcher, leaf: number) => {
    const out = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    exits.cpuid(leaf, 0, out);
    return out;
  };

  it("gives the processor's own APIC id", () => {
    expect(ask(machine(0).exits, 1).ebx >>> 24).toBe(0);
    const second = machine(1);
    expect(ask(second.exits, 1).ebx >>> 24).toBe(1);
    expect(second.count("cpuid")).toBe(1);
  });

  it("shows an APIC only while it is enabled", () => {
    const { exits } = machine();
    const before = ask(exits, 1);
    expect((before.edx >>> 9) & 1).toBe(1);
    exits.writeMsr(0x1b, apicPage + 0x100, 0);
    expect(ask(exits, 1)).toEqual({ ...before, edx: before.edx - 0x200 });
    exits.writeMsr(0x1b, apicPage + 0x900, 0);
    expect(ask(exits, 1)).toEqual(before);
  });
});

describe("interrupts", () => {
  it("are what the processor's APIC says: pulled by priority, held back by CR8", () => {
    const { exits, apic, write, count } = machine();
    write(apicPage + 0xf0, 0x1ff);
    apic.accept(0x41, false);
    apic.accept(0x83, false);
    expect(exits.interruptReady()).toBe(true);
    exits.writeTaskPriority(8);
    expect(exits.interruptReady()).toBe(false);
    expect(exits.readTaskPriority()).toBe(8);
    exits.writeTaskPriority(4);
    expect(exits.acknowledgeInterrupt()).toBe(0x83);
    expect(exits.interruptReady()).toBe(false);
    write(apicPage + 0xb0, 0);
    exits.writeTaskPriority(0);
    expect(exits.acknowledgeInterrupt()).toBe(0x41);
    expect([count("interrupt"), count("task priority")]).toEqual([2, 4]);
  });

  it("are the spurious vector when nothing waits", () => {
    const { exits, write } = machine();
    write(apicPage + 0xf0, 0x1ef);
    expect(exits.interruptReady()).toBe(false);
    expect(exits.acknowledgeInterrupt()).toBe(0xef);
  });
});

describe("hostile guest", () => {
  it("is refused hypercalls, which are counted", () => {
    const { exits, count } = machine();
    // Nothing looks at the registers, so these need hold none.
    const registers = {} as Registers;
    expect([exits.hypercall("vmcall", registers), exits.hypercall("vmmcall", registers)]).toEqual([
      false,
      false,
    ]);
    expect(count("hypercall")).toBe(2);
  });

  it("gets a value of the asked width for whatever it does, and nothing throws", () => {
    const width = fc.constantFrom<1 | 2 | 4>(1, 2, 4);
    const word = fc.integer({ min: 0, max: 0xffffffff });
    const address = fc.oneof(
      fc.integer({ min: apicPage - 8, max: apicPage + 0x1008 }),
      fc.integer({ min: 0, max: 2 ** 40 - 4 }),
    );
    const number = fc.oneof(
      word,
      fc.integer({ min: 0x7f0, max: 0x910 }),
      fc.constantFrom(0x1b, 0x6e0),
      fc.constantFrom(...msrRules.map((rule) => rule.msr)),
    );
    const action = fc.oneof(
      fc.record({
        do: fc.constant("port"),
        at: fc.integer({ min: 0, max: 0xffff }),
        width,
        low: word,
        high: word,
      }),
      fc.record({ do: fc.constant("mmio"), at: address, width, low: word, high: word }),
      fc.record({ do: fc.constant("msr"), at: number, width, low: word, high: word }),
      fc.record({ do: fc.constant("cpuid"), at: word, width, low: word, high: word }),
      fc.record({ do: fc.constant("cr8"), at: word, width, low: word, high: word }),
    );
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 60 }), (actions) => {
        const { exits, time } = machine();
        const fits = (value: number, bytes: number) =>
          expect(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * bytes)).toBe(true);
        for (const { do: kind, at, width: bytes, low, high } of actions) {
          if (kind === "port") {
            exits.portOut(at, bytes, low);
            fits(exits.portIn(at, bytes), bytes);
          } else if (kind === "mmio") {
            exits.mmioWrite(asGpa(at), bytes, low);
            fits(exits.mmioRead(asGpa(at), bytes), bytes);
          } else if (kind === "msr") {
            exits.writeMsr(at, low, high);
            const out = { low: 0, high: 0 };
            if (exits.readMsr(at, out)) {
              fits(out.low, 4);
              fits(out.high, 4);
            }
          } else if (kind === "cpuid") {
            const out = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
            exits.cpuid(at, low, out);
            for (const value of Object.values(out)) fits(value, 4);
          } else {
            exits.writeTaskPriority(low & 15);
            fits(exits.readTaskPriority(), 1);
          }
          if (exits.interruptReady()) fits(exits.acknowledgeInterrupt(), 1);
          if (time.nextDeadline() < 2 ** 52) time.advance(Math.max(0, time.nextDeadline() - time.now()));
        }
      }),
      { numRuns: 500 },
    );
  });
});
