import { describe, expect, it } from "vitest";
import { ApicFabric } from "./apic-fabric.ts";
import { ManualTime } from "./clock-wheel.ts";
import type { EoiAssist } from "./eoi-assist.ts";
import { LocalApic } from "./local-apic.ts";
import type { LocalApicOptions } from "./local-apic-bus.ts";

const SVR = 0xf0;
const TPR = 0x80;
const PPR = 0xa0;
const EOI = 0xb0;
const ESR = 0x280;
const ICR = 0x300;
const ICR_HIGH = 0x310;
const LVT_TIMER = 0x320;
const LVT_LINT0 = 0x350;
const LVT_LINT1 = 0x360;
const LVT_ERROR = 0x370;
const TMICT = 0x380;
const TMCCT = 0x390;
const DCR = 0x3e0;
const MASK = 0x1_0000;

/** One or more enabled APICs on a fabric that writes down what it signals. */
function machine(count = 1, options: Partial<LocalApicOptions> = {}) {
  const time = new ManualTime(1000);
  const log: string[] = [];
  const fabric = new ApicFabric({
    init: (i) => log.push(`init ${i}`),
    startup: (i, vector) => log.push(`startup ${i} ${vector}`),
    nmi: (i) => log.push(`nmi ${i}`),
    ready: (i) => log.push(`ready ${i}`),
  });
  const apics: LocalApic[] = [];
  for (let index = 0; index < count; index++) {
    const apic = new LocalApic({ index, time, bus: fabric, ...options });
    fabric.attach(apic);
    apic.mmioWrite(SVR, 4, 0x1ff);
    apics.push(apic);
  }
  return { time, log, fabric, apics, apic: apics[0]! };
}

function enterX2apic(apic: LocalApic): void {
  const base = { low: 0, high: 0 };
  apic.readBase(base);
  expect(apic.writeBase(base.low | 0xc00, base.high)).toBe(true);
}

const read = (apic: LocalApic, offset: number) => apic.mmioRead(offset, 4);

function readMsr(apic: LocalApic, msr: number): string {
  const out = { low: 0, high: 0 };
  return apic.readMsr(msr, out) ? `${out.high.toString(16)}:${out.low.toString(16)}` : "#GP";
}

describe("LocalApic after reset", () => {
  it("is enabled in xAPIC mode at 0xFEE00000, software disabled, with every LVT entry masked", () => {
    const time = new ManualTime();
    const { fabric } = machine();
    const apic = new LocalApic({ index: 3, time, bus: fabric });
    expect(readMsr(apic, 0x1b)).toBe("0:fee00800");
    expect(apic.base).toBe(0xfee0_0000);
    expect(read(apic, 0x20)).toBe(0x0300_0000);
    expect(read(apic, 0x30)).toBe(0x0105_0014);
    expect(read(apic, SVR)).toBe(0xff);
    expect(read(apic, 0xe0)).toBe(0xffff_ffff);
    for (let lvt = LVT_TIMER; lvt <= LVT_ERROR; lvt += 0x10) expect(read(apic, lvt)).toBe(MASK);
  });

  it("marks only vCPU 0 as the bootstrap processor", () => {
    expect(readMsr(machine().apic, 0x1b)).toBe("0:fee00900");
  });
});

