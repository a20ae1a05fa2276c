import { describe, expect, it } from "vitest";
import { type BarOptions, PciBar } from "./bar.ts";
import { BareMachine } from "./bare-machine.ts";
import { PciFunction } from "./function.ts";
import { MemoryRegion } from "./memory-region.ts";

const bars = (...list: readonly Omit<BarOptions, "device">[]) =>
  new PciFunction({
    name: "bars",
    vendor: 0x1234,
    device: 0x5678,
    classCode: 0xff0000,
    bars: list.map((bar) => ({ ...bar, device: new MemoryRegion(Math.min(bar.size, 0x1000)) })),
  });

/** A machine with the function at 00:03.0. */
function machineWith(fn: PciFunction) {
  const machine = new BareMachine();
  machine.host.attach(fn, { device: 3 });
  const set = (at: number, value: number) => machine.write(0, 3, 0, at, 4, value);
  const get = (at: number) => machine.read(0, 3, 0, at);
  const owner = (name: string) =>
    machine.bus
      .statistics()
      .filter((range) => range.name === name)
      .map(({ first, last }) => [first, last]);
  return { ...machine, machine, set, get, owner };
}

describe("BAR sizing", () => {
  it("shows the size and the type after a write of all ones", () => {
    const { set, get } = machineWith(
      bars(
        { index: 0, kind: "memory32", size: 0x1000 },
        { index: 1, kind: "io", size: 0x20 },
        { index: 2, kind: "memory64", size: 0x10_0000, prefetchable: true },
        { index: 4, kind: "memory64", size: 2 ** 33 },
        { index: 6, kind: "rom", size: 0x800 },
      ),
    );
    for (const at of [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x30]) set(at, 0xffff_ffff);
    expect([0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x30].map(get)).toEqual([
      0xffff_f000, 0xffff_ffe1, 0xfff0_000c, 0xffff_ffff, 0x0000_0004, 0xffff_fffe, 0xffff_f801,
    ]);
    for (const at of [0x10, 0x14, 0x18]) set(at, 0);
    expect([get(0x10), get(0x14), get(0x18)]).toEqual([0, 1, 0xc]);
  });

  it("of a BAR that is not there gives 0", () => {
    const { set, get } = machineWith(bars({ index: 0, kind: "memory32", size: 0x1000 }));
    set(0x14, 0xffff_ffff);
    set(0x30, 0xffff_ffff);
    expect([get(0x14), get(0x30)]).toEqual([0, 0]);
  });

  it("is for powers of two within bounds", () => {
    const device = new MemoryRegion(1);
    for (const bad of [
      { index: 0, kind: "io", size: 512 },
      { index: 0, kind: "io", size: 2 },
      { index: 0, kind: "memory32", size: 48 },
      { index: 0, kind: "memory32", size: 8 },
      { index: 5, kind: "memory64", size: 4096 },
      { index: 6, kind: "memory32", size: 4096 },
      { index: 0, kind: "rom", size: 2048 },
      { index: 1.5, kind: "io", size: 16 },
    ] as const) {
      expect(() => new PciBar(bad, device)).toThrow(RangeError);
    }
    expect(() =>
      bars({ index: 0, kind: "memory64", size: 4096 }, { index: 1, kind: "io", size: 16 }),
    ).toThrow(RangeError);
  });
});

