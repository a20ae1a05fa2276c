import { describe, expect, it } from "vitest";
import { ApicFabric } from "./apic-fabric.ts";
import { ManualTime } from "./clock-wheel.ts";
import { Ioapic, ioapicPins } from "./ioapic.ts";
import { LocalApic } from "./local-apic.ts";

const level = 0x8000;
const mask = 0x1_0000;
const activeLow = 0x2000;
const remoteIrr = 0x4000;

function machine(count = 1) {
  const log: string[] = [];
  const fabric = new ApicFabric({
    init: (i) => log.push(`init ${i}`),
    startup() {},
    nmi: (i) => log.push(`nmi ${i}`),
    ready() {},
  });
  for (let index = 0; index < count; index++) {
    const apic = new LocalApic({ index, time: new ManualTime(), bus: fabric });
    fabric.attach(apic);
    apic.mmioWrite(0xf0, 4, 0x1ff);
  }
  const ioapic = new Ioapic(fabric);
  fabric.attachListener(ioapic);
  const read = (index: number) => {
    ioapic.mmioWrite(0, 4, index);
    return ioapic.mmioRead(0x10, 4);
  };
  const write = (index: number, value: number) => {
    ioapic.mmioWrite(0, 4, index);
    ioapic.mmioWrite(0x10, 4, value >>> 0);
  };
  const entry = (pin: number, low: number, destination = 0) => {
    write(0x11 + 2 * pin, destination << 24);
    write(0x10 + 2 * pin, low);
  };
  const apic = fabric.apics[0]!;
  const eoi = () => apic.mmioWrite(0xb0, 4, 0);
  return { ioapic, fabric, apic, log, read, write, entry, eoi, pin: (n: number) => ioapic.pins[n]! };
}

describe("Ioapic registers", () => {
  it("say version 0x20 with 24 entries, all masked after reset", () => {
    const { read } = machine();
    expect(read(1)).toBe(0x0017_0020);
    for (let pin = 0; pin < ioapicPins; pin++) {
      expect(read(0x10 + 2 * pin)).toBe(mask);
      expect(read(0x11 + 2 * pin)).toBe(0);
    }
  });

  it("keep only writable bits; arbitration copies the ID; the version stays", () => {
    const { read, write } = machine();
    write(0, 0xffff_ffff);
    write(1, 0);
    write(2, 0);
    write(0x12, 0xffff_ffff);
    write(0x13, 0xffff_ffff);
    expect([read(0), read(1), read(2)]).toEqual([0x0f00_0000, 0x0017_0020, 0x0f00_0000]);
    expect([read(0x12), read(0x13)]).toEqual([0x1_afff, 0xffff_0000]);
  });

  it("read 0 and ignore writes where there is nothing", () => {
    const { read, write, ioapic } = machine();
    for (const index of [3, 0x0f, 0x40, 0xff]) {
      write(index, 0xffff_ffff);
      expect(read(index)).toBe(0);
    }
    expect([ioapic.mmioRead(4, 4), ioapic.mmioRead(0x40, 4), ioapic.mmioRead(0x11, 4)]).toEqual([0, 0, 0]);
  });

  it("select by the low byte and show narrow reads as the low part", () => {
    const { ioapic } = machine();
    ioapic.mmioWrite(0, 4, 0xabcd_ef01);
    expect(ioapic.mmioRead(0, 4)).toBe(1);
    expect([ioapic.mmioRead(0x10, 1), ioapic.mmioRead(0x10, 2)]).toEqual([0x20, 0x20]);
  });
});

describe("Ioapic edge-triggered pins", () => {
  it("send once per rising edge to the entry's destination", () => {
    const { entry, fabric, pin } = machine(2);
    entry(4, 0x34, 1);
    pin(4).set(true);
    pin(4).set(true);
    pin(4).set(false);
    expect(fabric.apics.map((apic) => apic.accepted[0x34])).toEqual([0, 1]);
    expect(fabric.apics[1]!.acknowledge()).toBe(0x34);
    pin(4).set(true);
    expect(fabric.apics[1]!.accepted[0x34]).toBe(2);
  });

  it("lose an edge while masked", () => {
    const { entry, apic, pin } = machine();
    entry(4, mask | 0x34);
    pin(4).set(true);
    entry(4, 0x34);
    expect(apic.interruptReady()).toBe(false);
  });

  it("send at the falling edge when active low", () => {
    const { entry, apic, pin } = machine();
    entry(4, activeLow | 0x34);
    pin(4).set(true);
    expect(apic.interruptReady()).toBe(false);
    pin(4).set(false);
    expect(apic.acknowledge()).toBe(0x34);
  });

  it("have no remote IRR and need no EOI", () => {
    const { entry, read, pin } = machine();
    entry(4, 0x34);
    pin(4).set(true);
    expect(read(0x18)).toBe(0x34);
  });
});