describe("LocalApic priorities", () => {
  it("delivers the highest vector, moves it from IRR to ISR, and takes it out of ISR at EOI", () => {
    const { apic } = machine();
    apic.accept(0x31, false);
    apic.accept(0x62, false);
    expect(apic.interruptReady()).toBe(true);
    expect(read(apic, 0x210)).toBe(1 << 0x11);
    expect(read(apic, 0x230)).toBe(1 << 2);
    expect(apic.acknowledge()).toBe(0x62);
    expect(read(apic, 0x230)).toBe(0);
    expect(read(apic, 0x130)).toBe(1 << 2);
    expect(apic.interruptReady()).toBe(false);
    apic.mmioWrite(EOI, 4, 0);
    expect(read(apic, 0x130)).toBe(0);
    expect(apic.interruptReady()).toBe(true);
    expect(apic.acknowledge()).toBe(0x31);
  });

  it("interrupts what is in service only with a higher class, not with a higher vector of the same class", () => {
    const { apic } = machine();
    apic.accept(0x41, false);
    apic.acknowledge();
    apic.accept(0x4f, false);
    expect(apic.interruptReady()).toBe(false);
    apic.accept(0x50, false);
    expect(apic.interruptReady()).toBe(true);
    expect(apic.acknowledge()).toBe(0x50);
  });

  it("holds back classes up to TPR[7:4] and lets them go when TPR falls", () => {
    const { apic, log } = machine();
    apic.writeTaskPriority(5);
    apic.accept(0x5f, false);
    expect(apic.interruptReady()).toBe(false);
    expect(log).toEqual([]);
    apic.writeTaskPriority(4);
    expect(apic.interruptReady()).toBe(true);
    expect(log).toEqual(["ready 0"]);
  });

  it("keeps the low nibble of TPR when it is written as a register and clears it through CR8", () => {
    const { apic } = machine();
    apic.mmioWrite(TPR, 4, 0x3a);
    expect(apic.readTaskPriority()).toBe(3);
    expect(read(apic, TPR)).toBe(0x3a);
    expect(read(apic, PPR)).toBe(0x3a);
    apic.writeTaskPriority(3);
    expect(read(apic, TPR)).toBe(0x30);
  });

  it("shows as PPR the whole TPR or the class in service, whichever is higher", () => {
    const { apic } = machine();
    apic.accept(0x57, false);
    apic.acknowledge();
    apic.mmioWrite(TPR, 4, 0x42);
    expect(read(apic, PPR)).toBe(0x50);
    apic.mmioWrite(TPR, 4, 0x51);
    expect(read(apic, PPR)).toBe(0x51);
  });

  it("answers an acknowledge without request with the spurious vector and puts nothing in service", () => {
    const { apic } = machine();
    apic.mmioWrite(SVR, 4, 0x1ef);
    expect(apic.acknowledge()).toBe(0xef);
    expect(read(apic, 0x170)).toBe(0);
  });

  it("ignores an EOI with nothing in service", () => {
    const { apic, log } = machine();
    apic.mmioWrite(EOI, 4, 0);
    expect(log).toEqual([]);
  });

  it("counts accepted interrupts by vector, merged ones once", () => {
    const { apic } = machine();
    apic.accept(0x31, false);
    apic.accept(0x31, false);
    apic.acknowledge();
    apic.accept(0x31, false);
    expect(apic.accepted[0x31]).toBe(2);
    expect(apic.inspect()["accepted"]).toEqual({ "0x31": 2 });
  });

  it("tells the processor once when something becomes deliverable, and again for what is left after an acknowledge", () => {
    const { apic, log } = machine();
    apic.accept(0x31, false);
    apic.accept(0x41, false);
    expect(log).toEqual(["ready 0"]);
    apic.acknowledge();
    expect(log).toEqual(["ready 0"]);
    apic.mmioWrite(EOI, 4, 0);
    expect(log).toEqual(["ready 0", "ready 0"]);
  });
});

describe("LocalApic software disable", () => {
  it("takes no fixed interrupt, masks every LVT entry, and does not let them be unmasked", () => {
    const { apic } = machine();
    apic.mmioWrite(LVT_TIMER, 4, 0x30);
    apic.mmioWrite(SVR, 4, 0xff);
    expect(read(apic, LVT_TIMER)).toBe(MASK | 0x30);
    apic.mmioWrite(LVT_TIMER, 4, 0x31);
    expect(read(apic, LVT_TIMER)).toBe(MASK | 0x31);
    expect(apic.accept(0x40, false)).toBe(false);
    apic.mmioWrite(SVR, 4, 0x1ff);
    expect(read(apic, LVT_TIMER)).toBe(MASK | 0x31);
    expect(apic.accept(0x40, false)).toBe(true);
  });

  it("keeps what was accepted before", () => {
    const { apic } = machine();
    apic.accept(0x40, false);
    apic.mmioWrite(SVR, 4, 0xff);
    expect(apic.acknowledge()).toBe(0x40);
  });

  it("still takes NMI, INIT and SIPI", () => {
    const { apics, fabric, log } = machine(2);
    apics[1]!.mmioWrite(SVR, 4, 0xff);
    for (const mode of [4, 5, 6]) fabric.send(0, (mode << 8) | 0x12, 1, false);
    expect(log).toEqual(["nmi 1", "init 1", "startup 1 18"]);
  });
});

describe("LocalApic errors", () => {
  it("latches errors at a write of ESR, which clears what it latched at the next one", () => {
    const { apic } = machine();
    apic.mmioWrite(ICR, 4, 0x4_0005); // self, vector 5: sent illegal and received illegal
    expect(read(apic, ESR)).toBe(0);
    apic.mmioWrite(ESR, 4, 0);
    expect(read(apic, ESR)).toBe(0x60);
    apic.mmioWrite(ESR, 4, 0);
    expect(read(apic, ESR)).toBe(0);
  });

  it("fires the error interrupt at the first error, then not until ESR is written", () => {
    const { apic } = machine();
    apic.mmioWrite(LVT_ERROR, 4, 0xfe);
    apic.accept(3, false);
    apic.accept(4, false);
    expect(apic.accepted[0xfe]).toBe(1);
    apic.acknowledge();
    apic.accept(5, false);
    expect(apic.accepted[0xfe]).toBe(1);
    apic.mmioWrite(ESR, 4, 0);
    apic.accept(6, false);
    expect(apic.accepted[0xfe]).toBe(2);
  });

  it("survives an error interrupt whose own vector is illegal", () => {
    const { apic } = machine();
    apic.mmioWrite(LVT_ERROR, 4, 0);
    apic.accept(3, false);
    apic.mmioWrite(ESR, 4, 0);
    expect(read(apic, ESR)).toBe(0x40);
  });

  it("notes access to registers that do not exist, not access in the wrong direction", () => {
    const { apic } = machine();
    expect(read(apic, EOI)).toBe(0);
    apic.mmioWrite(PPR, 4, 1);
    apic.mmioWrite(ESR, 4, 0);
    expect(read(apic, ESR)).toBe(0);
    expect(read(apic, 0x40)).toBe(0);
    apic.mmioWrite(0x400, 4, 1);
    apic.mmioWrite(ESR, 4, 0);
    expect(read(apic, ESR)).toBe(0x80);
  });
});