describe("BAR decoding", () => {
  it("follows the address and the command register", () => {
    const { bus, machine, set, owner } = machineWith(bars({ index: 0, kind: "memory32", size: 0x1000 }));
    set(0x10, 0xc000_0000);
    expect(bus.mmioRead(0xc000_0000, 4)).toBe(0xffff_ffff);
    machine.write(0, 3, 0, 4, 2, 2);
    bus.mmioWrite(0xc000_0010, 4, 0x1234_5678);
    set(0x10, 0xd000_0000);
    expect(bus.mmioRead(0xc000_0010, 4)).toBe(0xffff_ffff);
    expect(bus.mmioRead(0xd000_0010, 4)).toBe(0x1234_5678);
    expect(owner("pci 03.0 bar 0")).toEqual([[0xd000_0000, 0xd000_0fff]]);
    machine.write(0, 3, 0, 4, 2, 1);
    expect(bus.mmioRead(0xd000_0010, 4)).toBe(0xffff_ffff);
  });

  it("of ports gives the device offsets from the BAR's start", () => {
    const { bus, machine, set } = machineWith(bars({ index: 0, kind: "io", size: 0x20 }));
    set(0x10, 0xc100);
    machine.write(0, 3, 0, 4, 2, 1);
    bus.portWrite(0xc11e, 2, 0xbeef);
    set(0x10, 0xc200);
    expect([bus.portRead(0xc21e, 2), bus.portRead(0xc11e, 2), bus.portRead(0xc220, 1)]).toEqual([
      0xbeef, 0xffff, 0xff,
    ]);
  });

  it("reaches 64-bit addresses, half by half", () => {
    const { bus, machine, set, owner } = machineWith(
      bars({ index: 2, kind: "memory64", size: 0x1000, prefetchable: true }),
    );
    machine.write(0, 3, 0, 4, 2, 2);
    set(0x18, 0x0000_1000);
    set(0x1c, 0x40);
    expect(owner("pci 03.0 bar 2")).toEqual([[0x40_0000_1000, 0x40_0000_1fff]]);
    bus.mmioWrite(0x40_0000_1ffc, 4, 7);
    expect(bus.mmioRead(0x40_0000_1ffc, 4)).toBe(7);
    // Beyond 52 bits nothing can be reached.
    set(0x1c, 0xffff_ffff);
    expect(owner("pci 03.0 bar 2")).toEqual([]);
  });

  it("of a ROM needs its own enable bit too", () => {
    const { machine, set, owner } = machineWith(bars({ index: 6, kind: "rom", size: 0x800 }));
    machine.write(0, 3, 0, 4, 2, 2);
    set(0x30, 0xc000_0800);
    expect(owner("pci 03.0 bar 6")).toEqual([]);
    set(0x30, 0xc000_0801);
    expect(owner("pci 03.0 bar 6")).toEqual([[0xc000_0800, 0xc000_0fff]]);
  });

  it("at address 0, or of ports above 0xFFFF, does not happen", () => {
    const { machine, set, owner } = machineWith(
      bars({ index: 0, kind: "memory32", size: 0x1000 }, { index: 1, kind: "io", size: 16 }),
    );
    machine.write(0, 3, 0, 4, 2, 3);
    expect([owner("pci 03.0 bar 0"), owner("pci 03.0 bar 1")]).toEqual([[], []]);
    set(0x14, 0x1_0000);
    expect(owner("pci 03.0 bar 1")).toEqual([]);
    set(0x14, 0xfff0);
    expect(owner("pci 03.0 bar 1")).toEqual([[0xfff0, 0xffff]]);
  });
});

describe("BARs that overlap", () => {
  it("other devices do not answer, throw nothing, and answer once they are moved", () => {
    const { bus, host, machine, set, owner } = machineWith(
      bars({ index: 0, kind: "memory32", size: 0x1000_0000 }, { index: 1, kind: "io", size: 0x100 }),
    );
    bus.registerMmio("apic", 0xfee0_0000, 0x1000, new MemoryRegion(0x1000));
    machine.write(0, 3, 0, 4, 2, 3);
    for (const at of [0xf000_0000, 0xe000_0000]) {
      set(0x10, at);
      expect(owner("pci 03.0 bar 0")).toEqual([]);
      expect(JSON.stringify(host.inspect()["bars"])).toContain(
        `0x${at.toString(16)} + 0x10000000: does not answer`,
      );
    }
    set(0x14, 0x0c00);
    expect(owner("pci 03.0 bar 1")).toEqual([]);
    // The way to configuration space was never lost.
    set(0x10, 0xc000_0000);
    expect(owner("pci 03.0 bar 0")).toEqual([[0xc000_0000, 0xcfff_ffff]]);
  });

  it("each other: the first by place answers, whatever the order of the writes", () => {
    const { host, machine, set, owner } = machineWith(bars({ index: 0, kind: "memory32", size: 0x1000 }));
    host.attach(bars({ index: 0, kind: "memory32", size: 0x2000 }), { device: 4 });
    machine.write(0, 4, 0, 4, 2, 2);
    machine.write(0, 4, 0, 0x10, 4, 0xc000_0000);
    expect(owner("pci 04.0 bar 0")).toEqual([[0xc000_0000, 0xc000_1fff]]);
    machine.write(0, 3, 0, 4, 2, 2);
    set(0x10, 0xc000_1000);
    expect([owner("pci 03.0 bar 0"), owner("pci 04.0 bar 0")]).toEqual([[[0xc000_1000, 0xc000_1fff]], []]);
    set(0x10, 0xc000_2000);
    expect(owner("pci 04.0 bar 0")).toEqual([[0xc000_0000, 0xc000_1fff]]);
  });

  it("never take more ranges than the bus has", () => {
    const machine = new BareMachine();
    const size = 16;
    for (let device = 1; device < 8; device++) {
      for (let fn = 0; fn < 8; fn++) {
        const indices = [0, 1, 2, 3, 4, 5];
        machine.host.attach(bars(...indices.map((index) => ({ index, kind: "memory32", size }) as const)), {
          device,
          function: fn,
        });
      }
    }
    machine.host.assignResources();
    expect(machine.bus.statistics().filter(({ kind }) => kind === "mmio").length).toBe(256);
    expect(
      Object.values(machine.host.inspect()["bars"]!).filter((row) => row.includes("bus is full")).length,
    ).toBe(7 * 48 - 254);
  });
});

