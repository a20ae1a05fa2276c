import { describe, expect, it } from "vitest";
import { BareMachine } from "./bare-machine.ts";
import { PciFunction } from "./function.ts";
import { pciLayout } from "./layout.ts";
import { MemoryRegion } from "./memory-region.ts";
import { TestFunction } from "./test-function.ts";

const device = new MemoryRegion(16);
const fn = (...bars: readonly (readonly ["io" | "memory32" | "memory64", number])[]) =>
  new PciFunction({
    name: "f",
    vendor: 1,
    device: 2,
    classCode: 0,
    interruptPin: 1,
    bars: bars.map(([kind, size], n) => ({
      index: 2 * n,
      kind,
      size,
      prefetchable: kind === "memory64",
      device,
    })),
  });

function ranges(machine: BareMachine) {
  return machine.bus
    .statistics()
    .filter(({ name }) => /^pci .* bar/.test(name))
    .map(({ name, first, last }) => ({ name, first, last }));
}

describe("assignResources", () => {
  it("gives bus numbers depth first, with some to spare for each slot", () => {
    const machine = new BareMachine({ rootPorts: 3 });
    machine.host.assignResources();
    expect([0, 1, 2].map((port) => machine.read(0, 0x1c, port, 0x18))).toEqual([
      0x0008_0100, 0x0010_0900, 0x0018_1100,
    ]);
  });

  it("puts every BAR into its window, on its own alignment, apart from the others, and lets it answer", () => {
    const machine = new BareMachine();
    machine.host.attach(fn(["memory32", 0x10], ["memory32", 0x20_0000], ["io", 8]), { device: 1 });
    machine.host.attach(fn(["memory64", 0x4000_0000], ["memory32", 0x1000], ["io", 0x100]), { port: 0 });
    machine.host.attach(new TestFunction({ timebase: machine.time }), { port: 1 });
    machine.host.assignResources();
    const all = ranges(machine);
    expect(all.length).toBe(9);
    const { ports, memory32, memory64 } = pciLayout;
    for (const { first, last } of all) {
      const window = first < 0x1_0000 ? ports : first < 2 ** 32 ? memory32 : memory64;
      expect(first).toBeGreaterThanOrEqual(window.base);
      expect(last).toBeLessThan(window.base + window.length);
      expect(first % (last - first + 1)).toBe(0);
      expect(
        all.filter(
          (other) =>
            other.first <= last && first <= other.last && other.first < 0x1_0000 === first < 0x1_0000,
        ).length,
      ).toBe(1);
    }
    expect(all.filter(({ first }) => first >= memory64.base).map(({ name }) => name)).toEqual([
      "pci 1c.0/00.0 bar 0",
      "pci 1c.1/00.0 bar 2",
    ]);
  });

  it("puts 64-bit BARs below 4 GiB when the processor cannot address the high window", () => {
    const machine = new BareMachine({ physicalAddressBits: 36 });
    machine.host.attach(fn(["memory64", 0x10_0000]), { port: 0 });
    machine.host.assignResources();
    expect(machine.host.highWindow).toBeUndefined();
    expect(ranges(machine).map(({ first }) => first)).toEqual([0xc000_0000]);
    expect(new BareMachine({ physicalAddressBits: 39 }).host.highWindow).toEqual({
      base: 2 ** 38,
      length: 2 ** 38,
    });
  });

  it("leaves windows for slots that are empty, and ports to as many as there are", () => {
    const machine = new BareMachine({ rootPorts: 8 });
    machine.host.attach(fn(["io", 0x100]), { device: 1 });
    machine.host.assignResources();
    const open = (port: number) => {
      const memory = machine.read(0, 0x1c, port, 0x20);
      const io = machine.read(0, 0x1c, port, 0x1c, 2);
      return [(memory & 0xfff0) <= memory >>> 16, (io & 0xf0) <= io >>> 8];
    };
    expect([0, 1, 2, 3, 4, 5, 6, 7].map((port) => open(port)[0])).toEqual(Array(8).fill(true));
    expect([0, 1, 2, 3].map((port) => open(port)[1])).toEqual([true, true, false, false]);
    expect(ranges(machine)).toEqual([{ name: "pci 01.0 bar 0", first: 0xc000, last: 0xc0ff }]);
  });

  it("leaves a BAR that fits nowhere without an address", () => {
    const machine = new BareMachine();
    machine.host.attach(fn(["memory32", 0x2000_0000], ["memory32", 0x1000]), { device: 1 });
    machine.host.assignResources();
    expect(ranges(machine).length).toBe(1);
    machine.host.attach(fn(["memory32", 0x8000_0000]), { device: 2 });
    machine.host.reset();
    machine.host.assignResources();
    expect(machine.read(0, 2, 0, 0x10)).toBe(0);
  });

  it("routes PIRQs to inputs 10 and 11 and writes the interrupt lines", () => {
    const machine = new BareMachine();
    machine.host.attach(fn(), { device: 2 });
    machine.host.attach(fn(), { device: 3 });
    machine.host.attach(fn(), { port: 1 });
    machine.host.assignResources();
    expect([
      machine.read(0, 2, 0, 0x3c, 1),
      machine.read(0, 3, 0, 0x3c, 1),
      machine.read(9, 0, 0, 0x3c, 1),
    ]).toEqual([10, 11, 10]);
    expect([machine.read(0, 0, 0, 0x3c, 1), machine.read(0, 0x1c, 1, 0x3c, 1)]).toEqual([0, 11]);
    expect(machine.host.levelInputs).toBe((1 << 10) | (1 << 11));
  });

  it("a second time gives the same", () => {
    const machine = new BareMachine();
    machine.host.attach(new TestFunction({ timebase: machine.time }), { port: 0 });
    machine.host.assignResources();
    const first = machine.host.save();
    machine.host.assignResources();
    expect(machine.host.save()).toEqual(first);
    machine.host.reset();
    machine.host.assignResources();
    expect(machine.host.save()).toEqual(first);
  });
});