describe("LocalApic register page", () => {
  it("reads part of a dword and zero between dwords", () => {
    const { apic } = machine();
    expect(apic.mmioRead(0x30, 1)).toBe(0x14);
    expect(apic.mmioRead(0x32, 2)).toBe(0x0105);
    expect(apic.mmioRead(0x34, 4)).toBe(0);
    expect(apic.mmioRead(0x33, 2)).toBe(0);
  });

  it("ignores writes that are no aligned dwords", () => {
    const { apic } = machine();
    apic.mmioWrite(TPR, 1, 0x50);
    apic.mmioWrite(TPR + 1, 4, 0x50);
    apic.mmioWrite(TPR + 4, 4, 0x50);
    expect(read(apic, TPR)).toBe(0);
  });

  it("keeps only writable bits and shows the fixed ones", () => {
    const { apic } = machine();
    for (const [offset, expected] of [
      [0x20, 0xff00_0000],
      [0xd0, 0xff00_0000],
      [0xe0, 0xffff_ffff],
      [LVT_TIMER, 0x0007_00ff],
      [0x330, 0x0001_07ff],
      [LVT_LINT0, 0x0001_a7ff],
      [LVT_ERROR, 0x0001_00ff],
      [ICR_HIGH, 0xff00_0000],
      [DCR, 0xb],
    ] as const) {
      apic.mmioWrite(offset, 4, 0xffff_ffff);
      expect(read(apic, offset)).toBe(expected);
    }
    apic.mmioWrite(0xe0, 4, 0);
    expect(read(apic, 0xe0)).toBe(0x0fff_ffff);
  });

  it("keeps a written id over INIT, loses it when disabled, and has none but its own in x2APIC mode", () => {
    const { apic } = machine();
    apic.mmioWrite(0x20, 4, 0x2a00_0000);
    apic.init();
    expect(read(apic, 0x20)).toBe(0x2a00_0000);
    enterX2apic(apic);
    expect(readMsr(apic, 0x802)).toBe("0:0");
    expect(apic.writeMsr(0x802, 1, 0)).toBe(false);
    apic.writeBase(0xfee0_0100, 0);
    apic.writeBase(0xfee0_0900, 0);
    expect(read(apic, 0x20)).toBe(0);
    apic.mmioWrite(0x20, 4, 0x2a00_0000);
    apic.reset();
    expect(read(apic, 0x20)).toBe(0);
  });

  it("answers all ones and keeps nothing while it is not decoded", () => {
    const { apic } = machine();
    apic.writeBase(0xfee0_0100, 0);
    expect(apic.decodesMmio).toBe(false);
    expect(read(apic, 0x30)).toBe(0xffff_ffff);
    apic.mmioWrite(TPR, 4, 0x50);
    expect(apic.readTaskPriority()).toBe(0);
  });
});

describe("IA32_APIC_BASE", () => {
  const off = 0xfee0_0100;
  const xapic = off | 0x800;
  const x2apic = off | 0xc00;
  const odd = off | 0x400;
  const setUp = (mode: number) => {
    const { apic } = machine();
    if (mode === off >>> 0) apic.writeBase(off, 0);
    if (mode === x2apic >>> 0) apic.writeBase(x2apic, 0);
    return apic;
  };

  it.each([
    ["disabled", off, { off: true, xapic: true, x2apic: false }],
    ["xAPIC", xapic, { off: true, xapic: true, x2apic: true }],
    ["x2APIC", x2apic, { off: true, xapic: false, x2apic: true }],
  ])("from %s allows only the transitions of the SDM", (_name, from, allowed) => {
    expect(setUp(from >>> 0).writeBase(off, 0)).toBe(allowed.off);
    expect(setUp(from >>> 0).writeBase(xapic, 0)).toBe(allowed.xapic);
    expect(setUp(from >>> 0).writeBase(x2apic, 0)).toBe(allowed.x2apic);
    expect(setUp(from >>> 0).writeBase(odd, 0)).toBe(false);
  });

  it("refuses reserved bits and addresses beyond the physical address width, and changes nothing", () => {
    const { apic } = machine(1, { physicalAddressBits: 36 });
    expect(apic.writeBase(xapic | 1, 0)).toBe(false);
    expect(apic.writeBase(xapic | 0x200, 0)).toBe(false);
    expect(apic.writeBase(xapic, 0x10)).toBe(false);
    expect(readMsr(apic, 0x1b)).toBe("0:fee00900");
  });

  it("refuses x2APIC where CPUID does not offer it", () => {
    const { apic } = machine(1, { x2apic: false });
    expect(apic.writeBase(x2apic, 0)).toBe(false);
  });

  it("moves the register page", () => {
    const { apic } = machine();
    expect(apic.writeBase(0x1234_5800, 0xff)).toBe(true);
    expect(apic.base).toBe(0xff_1234_5000);
    expect(apic.decodesMmio).toBe(true);
  });

  it("loses the registers when it is disabled", () => {
    const { apic } = machine();
    apic.accept(0x40, false);
    apic.mmioWrite(LVT_TIMER, 4, 0x30);
    apic.writeBase(off, 0);
    expect(apic.interruptReady()).toBe(false);
    apic.writeBase(xapic, 0);
    expect(read(apic, SVR)).toBe(0xff);
    expect(read(apic, LVT_TIMER)).toBe(MASK);
  });

  it("keeps CR8 working while it is disabled", () => {
    const { apic } = machine();
    apic.writeBase(off, 0);
    apic.writeTaskPriority(9);
    expect(apic.readTaskPriority()).toBe(9);
  });
});