describe("Bridge windows", () => {
  function behind() {
    const machine = new BareMachine();
    machine.host.attach(
      bars(
        { index: 0, kind: "memory32", size: 0x10_0000 },
        { index: 1, kind: "io", size: 0x100 },
        { index: 2, kind: "memory64", size: 0x10_0000, prefetchable: true },
      ),
      { port: 0 },
    );
    machine.host.assignResources();
    const port = (at: number, width: 1 | 2 | 4, value: number) => machine.write(0, 0x1c, 0, at, width, value);
    const answers = () =>
      machine.bus
        .statistics()
        .filter(({ name }) => name.startsWith("pci 1c.0/00.0"))
        .map(({ name }) => Number(name.at(-1)));
    return { machine, port, answers };
  }

  it("let through what lies wholly within them", () => {
    const { machine, port, answers } = behind();
    expect(answers()).toEqual([1, 0, 2]);
    machine.write(1, 0, 0, 0x10, 4, 0xc030_0000);
    port(0x20, 4, 0xc030_c030);
    expect(answers()).toEqual([1, 0, 2]);
    port(0x20, 4, 0xc030_c040);
    expect(answers()).toEqual([1, 2]);
    port(0x20, 4, 0xc020_c020);
    expect(answers()).toEqual([1, 2]);
  });

  it("of the prefetchable kind have 64 bits, and a limit below the base closes them", () => {
    const { port, answers } = behind();
    port(0x2c, 4, 0x3f);
    expect(answers()).toEqual([1, 0]);
    port(0x2c, 4, 0x41);
    expect(answers()).toEqual([1, 0, 2]);
    port(0x28, 4, 0x41);
    expect(answers()).toEqual([1, 0]);
  });

  it("of ports have 4 KiB steps; with ISA set only the first 256 of each KiB pass", () => {
    const { machine, port, answers } = behind();
    port(0x1c, 2, 0xd0d0);
    expect(answers()).toEqual([0, 2]);
    machine.write(1, 0, 0, 0x14, 4, 0xd100);
    expect(answers()).toEqual([1, 0, 2]);
    port(0x3e, 2, 4);
    expect(answers()).toEqual([0, 2]);
    machine.write(1, 0, 0, 0x14, 4, 0xd400);
    expect(answers()).toEqual([1, 0, 2]);
  });

  it("are shut by the bridge's command register and by a reset of its secondary bus", () => {
    const { port, answers } = behind();
    port(4, 2, 2);
    expect(answers()).toEqual([0, 2]);
    port(4, 2, 1);
    expect(answers()).toEqual([1]);
    port(4, 2, 7);
    port(0x3e, 2, 0x40);
    expect(answers()).toEqual([]);
    // Out of reset the function is as after power-on.
    port(0x3e, 2, 0);
    expect(answers()).toEqual([]);
  });
});
