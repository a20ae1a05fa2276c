import { describe, expect, it } from "vitest";
import { BareMachine } from "./bare-machine.ts";
import { type Capability, powerCapability, subsystemCapability, vendorCapability } from "./capabilities.ts";
import { endpointExpress } from "./express.ts";
import { PciFunction } from "./function.ts";
import { MemoryRegion } from "./memory-region.ts";
import { MsiCapability } from "./messages.ts";

class Counting extends PciFunction {
  resets = 0;

  constructor(capabilities: readonly Capability[]) {
    super({
      name: "counting",
      vendor: 0x1234,
      device: 0x5678,
      classCode: 0xff0000,
      subsystemVendor: 0x4321,
      subsystem: 0x8765,
      revision: 3,
      interruptPin: 1,
      bars: [{ index: 0, kind: "memory32", size: 0x1000, device: new MemoryRegion(0x1000) }],
      capabilities,
    });
  }

  protected override resetDevice(): void {
    this.resets++;
  }
}

/** The function at 00:03.0 with BAR 0 at 0xC0000000, memory and bus master on. */
function machineWith(...capabilities: Capability[]) {
  const machine = new BareMachine();
  const fn = new Counting(capabilities);
  machine.host.attach(fn, { device: 3 });
  machine.write(0, 3, 0, 0x10, 4, 0xc000_0000);
  machine.write(0, 3, 0, 4, 2, 6);
  fn.resets = 0;
  const get = (at: number, width: 1 | 2 | 4 = 4) => machine.read(0, 3, 0, at, width);
  const set = (at: number, width: 1 | 2 | 4, value: number) => machine.write(0, 3, 0, at, width, value);
  const answers = () => machine.bus.mmioRead(0xc000_0000, 4) === 0;
  return { ...machine, machine, fn, get, set, answers };
}

describe("The header", () => {
  it("says who the function is, and nothing of that can be written", () => {
    const { get, set } = machineWith();
    for (const at of [0, 8, 0x28, 0x2c, 0x34, 0x38]) set(at, 4, 0xffff_ffff);
    expect([0, 8, 0x28, 0x2c, 0x34, 0x38].map((at) => get(at))).toEqual([
      0x5678_1234, 0xff00_0003, 0, 0x8765_4321, 0, 0,
    ]);
  });

  it("keeps of the command register what PCI Express has", () => {
    const { get, set } = machineWith();
    set(4, 2, 0xffff);
    expect(get(4)).toBe(0x0547);
    set(5, 1, 0);
    expect(get(4)).toBe(0x0047);
  });

  it("keeps cache line size and interrupt line; latency timer, BIST, Min_Gnt and Max_Lat are 0", () => {
    const { get, set } = machineWith();
    set(0x0c, 4, 0xffff_ffff);
    set(0x3c, 4, 0xffff_ffff);
    expect([get(0x0c), get(0x3c)]).toEqual([0x0000_00ff, 0x0000_01ff]);
  });
});

describe("The capability list", () => {
  it("links what the function has, from 0x40, and the status register says that there is one", () => {
    const { get } = machineWith(
      endpointExpress(true),
      powerCapability(true),
      new MsiCapability(4),
      vendorCapability(Uint8Array.of(0xaa, 0xbb)),
    );
    expect(get(6, 2)).toBe(0x0010);
    const ids: number[] = [];
    for (let at = get(0x34, 1); at !== 0; at = get(at + 1, 1)) ids.push(get(at, 1));
    expect(ids).toEqual([0x10, 0x01, 0x05, 0x09]);
    // The last is the vendor's: length and data.
    expect(get(0x40 + 0x3c + 8 + 0x18)).toBe(0xaa05_0009);
    expect(get(0x40 + 0x3c + 8 + 0x18 + 4)).toBe(0xbb);
  });

  it("must fit below 0x100", () => {
    expect(() => new Counting([vendorCapability(new Uint8Array(200))])).toThrow(RangeError);
  });

  it("of a bridge names its subsystem", () => {
    const machine = new BareMachine();
    let at = machine.read(0, 0x1c, 0, 0x34, 1);
    while (machine.read(0, 0x1c, 0, at, 1) !== subsystemCapability(0, 0).id)
      at = machine.read(0, 0x1c, 0, at + 1, 1);
    expect(machine.read(0, 0x1c, 0, at + 4)).toBe(0x1b36);
  });
});