describe("x2APIC", () => {
  it("answers MSRs instead of memory, with a 32-bit id and a logical id that follows from it", () => {
    const { apics } = machine(19);
    const apic = apics[18]!;
    expect(readMsr(apic, 0x802)).toBe("#GP");
    enterX2apic(apic);
    expect(apic.decodesMmio).toBe(false);
    expect(readMsr(apic, 0x802)).toBe("0:12");
    expect(readMsr(apic, 0x80d)).toBe("0:10004");
    expect(readMsr(apic, 0x803)).toBe("0:1050014");
  });

  it("keeps registers when it is entered, but not the upper half of ICR", () => {
    const { apic } = machine();
    apic.mmioWrite(TPR, 4, 0x20);
    apic.mmioWrite(ICR_HIGH, 4, 0x0500_0000);
    apic.accept(0x40, false);
    enterX2apic(apic);
    expect(readMsr(apic, 0x808)).toBe("0:20");
    expect(readMsr(apic, 0x830)).toBe("0:0");
    expect(apic.acknowledge()).toBe(0x40);
  });

  it("faults on registers that do not exist or do not go that way", () => {
    const { apic } = machine();
    enterX2apic(apic);
    const out = { low: 0, high: 0 };
    for (const msr of [0x800, 0x804, 0x809, 0x80b, 0x80c, 0x80e, 0x82f, 0x831, 0x83a, 0x83f, 0x840, 0x8ff]) {
      expect(apic.readMsr(msr, out)).toBe(false);
    }
    for (const msr of [0x802, 0x803, 0x80a, 0x80d, 0x80e, 0x810, 0x820, 0x831, 0x839, 0x8ff, 0x7ff, 0x900]) {
      expect(apic.writeMsr(msr, 0, 0)).toBe(false);
    }
  });

  it("faults on reserved bits, upper halves, and values other than 0 for EOI and ESR", () => {
    const { apic } = machine();
    enterX2apic(apic);
    for (const [msr, low, high] of [
      [0x808, 0x100, 0],
      [0x808, 0, 1],
      [0x80b, 1, 0],
      [0x80f, 0x400, 0],
      [0x828, 1, 0],
      [0x830, 0x2000, 0],
      [0x830, 0x1_0000, 0],
      [0x830, 0x10_0000, 0],
      [0x832, 0x100, 0],
      [0x835, 0x800, 0],
      [0x837, 0x100, 0],
      [0x83e, 4, 0],
      [0x83f, 0x100, 0],
    ] as const) {
      expect(apic.writeMsr(msr, low, high)).toBe(false);
    }
    expect(readMsr(apic, 0x808)).toBe("0:0");
  });

  it("accepts status bits that a read-modify-write carries along", () => {
    const { apic } = machine();
    enterX2apic(apic);
    expect(apic.writeMsr(0x835, 0x1_d700, 0)).toBe(true);
    expect(readMsr(apic, 0x835)).toBe("0:18700");
    expect(apic.writeMsr(0x830, 0x1000 | 0x4_0040, 0)).toBe(true);
    expect(readMsr(apic, 0x830)).toBe("0:40040");
  });

  it("sends to a 32-bit destination with one write", () => {
    const { apics } = machine(2);
    for (const apic of apics) enterX2apic(apic);
    expect(apics[0]!.writeMsr(0x830, 0x55, 1)).toBe(true);
    expect(apics[1]!.acknowledge()).toBe(0x55);
    expect(readMsr(apics[0]!, 0x830)).toBe("1:55");
  });

  it("interrupts itself by SELF IPI", () => {
    const { apic } = machine();
    enterX2apic(apic);
    expect(apic.writeMsr(0x83f, 0x77, 0)).toBe(true);
    expect(apic.acknowledge()).toBe(0x77);
    expect(apic.writeMsr(0x83f, 3, 0)).toBe(true);
    expect(apic.writeMsr(0x828, 0, 0)).toBe(true);
    expect(readMsr(apic, 0x828)).toBe("0:60");
  });

  it("stays in x2APIC mode over INIT, with its registers as after reset", () => {
    const { apic } = machine();
    enterX2apic(apic);
    apic.writeMsr(0x808, 0x50, 0);
    apic.init();
    expect(apic.isX2apic).toBe(true);
    expect(readMsr(apic, 0x808)).toBe("0:0");
    expect(readMsr(apic, 0x80f)).toBe("0:ff");
  });
});