describe("Ioapic level-triggered pins", () => {
  it("set remote IRR until EOI and fire again while the line is high", () => {
    const { entry, read, apic, eoi, pin } = machine();
    entry(9, level | 0x39);
    pin(9).set(true);
    expect(read(0x22)).toBe(level | remoteIrr | 0x39);
    expect(apic.mmioRead(0x190, 4)).toBe(1 << 25);
    expect(apic.acknowledge()).toBe(0x39);
    pin(9).set(false);
    pin(9).set(true);
    expect(apic.interruptReady()).toBe(false);
    eoi();
    expect(apic.acknowledge()).toBe(0x39);
    pin(9).set(false);
    eoi();
    expect(apic.interruptReady()).toBe(false);
    expect(read(0x22)).toBe(level | 0x39);
  });

  it("fire when unmasked while the line is high, not while masked", () => {
    const { entry, apic, pin } = machine();
    entry(9, mask | level | 0x39);
    pin(9).set(true);
    expect(apic.interruptReady()).toBe(false);
    entry(9, level | 0x39);
    expect(apic.acknowledge()).toBe(0x39);
  });

  it("do not fire again at EOI while masked, but once unmasked", () => {
    const { entry, apic, eoi, pin } = machine();
    entry(9, level | 0x39);
    pin(9).set(true);
    apic.acknowledge();
    entry(9, mask | level | 0x39);
    eoi();
    expect(apic.interruptReady()).toBe(false);
    entry(9, level | 0x39);
    expect(apic.interruptReady()).toBe(true);
  });

  it("are active while low when the entry says so", () => {
    const { entry, apic, eoi, pin } = machine();
    pin(9).set(true);
    entry(9, level | activeLow | 0x39);
    expect(apic.interruptReady()).toBe(false);
    pin(9).set(false);
    expect(apic.acknowledge()).toBe(0x39);
    pin(9).set(true);
    eoi();
    expect(apic.interruptReady()).toBe(false);
  });

  it("are finished only by their own vector", () => {
    const { entry, read, ioapic, pin } = machine();
    entry(9, level | 0x39);
    pin(9).set(true);
    ioapic.endOfInterrupt(0x38);
    expect(read(0x22) & remoteIrr).toBe(remoteIrr);
    ioapic.endOfInterrupt(0x39);
    pin(9).set(false);
    expect(read(0x22) & remoteIrr).toBe(remoteIrr); // fired again at the EOI
    ioapic.mmioWrite(0x40, 4, 0x39);
    expect(read(0x22) & remoteIrr).toBe(0);
  });

  it("are finished through the EOI register when the broadcast is suppressed", () => {
    const { entry, read, ioapic, apic, eoi, pin } = machine();
    apic.mmioWrite(0xf0, 4, 0x11ff);
    entry(9, level | 0x39);
    pin(9).set(true);
    apic.acknowledge();
    pin(9).set(false);
    eoi();
    expect(read(0x22) & remoteIrr).toBe(remoteIrr);
    ioapic.mmioWrite(0x40, 4, 0x39);
    expect(read(0x22) & remoteIrr).toBe(0);
  });

  it("lose remote IRR when switched to edge, as Linux does on old chips, and keep it over other writes", () => {
    const { entry, read, pin } = machine();
    entry(9, level | 0x39);
    pin(9).set(true);
    entry(9, mask | level | 0x39);
    expect(read(0x22) & remoteIrr).toBe(remoteIrr);
    entry(9, mask | 0x39);
    entry(9, mask | level | 0x39);
    expect(read(0x22) & remoteIrr).toBe(0);
  });

  it("share a vector: one EOI finishes all pins with it", () => {
    const { entry, read, apic, eoi, pin } = machine();
    entry(9, level | 0x39);
    entry(10, level | 0x39);
    pin(9).set(true);
    pin(10).set(true);
    apic.acknowledge();
    pin(9).set(false);
    pin(10).set(false);
    eoi();
    expect([read(0x22) & remoteIrr, read(0x24) & remoteIrr]).toEqual([0, 0]);
    // Both were sent before the processor looked, so the second merged with the first.
    expect(apic.accepted[0x39]).toBe(1);
  });

  it("do not set remote IRR when nobody took the interrupt", () => {
    const { entry, read, apic, pin } = machine();
    entry(9, level | 0x39, 5);
    pin(9).set(true);
    expect(read(0x22) & remoteIrr).toBe(0);
    entry(9, level | 0x39, 0);
    expect(apic.acknowledge()).toBe(0x39);
  });
});

