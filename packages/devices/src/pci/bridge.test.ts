import { describe, expect, it } from "vitest";
import { BareMachine } from "./bare-machine.ts";
import { PciBridge } from "./bridge.ts";
import { powerCapability } from "./capabilities.ts";
import { PciFunction } from "./function.ts";
import { MemoryRegion } from "./memory-region.ts";

const bridge = () =>
  new PciBridge({
    name: "bridge",
    vendor: 0x1234,
    device: 0xb000,
    classCode: 0x060400,
    capabilities: [powerCapability(false)],
  });
const leaf = (interruptPin = 1) =>
  new PciFunction({
    name: "leaf",
    vendor: 0x1234,
    device: 0x5678,
    classCode: 0xff0000,
    interruptPin,
    bars: [{ index: 0, kind: "memory32", size: 0x1000, device: new MemoryRegion(0x1000) }],
  });

/** A card behind root port 0: a bridge, behind it another as device 2, behind that a function as device 3. */
function nested() {
  const machine = new BareMachine();
  const { host } = machine;
  const [outer, inner, fn] = [bridge(), bridge(), leaf(2)];
  host.attach(outer, { port: 0 });
  host.attach(inner, { bridge: outer, device: 2 });
  host.attach(fn, { bridge: inner, device: 3 });
  host.assignResources();
  return { ...machine, machine, host, outer, inner, fn };
}

describe("Bridges behind bridges", () => {
  it("are numbered depth first, and configuration accesses pass through all of them", () => {
    const { machine } = nested();
    expect([
      machine.read(0, 0x1c, 0, 0x18),
      machine.read(1, 0, 0, 0x18),
      machine.read(2, 2, 0, 0x18),
    ]).toEqual([0x0008_0100, 0x0003_0201, 0x0003_0302]);
    expect(machine.read(3, 3, 0, 0)).toBe(0x5678_1234);
  });

  it("lead only to numbers that the bridges above cover", () => {
    const { machine } = nested();
    machine.write(1, 0, 0, 0x1a, 1, 2);
    expect(machine.read(3, 3, 0, 0)).toBe(0xffff_ffff);
    machine.write(1, 0, 0, 0x1a, 1, 0xff);
    expect(machine.read(3, 3, 0, 0)).toBe(0x5678_1234);
    machine.write(0, 0x1c, 0, 0x1a, 1, 2);
    expect(machine.read(3, 3, 0, 0)).toBe(0xffff_ffff);
    expect(machine.read(2, 2, 0, 0)).toBe(0xb000_1234);
  });

  it("pass accesses that the windows of each let through", () => {
    const { machine, bus } = nested();
    const at = machine.read(3, 3, 0, 0x10);
    bus.mmioWrite(at, 4, 5);
    expect(bus.mmioRead(at, 4)).toBe(5);
    for (const [number, device] of [
      [2, 2],
      [1, 0],
      [0, 0x1c],
    ] as const) {
      machine.write(number, device, 0, 4, 2, 5);
      expect(bus.mmioRead(at, 4)).toBe(0xffff_ffff);
      machine.write(number, device, 0, 4, 2, 7);
      expect(bus.mmioRead(at, 4)).toBe(5);
    }
  });

  it("turn pins by the device number at each", () => {
    const { fn, pirqs } = nested();
    fn.setIntx(true);
    // Pin B of device 3 is pin A at device 2, that is C at device 0, that stays C; 0x1c and C are PIRQ G.
    expect(pirqs.map(({ level }) => level).indexOf(true)).toBe(6);
  });

  it("pass DMA and messages only while each is bus master and has power", () => {
    const { machine, fn } = nested();
    machine.write(3, 3, 0, 4, 2, 6);
    expect(fn.dmaWrite(0, Uint8Array.of(1))).toBe(true);
    machine.write(2, 2, 0, 4, 2, 3);
    expect(fn.dmaWrite(0, Uint8Array.of(1))).toBe(false);
    machine.write(2, 2, 0, 4, 2, 7);
    machine.write(1, 0, 0, 0x44, 2, 3);
    expect([fn.dmaWrite(0, Uint8Array.of(1)), machine.read(2, 2, 0, 0)]).toEqual([false, 0xffff_ffff]);
  });

  it("reset what is behind them, all the way", () => {
    const { machine } = nested();
    machine.write(3, 3, 0, 0x3c, 1, 7);
    machine.write(0, 0x1c, 0, 0x3e, 2, 0x40);
    machine.write(0, 0x1c, 0, 0x3e, 2, 0);
    machine.host.assignResources();
    expect(machine.read(3, 3, 0, 0x3c, 1)).toBe(10);
  });

  it("are pulled out and plugged in with all that is behind them", () => {
    const { machine, host, outer, inner, fn, pirqs } = nested();
    fn.setIntx(true);
    host.hotRemove(0);
    expect([outer.attached, inner.attached, fn.attached, pirqs[6]!.level]).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(() => host.attach(leaf(), { bridge: outer, device: 4 })).toThrow(RangeError);
    host.hotAdd(1, outer);
    host.assignResources();
    expect([fn.path, machine.read(0x0b, 3, 0, 0)]).toEqual(["1c.1/00.0/02.0/03.0", 0x5678_1234]);
    expect(() => host.attach(leaf(), { bridge: host.rootPorts[1]!, device: 1 })).toThrow(RangeError);
  });

  it("are saved and restored in their places", () => {
    const { host, machine } = nested();
    machine.write(3, 3, 0, 0x3c, 1, 0x55);
    const state = structuredClone(host.save());
    const copy = nested();
    copy.host.restore(state);
    expect(copy.host.save()).toEqual(state);
    expect(copy.machine.read(3, 3, 0, 0x3c, 1)).toBe(0x55);
  });
});