describe("LocalApic pins", () => {
  const pic = (fabric: ApicFabric) => {
    let vector = 0x30;
    fabric.attachExternal({
      acknowledge: () => {
        fabric.external.set(false);
        return vector++;
      },
    });
  };

  it("passes the 8259 pair's request through LINT0 as ExtINT, whatever the priorities", () => {
    const { apic, fabric, log } = machine();
    pic(fabric);
    apic.mmioWrite(LVT_LINT0, 4, 0x700);
    apic.writeTaskPriority(15);
    fabric.external.set(true);
    expect(log).toEqual(["ready 0"]);
    expect(apic.interruptReady()).toBe(true);
    expect(apic.acknowledge()).toBe(0x30);
    expect(apic.interruptReady()).toBe(false);
    expect(read(apic, 0x110)).toBe(0); // nothing in service: the 8259 keeps its own books
  });

  it("passes it through LINT1 as well, and while the pin is low where the entry says active low", () => {
    const { apic, fabric } = machine();
    apic.mmioWrite(LVT_LINT1, 4, 0x700);
    fabric.platformNmi.set(true);
    expect(apic.acknowledge()).toBe(0xff); // no 8259 pair answers
    fabric.platformNmi.set(false);
    expect(apic.interruptReady()).toBe(false);
    apic.mmioWrite(LVT_LINT0, 4, 0x2700);
    expect(apic.interruptReady()).toBe(true);
    fabric.external.set(true);
    expect(apic.interruptReady()).toBe(false);
  });

  it("asks for SMI at an edge", () => {
    const smis: number[] = [];
    const fabric = new ApicFabric({
      init() {},
      startup() {},
      nmi() {},
      ready() {},
      smi: (i) => smis.push(i),
    });
    const apic = new LocalApic({ index: 0, time: new ManualTime(), bus: fabric });
    fabric.attach(apic);
    apic.mmioWrite(SVR, 4, 0x1ff);
    apic.mmioWrite(LVT_LINT1, 4, 0x200);
    fabric.platformNmi.set(true);
    fabric.platformNmi.set(false);
    expect(smis).toEqual([0]);
  });

  it("holds the 8259 pair back while LINT0 is masked and lets it through once it is not", () => {
    const { apic, fabric } = machine();
    fabric.external.set(true);
    expect(apic.interruptReady()).toBe(false);
    apic.mmioWrite(LVT_LINT0, 4, 0x700);
    expect(apic.interruptReady()).toBe(true);
    fabric.external.set(false);
    expect(apic.interruptReady()).toBe(false);
  });

  it("is transparent for the bootstrap processor while it is disabled by IA32_APIC_BASE", () => {
    const { apics, fabric, log } = machine(2);
    pic(fabric);
    apics[0]!.writeBase(0xfee0_0100, 0);
    apics[1]!.writeBase(0xfee0_0000, 0);
    fabric.external.set(true);
    fabric.platformNmi.set(true);
    expect(log).toEqual(["ready 0", "nmi 0"]);
    expect(apics[1]!.interruptReady()).toBe(false);
    expect(apics[0]!.acknowledge()).toBe(0x30);
  });

  it("enters virtual wire mode as firmware would", () => {
    const { fabric, log, apic } = machine();
    apic.reset();
    apic.enterVirtualWire();
    expect([read(apic, SVR), read(apic, LVT_LINT0), read(apic, LVT_LINT1)]).toEqual([0x1ff, 0x700, 0x400]);
    fabric.platformNmi.set(true);
    fabric.platformNmi.set(true);
    fabric.platformNmi.set(false);
    expect(log).toEqual(["nmi 0"]);
  });

  it("takes LINT0 as a fixed edge when it is programmed so", () => {
    const { apic, fabric } = machine();
    apic.mmioWrite(LVT_LINT0, 4, 0x40);
    fabric.external.set(true);
    expect(apic.acknowledge()).toBe(0x40);
    apic.mmioWrite(EOI, 4, 0);
    expect(apic.interruptReady()).toBe(false);
  });

  it("fires a level-triggered LINT0 again after EOI while it is high, with remote IRR in between", () => {
    const { apic, fabric } = machine();
    fabric.external.set(true);
    apic.mmioWrite(LVT_LINT0, 4, 0x8040);
    expect(read(apic, LVT_LINT0)).toBe(0xc040);
    expect(apic.acknowledge()).toBe(0x40);
    expect(apic.interruptReady()).toBe(false);
    apic.mmioWrite(EOI, 4, 0);
    expect(apic.acknowledge()).toBe(0x40);
    fabric.external.set(false);
    apic.mmioWrite(EOI, 4, 0);
    expect(apic.interruptReady()).toBe(false);
    expect(read(apic, LVT_LINT0)).toBe(0x8040);
  });

  it("keeps a level-triggered LINT0 quiet over writes of its entry until EOI, unless it becomes an edge", () => {
    const { apic, fabric } = machine();
    fabric.external.set(true);
    apic.mmioWrite(LVT_LINT0, 4, 0x8040);
    apic.acknowledge();
    apic.mmioWrite(LVT_LINT0, 4, 0x8040);
    expect(apic.accepted[0x40]).toBe(1);
    apic.mmioWrite(LVT_LINT0, 4, MASK | 0x40);
    expect(read(apic, LVT_LINT0)).toBe(MASK | 0x40);
    apic.mmioWrite(LVT_LINT0, 4, 0x8040);
    expect(apic.accepted[0x40]).toBe(2);
  });

  it("takes no edge from a write of the entry while the pin is high", () => {
    const { apic, fabric, log } = machine();
    fabric.external.set(true);
    apic.mmioWrite(LVT_LINT0, 4, 0x40);
    apic.mmioWrite(LVT_LINT0, 4, 0x400);
    expect(apic.interruptReady()).toBe(false);
    expect(log).toEqual([]);
  });

  it("resets itself when a pin is programmed as INIT", () => {
    const { apic, fabric, log } = machine();
    apic.mmioWrite(LVT_LINT1, 4, 0x500);
    fabric.platformNmi.set(true);
    expect(log).toEqual(["init 0"]);
    expect(read(apic, SVR)).toBe(0xff);
    expect(read(apic, LVT_LINT1)).toBe(MASK);
  });

  it("takes an active-low pin as asserted when it falls", () => {
    const { apic, fabric } = machine();
    fabric.platformNmi.set(true);
    apic.mmioWrite(LVT_LINT1, 4, 0x2040);
    expect(apic.interruptReady()).toBe(false);
    fabric.platformNmi.set(false);
    expect(apic.acknowledge()).toBe(0x40);
  });
});