describe("Ioapic delivery modes", () => {
  it("sends NMI and INIT at an edge, and never at a level", () => {
    const { entry, log, pin } = machine();
    entry(3, 0x400);
    pin(3).set(true);
    entry(5, 0x500);
    pin(5).set(true);
    entry(6, level | 0x400);
    pin(6).set(true);
    expect(log).toEqual(["nmi 0", "init 0"]);
  });

  it("routes logical and lowest-priority entries", () => {
    const { entry, fabric, pin } = machine(3);
    for (const [i, apic] of fabric.apics.entries()) apic.mmioWrite(0xd0, 4, 1 << (24 + i));
    fabric.apics[1]!.writeTaskPriority(1);
    entry(3, 0x800 | 0x33, 0b110);
    pin(3).set(true);
    entry(4, 0x900 | 0x34, 0b110);
    pin(4).set(true);
    expect(fabric.apics.map((apic) => apic.accepted[0x33])).toEqual([0, 1, 1]);
    expect(fabric.apics.map((apic) => apic.accepted[0x34])).toEqual([0, 0, 1]);
  });
});

describe("Ioapic destinations", () => {
  it("take bits 14:8 from the extended destination id, 23:17 of the entry's high dword", () => {
    const { ioapic, write, fabric } = machine(300);
    fabric.apics[299]!.writeBase(0xfee0_0c00, 0);
    write(0x11 + 8, ((299 & 0xff) << 24) | ((299 >> 8) << 17));
    write(0x10 + 8, 0x34);
    ioapic.pins[4]!.set(true);
    expect(fabric.apics.filter((apic) => apic.accepted[0x34] === 1).map(({ index }) => index)).toEqual([299]);
  });

  it("are tried again when an APIC that took nothing is enabled, moved or renamed", () => {
    const { entry, fabric, apic, read, eoi, pin } = machine();
    apic.mmioWrite(0xf0, 4, 0xff);
    entry(9, level | 0x39);
    pin(9).set(true);
    expect(read(0x22) & remoteIrr).toBe(0);
    apic.mmioWrite(0xf0, 4, 0x1ff);
    expect(read(0x22) & remoteIrr).toBe(remoteIrr);
    expect(apic.acknowledge()).toBe(0x39);
    pin(9).set(false);
    eoi();

    entry(9, level | 0x800 | 0x39, 0x40);
    pin(9).set(true);
    expect(read(0x22) & remoteIrr).toBe(0);
    apic.mmioWrite(0xd0, 4, 0x4000_0000);
    expect(apic.acknowledge()).toBe(0x39);
    pin(9).set(false);
    eoi();

    entry(9, level | 0x39, 5);
    pin(9).set(true);
    apic.mmioWrite(0x20, 4, 0x0500_0000);
    expect(apic.acknowledge()).toBe(0x39);
    expect(fabric.apics.length).toBe(1);
  });
});

describe("Ioapic ExtINT and SMI", () => {
  it("lets the processor take the vector from the 8259 pair", () => {
    const { entry, fabric, apic, pin } = machine();
    fabric.attachExternal({
      acknowledge: () => {
        fabric.external.set(false);
        return 0x30;
      },
    });
    entry(0, 0x700);
    fabric.external.set(true);
    pin(0).set(true);
    expect(apic.acknowledge()).toBe(0x30);
    pin(0).set(false);
    entry(1, level | 0x700);
    pin(1).set(true);
    fabric.external.set(true);
    expect(apic.interruptReady()).toBe(false);
  });

  it("sends SMI at an edge to a machine that knows it", () => {
    const smis: number[] = [];
    const fabric = new ApicFabric({
      init() {},
      startup() {},
      nmi() {},
      ready() {},
      smi: (i) => smis.push(i),
    });
    fabric.attach(new LocalApic({ index: 0, time: new ManualTime(), bus: fabric }));
    const ioapic = new Ioapic(fabric);
    ioapic.mmioWrite(0, 4, 0x16);
    ioapic.mmioWrite(0x10, 4, 0x200);
    ioapic.pins[3]!.set(true);
    ioapic.pins[3]!.set(false);
    ioapic.pins[3]!.set(true);
    expect(smis).toEqual([0, 0]);
  });
});

describe("Ioapic reset", () => {
  it("masks everything but leaves the levels to who drives them", () => {
    const { entry, ioapic, read, apic, pin } = machine();
    entry(9, level | 0x39);
    pin(9).set(true);
    apic.reset();
    ioapic.reset();
    expect(read(0x22)).toBe(mask);
    apic.mmioWrite(0xf0, 4, 0x1ff);
    entry(9, level | 0x39);
    expect(apic.acknowledge()).toBe(0x39);
  });

  it("shows people the pins in use", () => {
    const { entry, ioapic, pin } = machine();
    entry(9, level | 0x39);
    pin(9).set(true);
    expect(ioapic.inspect()["pins"]).toEqual({
      "pin 9": { entry: "0xc039", destination: 0, level: true, sent: 1 },
    });
  });
});