describe("Power management", () => {
  const pm = 0x44;

  it("in D3hot decodes nothing, drives nothing and sends nothing, but answers configuration", () => {
    const { fn, set, get, answers, pirqs, ram } = machineWith(powerCapability(true));
    fn.setIntx(true);
    set(pm, 2, 3);
    expect([answers(), pirqs[3]!.level, fn.dmaWrite(0, Uint8Array.of(1)), ram[0]]).toEqual([
      false,
      false,
      false,
      0,
    ]);
    expect([get(0), get(pm, 2)]).toEqual([0x5678_1234, 3]);
  });

  it("back in D0 is reset, as no soft reset is clear", () => {
    const { fn, set, get, answers, pirqs } = machineWith(powerCapability(true));
    set(pm, 2, 3);
    expect(fn.resets).toBe(0);
    set(pm, 2, 0);
    expect([fn.resets, get(4, 2), get(0x10), answers(), pirqs[3]!.level]).toEqual([1, 0, 0, false, false]);
  });

  it("discards D1 and D2, and a byte beside the state changes nothing", () => {
    const { set, get } = machineWith(powerCapability(true));
    for (const state of [1, 2]) {
      set(pm, 2, state);
      expect(get(pm, 2)).toBe(0);
    }
    set(pm, 2, 3);
    set(pm, 2, 1);
    set(pm + 1, 1, 0);
    expect(get(pm, 2)).toBe(3);
  });

  it("of a root port keeps its registers, and shuts off what is behind", () => {
    const machine = new BareMachine();
    machine.host.attach(new Counting([]), { port: 0 });
    machine.host.assignResources();
    const port = machine.host.rootPorts[0]!;
    let at = machine.read(0, 0x1c, 0, 0x34, 1);
    while (machine.read(0, 0x1c, 0, at, 1) !== 1) at = machine.read(0, 0x1c, 0, at + 1, 1);
    machine.write(0, 0x1c, 0, at + 4, 2, 3);
    expect([machine.read(1, 0, 0, 0), port.open]).toEqual([0xffff_ffff, false]);
    machine.write(0, 0x1c, 0, at + 4, 2, 0);
    expect([machine.read(1, 0, 0, 0), machine.read(0, 0x1c, 0, 0x19, 1)]).toEqual([0x5678_1234, 1]);
  });
});

describe("Resets", () => {
  it("by function level reset registers but the payload size, and the device", () => {
    const { fn, set, get, answers, pirqs } = machineWith(endpointExpress(true));
    expect(get(0x44) >>> 28).toBe(1);
    fn.setIntx(true);
    set(0x48, 2, 0x005f);
    expect([get(0x48, 2), fn.resets]).toEqual([0x005f, 0]);
    set(0x48, 2, 0x805f);
    expect(fn.resets).toBe(1);
    expect([get(0x48, 2), get(4, 2), get(6, 2), answers(), pirqs[3]!.level]).toEqual([
      0x2850,
      0,
      0x0010,
      false,
      false,
    ]);
  });

  it("by function level do not exist without the capability", () => {
    const machine = new BareMachine();
    machine.write(0, 0x1c, 0, 0x18, 4, 0x0001_0100);
    machine.write(0, 0x1c, 0, 0x48, 2, 0x8000);
    expect(machine.read(0, 0x1c, 0, 0x18)).toBe(0x0001_0100);
  });

  it("by the secondary bus are as power-on for what is behind; meanwhile nothing is reached there", () => {
    const machine = new BareMachine();
    const fn = new Counting([endpointExpress(false)]);
    machine.host.attach(fn, { port: 0 });
    machine.host.assignResources();
    machine.write(1, 0, 0, 0x48, 2, 0x0050);
    fn.resets = 0;
    machine.write(0, 0x1c, 0, 0x3e, 2, 0x40);
    expect([fn.resets, machine.read(1, 0, 0, 0)]).toEqual([1, 0xffff_ffff]);
    machine.write(0, 0x1c, 0, 0x3e, 2, 0x40);
    machine.write(0, 0x1c, 0, 0x3e, 2, 0);
    expect([fn.resets, machine.read(1, 0, 0, 0), machine.read(1, 0, 0, 0x48, 2)]).toEqual([
      1, 0x5678_1234, 0x2810,
    ]);
  });

  it("of the host reach everything, and an interrupt that was up goes down", () => {
    const machine = new BareMachine();
    const fn = new Counting([]);
    machine.host.attach(fn, { port: 1 });
    machine.host.assignResources();
    fn.setIntx(true);
    fn.resets = 0;
    machine.host.reset();
    expect(fn.resets).toBe(1);
    expect(machine.pirqs.every(({ level }) => !level)).toBe(true);
    expect(machine.host.functionAt(1, 0)).toBeUndefined();
  });
});

describe("PCI Express capability", () => {
  it("of an integrated endpoint has no link", () => {
    const { get, set } = machineWith(endpointExpress(true));
    for (const at of [0x4c, 0x50, 0x6c, 0x70]) {
      set(at, 4, 0xffff_ffff);
      expect(get(at)).toBe(0);
    }
    expect(get(0x42, 2)).toBe(0x0092);
  });

  it("of an endpoint says one lane at 2.5 GT/s, and that it runs", () => {
    const { get } = machineWith(endpointExpress(false));
    expect([get(0x42, 2), get(0x4c), get(0x52, 2), get(0x6c)]).toEqual([0x0002, 0x11, 0x11, 2]);
  });

  it("keeps of device control what is defined, and clears device status by 1", () => {
    const { get, set } = machineWith(endpointExpress(true));
    expect(get(0x48)).toBe(0x2810);
    set(0x48, 4, 0xffff_7fff);
    expect(get(0x48)).toBe(0x78ff);
  });
});