describe("LocalApic timer", () => {
  it("counts down once in one-shot mode and interrupts at zero", () => {
    const { apic, time } = machine();
    apic.mmioWrite(DCR, 4, 0xb); // divide by 1
    apic.mmioWrite(LVT_TIMER, 4, 0x40);
    apic.mmioWrite(TMICT, 4, 100);
    expect(read(apic, TMCCT)).toBe(100);
    time.advance(40);
    expect(read(apic, TMCCT)).toBe(60);
    time.advance(59);
    expect(apic.interruptReady()).toBe(false);
    time.advance(1);
    expect(apic.acknowledge()).toBe(0x40);
    expect(read(apic, TMCCT)).toBe(0);
    expect(read(apic, TMICT)).toBe(100);
    time.advance(1000);
    expect(apic.accepted[0x40]).toBe(1);
  });

  it.each([
    [0b0000, 2],
    [0b0001, 4],
    [0b0010, 8],
    [0b0011, 16],
    [0b1000, 32],
    [0b1001, 64],
    [0b1010, 128],
    [0b1011, 1],
  ])("divides by DCR %i = %i", (dcr, divisor) => {
    const { apic, time } = machine();
    apic.mmioWrite(DCR, 4, dcr);
    apic.mmioWrite(LVT_TIMER, 4, 0x40);
    apic.mmioWrite(TMICT, 4, 10);
    time.advance(10 * divisor - 1);
    expect(read(apic, TMCCT)).toBe(1);
    expect(apic.interruptReady()).toBe(false);
    time.advance(1);
    expect(apic.interruptReady()).toBe(true);
  });

  it("repeats in periodic mode without drift and merges periods that passed unnoticed", () => {
    const { apic, time } = machine();
    apic.mmioWrite(DCR, 4, 0xb);
    apic.mmioWrite(LVT_TIMER, 4, 0x2_0040);
    apic.mmioWrite(TMICT, 4, 100);
    for (let i = 0; i < 5; i++) {
      time.advance(100);
      expect(apic.acknowledge()).toBe(0x40);
      apic.mmioWrite(EOI, 4, 0);
      expect(read(apic, TMCCT)).toBe(100);
    }
    time.advance(350);
    expect(read(apic, TMCCT)).toBe(50);
    expect(apic.accepted[0x40]).toBe(6);
  });

  it("goes on counting between one-shot and periodic mode", () => {
    const { apic, time } = machine();
    apic.mmioWrite(DCR, 4, 0xb);
    apic.mmioWrite(LVT_TIMER, 4, MASK);
    apic.mmioWrite(TMICT, 4, 1000);
    time.advance(600);
    apic.mmioWrite(LVT_TIMER, 4, MASK | 0x2_0000);
    expect(read(apic, TMICT)).toBe(1000);
    expect(read(apic, TMCCT)).toBe(400);
    time.advance(500);
    expect(read(apic, TMCCT)).toBe(900);
    apic.mmioWrite(LVT_TIMER, 4, MASK);
    time.advance(900);
    expect(read(apic, TMCCT)).toBe(0);
    apic.mmioWrite(LVT_TIMER, 4, MASK | 0x2_0000);
    time.advance(5000);
    expect(read(apic, TMCCT)).toBe(0);
  });

  it("stops when 0 is written, and keeps the count when the divisor changes", () => {
    const { apic, time } = machine();
    apic.mmioWrite(DCR, 4, 0xb);
    apic.mmioWrite(LVT_TIMER, 4, 0x40);
    apic.mmioWrite(TMICT, 4, 1000);
    time.advance(400);
    apic.mmioWrite(DCR, 4, 0);
    expect(read(apic, TMCCT)).toBe(600);
    time.advance(400);
    expect(read(apic, TMCCT)).toBe(400);
    apic.mmioWrite(TMICT, 4, 0);
    time.advance(10_000);
    expect(apic.interruptReady()).toBe(false);
  });

  it("fires when the TSC reaches the deadline and reads 0 from then on", () => {
    const { apic, time } = machine();
    apic.mmioWrite(LVT_TIMER, 4, 0x4_0040);
    apic.writeDeadline(1500, 0);
    expect(readMsr(apic, 0x6e0)).toBe("0:5dc");
    time.advance(499);
    expect(apic.interruptReady()).toBe(false);
    time.advance(1);
    expect(apic.acknowledge()).toBe(0x40);
    expect(readMsr(apic, 0x6e0)).toBe("0:0");
  });

  it("fires at once for a TSC deadline that has passed, and never for one that was cleared", () => {
    const { apic, time } = machine();
    apic.mmioWrite(LVT_TIMER, 4, 0x4_0040);
    apic.writeDeadline(1000, 0);
    expect(apic.acknowledge()).toBe(0x40);
    apic.mmioWrite(EOI, 4, 0);
    apic.writeDeadline(2000, 0);
    apic.writeDeadline(0, 0);
    time.advance(5000);
    expect(apic.interruptReady()).toBe(false);
  });

  it("keeps counts and TSC deadlines apart: the other mode's registers read 0 and ignore writes", () => {
    const { apic, time } = machine();
    apic.mmioWrite(TMICT, 4, 1000);
    apic.mmioWrite(LVT_TIMER, 4, 0x4_0040);
    expect(read(apic, TMICT)).toBe(0);
    apic.mmioWrite(TMICT, 4, 1000);
    expect([read(apic, TMICT), read(apic, TMCCT)]).toEqual([0, 0]);
    apic.writeDeadline(1500, 0);
    apic.mmioWrite(LVT_TIMER, 4, 0x40);
    expect(readMsr(apic, 0x6e0)).toBe("0:0");
    apic.writeDeadline(1500, 0);
    expect(readMsr(apic, 0x6e0)).toBe("0:0");
    time.advance(10_000);
    expect(apic.interruptReady()).toBe(false);
  });

  it("runs without interrupting while its LVT entry is masked", () => {
    const { apic, time } = machine();
    apic.mmioWrite(LVT_TIMER, 4, MASK | 0x4_0040);
    apic.writeDeadline(1500, 0);
    time.advance(1000);
    expect(apic.interruptReady()).toBe(false);
    expect(readMsr(apic, 0x6e0)).toBe("0:0");
  });

  it("follows the guest's TSC offset over all 64 bits", () => {
    const offset = { low: 0xffff_ff00, high: 0xffff_ffff }; // TSC = now - 256
    const { apic, time } = machine(1, { tscOffset: () => offset });
    apic.mmioWrite(LVT_TIMER, 4, 0x4_0040);
    apic.writeDeadline(1000, 0);
    time.advance(255);
    expect(apic.interruptReady()).toBe(false);
    time.advance(1);
    expect(apic.acknowledge()).toBe(0x40);
    apic.mmioWrite(EOI, 4, 0);
    apic.writeDeadline(2000, 0);
    offset.low = 0;
    offset.high = 0x8000_0000;
    apic.tscChanged(); // far beyond the deadline now
    expect(apic.acknowledge()).toBe(0x40);
    apic.mmioWrite(EOI, 4, 0);
    apic.writeDeadline(0xffff_ffff, 0xffff_ffff); // 2^63 ns away: kept, never due
    expect(readMsr(apic, 0x6e0)).toBe("ffffffff:ffffffff");
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it("counts a TSC that is not 1 GHz in its own ticks, never early", () => {
    const { apic, time } = machine(1, { tscFrequency: 2_999_000_000 });
    apic.mmioWrite(LVT_TIMER, 4, 0x4_0040);
    apic.writeDeadline(1_000_000, 0);
    // 10^6 ticks take 333444.48... ns; time started at 1000.
    time.advance(333_444 - 1000);
    expect(apic.interruptReady()).toBe(false);
    time.advance(1);
    expect(apic.interruptReady()).toBe(true);
  });
});

/** A flag as a guest sees it: "no EOI required". */
class Flag implements EoiAssist {
  set = false;
  present = true;

  offer(): boolean {
    this.set = this.present;
    return this.present;
  }

  standing(): boolean {
    return this.set;
  }

  withdraw(): boolean {
    const before = this.set;
    this.set = false;
    return before;
  }
}

describe("EOI assist", () => {
  const start = () => {
    const { apic, fabric, log } = machine();
    const flag = new Flag();
    apic.setEoiAssist(flag);
    /** As a guest ends an interrupt. */
    const end = () => {
      if (flag.set) flag.set = false;
      else apic.mmioWrite(EOI, 4, 0);
    };
    return { apic, fabric, log, flag, end };
  };

  it("lets the guest clear the flag instead of writing EOI when one edge is alone in service", () => {
    const { apic, flag, end } = start();
    apic.accept(0x41, false);
    expect(apic.acknowledge()).toBe(0x41);
    expect(flag.set).toBe(true);
    expect(read(apic, 0x120)).toBe(2);
    expect(read(apic, PPR)).toBe(0x40);
    end();
    expect(read(apic, 0x120)).toBe(0);
    expect(read(apic, PPR)).toBe(0);
    apic.accept(0x31, false);
    expect(apic.acknowledge()).toBe(0x31);
  });

  it("takes the offer back when something comes before the guest has used it", () => {
    const { apic, flag, end } = start();
    apic.accept(0x41, false);
    apic.acknowledge();
    apic.accept(0x31, false);
    expect(flag.set).toBe(false);
    expect(apic.interruptReady()).toBe(false);
    end();
    expect(apic.acknowledge()).toBe(0x31);
  });

  it("delivers at once what comes after the guest has cleared the flag, whatever its priority", () => {
    const { apic, end } = start();
    apic.accept(0x41, false);
    apic.acknowledge();
    end();
    apic.accept(0x31, false);
    expect(apic.acknowledge()).toBe(0x31);
    expect(read(apic, 0x120)).toBe(0);
  });

  it("counts the cleared flag in arbitration for a lowest-priority interrupt", () => {
    const { apic, end } = start();
    apic.accept(0x41, false);
    apic.acknowledge();
    expect(apic.processorPriority).toBe(0x40);
    end();
    expect(apic.processorPriority).toBe(0);
  });

  it("ends one interrupt once, by the flag or by the register", () => {
    const { apic, flag } = start();
    apic.accept(0x41, false);
    apic.acknowledge();
    apic.mmioWrite(EOI, 4, 0); // a guest that does not look at the flag
    expect(flag.set).toBe(false);
    expect(read(apic, 0x120)).toBe(0);
    apic.accept(0x41, false);
    apic.acknowledge();
    flag.set = false;
    apic.mmioWrite(EOI, 4, 0); // one that does both
    expect(read(apic, 0x120)).toBe(0);
  });

  it("is not offered for a level, for one of several in service, while another waits, or without a flag", () => {
    const { apic, flag } = start();
    apic.accept(0x41, true);
    apic.acknowledge();
    expect(flag.set).toBe(false);
    apic.accept(0x51, false);
    apic.acknowledge();
    expect(flag.set).toBe(false);
    for (let i = 0; i < 2; i++) apic.mmioWrite(EOI, 4, 0);
    apic.accept(0x61, false);
    apic.accept(0x62, false);
    apic.acknowledge();
    expect(flag.set).toBe(false);
    for (let i = 0; i < 2; i++) apic.mmioWrite(EOI, 4, 0);
    apic.acknowledge();
    apic.mmioWrite(EOI, 4, 0);
    flag.present = false;
    apic.accept(0x41, false);
    apic.acknowledge();
    apic.accept(0x31, false);
    expect(apic.interruptReady()).toBe(false);
  });

  it("is withdrawn by INIT and when the page goes away", () => {
    const { apic, flag } = start();
    apic.accept(0x41, false);
    apic.acknowledge();
    apic.init();
    expect(flag.set).toBe(false);
    apic.mmioWrite(SVR, 4, 0x1ff);
    apic.accept(0x41, false);
    apic.acknowledge();
    apic.setEoiAssist(undefined);
    expect(flag.set).toBe(false);
    expect(read(apic, 0x120)).toBe(2);
  });

  it("goes on after restore, whether the guest has cleared the flag meanwhile or not", () => {
    for (const cleared of [false, true]) {
      const { apic, flag } = start();
      apic.accept(0x41, false);
      apic.acknowledge();
      const saved = apic.save();
      expect(saved.eoiOffered).toBe(true);
      const other = machine().apic;
      other.restore(saved);
      const otherFlag = new Flag();
      otherFlag.set = flag.set && !cleared;
      other.setEoiAssist(otherFlag);
      other.accept(0x31, false);
      expect(other.interruptReady()).toBe(cleared);
    }
  });
});

describe("automatic EOI", () => {
  it("finishes a vector in the moment in which it is taken, so that the next one follows at once", () => {
    const { apic, log } = machine();
    apic.setAutoEoi(0x51, true);
    apic.accept(0x51, false);
    apic.accept(0x41, false);
    expect(apic.acknowledge()).toBe(0x51);
    expect(read(apic, 0x120)).toBe(0);
    expect(log).toEqual(["ready 0", "ready 0"]);
    expect(apic.acknowledge()).toBe(0x41);
    expect(read(apic, 0x120)).toBe(2);
    apic.setAutoEoi(0x51, false);
    apic.accept(0x51, false);
    apic.acknowledge();
    expect(read(apic, 0x120)).toBe((1 << 17) | 2);
  });

  it("broadcasts the end of a level at once, is kept over INIT and lost at reset", () => {
    const { apic, fabric } = machine();
    const ended: number[] = [];
    fabric.attachListener({ endOfInterrupt: (vector) => ended.push(vector), retry() {} });
    apic.setAutoEoi(0x51, true);
    apic.accept(0x51, true);
    apic.acknowledge();
    expect(ended).toEqual([0x51]);
    apic.init();
    expect(apic.save().autoEoi[2]).toBe(1 << 17);
    apic.reset();
    expect(apic.save().autoEoi[2]).toBe(0);
  });
});
