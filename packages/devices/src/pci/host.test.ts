import { describe, expect, it } from "vitest";
import { BareMachine, ecamAt } from "./bare-machine.ts";
import { PciFunction } from "./function.ts";

const plain = (interruptPin = 0) =>
  new PciFunction({ name: "plain", vendor: 0x1234, device: 0x5678, classCode: 0x010203, interruptPin });

describe("Configuration mechanism #1", () => {
  it("takes only dwords as the address, and keeps no reserved bits", () => {
    const { bus } = new BareMachine();
    bus.portWrite(0xcf8, 4, 0xffff_ffff);
    expect(bus.portRead(0xcf8, 4)).toBe(0x80ff_fffc);
    bus.portWrite(0xcf8, 1, 0);
    bus.portWrite(0xcfa, 2, 0);
    expect(bus.portRead(0xcf8, 4)).toBe(0x80ff_fffc);
    expect([bus.portRead(0xcf8, 1), bus.portRead(0xcf8, 2), bus.portRead(0xcfb, 1)]).toEqual([
      0xff, 0xffff, 0xff,
    ]);
  });

  it("hands byte accesses at 0xCF9 to reset control, and no others", () => {
    const { bus, resets } = new BareMachine();
    bus.portWrite(0xcf9, 1, 6);
    bus.portWrite(0xcf8, 2, 0x0606);
    bus.portWrite(0xcf9, 2, 0x0606);
    expect(resets).toEqual([6]);
    expect([bus.portRead(0xcf9, 1), bus.portRead(0xcf9, 2)]).toEqual([0x5a, 0xffff]);
  });

  it("reads all ones and writes nothing while the enable bit is clear", () => {
    const machine = new BareMachine();
    machine.bus.portWrite(0xcf8, 4, 0x0000_0004);
    machine.bus.portWrite(0xcfc, 4, 7);
    expect(machine.bus.portRead(0xcfc, 4)).toBe(0xffff_ffff);
    expect(machine.read(0, 0, 0, 4)).toBe(0);
  });

  it("reaches bytes, words and dwords of the dword that is addressed", () => {
    const machine = new BareMachine();
    machine.host.attach(plain(), { device: 3 });
    expect(machine.read(0, 3, 0, 0)).toBe(0x5678_1234);
    expect([machine.read(0, 3, 0, 0, 1), machine.read(0, 3, 0, 1, 1)]).toEqual([0x34, 0x12]);
    expect([machine.read(0, 3, 0, 2, 2), machine.read(0, 3, 0, 1, 2)]).toEqual([0x5678, 0x7812]);
    machine.write(0, 3, 0, 0x3c, 1, 0xab);
    expect(machine.read(0, 3, 0, 0x3c)).toBe(0xab);
  });

  it("splits an access that leaves the data port", () => {
    const machine = new BareMachine();
    machine.host.attach(plain(), { device: 3 });
    machine.read(0, 3, 0, 0);
    // 0xCFF is the last byte; the ports behind belong to nobody.
    expect(machine.bus.portRead(0xcff, 4)).toBe(0xffff_ff56);
    expect(machine.bus.portRead(0xcfd, 4)).toBe(0xff56_7812);
  });

  it("reads all ones where there is no function, and drops writes there", () => {
    const machine = new BareMachine();
    machine.write(0, 9, 0, 4, 4, 0xffff_ffff);
    expect([machine.read(0, 9, 0, 0), machine.read(0, 9, 0, 0, 2), machine.read(0, 9, 0, 0, 1)]).toEqual([
      0xffff_ffff, 0xffff, 0xff,
    ]);
    expect([machine.read(5, 0, 0, 0), machine.read(0, 0, 1, 0)]).toEqual([0xffff_ffff, 0xffff_ffff]);
  });
});

describe("ECAM", () => {
  it("reaches the same registers, at any width and alignment", () => {
    const machine = new BareMachine();
    machine.host.attach(plain(), { device: 3 });
    const at = ecamAt(0, 3, 0);
    expect(machine.bus.mmioRead(at, 4)).toBe(0x5678_1234);
    expect(machine.bus.mmioRead(at + 1, 4)).toBe(0x0056_7812);
    expect(machine.bus.mmioRead(at + 9, 4) >>> 0).toBe(0x0001_0203);
    machine.bus.mmioWrite(at + 0x3a, 4, 0x00ee_0000);
    expect(machine.read(0, 3, 0, 0x3c, 1)).toBe(0xee);
  });

  it("reads all ones above 255 of a conventional function and zeros of an Express one without extended capabilities", () => {
    const { bus, host } = new BareMachine();
    host.attach(plain(), { device: 3 });
    expect(bus.mmioRead(ecamAt(0, 3, 0, 0x100), 4)).toBe(0xffff_ffff);
    expect(bus.mmioRead(ecamAt(0, 0x1c, 0, 0x100), 4)).toBe(0);
    expect(bus.mmioRead(ecamAt(0, 0x1c, 0, 0xffe), 2)).toBe(0);
  });

  it("splits an access that runs into the next function", () => {
    const { bus } = new BareMachine();
    // 00:1c.0 ends, 00:1c.1 begins with its vendor.
    expect(bus.mmioRead(ecamAt(0, 0x1c, 0, 0xffe), 4)).toBe(0x1b36_0000);
    bus.mmioWrite(ecamAt(0, 0x1c, 1, -2), 4, 0xffff_ffff);
    expect(bus.mmioRead(ecamAt(0, 0x1c, 1), 4)).toBe(0x000c_1b36);
  });
});

describe("The topology", () => {
  it("has a host bridge, root ports from 1c.0 and an ISA bridge at 1f.0", () => {
    const machine = new BareMachine({ rootPorts: 8 });
    expect(machine.read(0, 0, 0, 0)).toBe(0x0008_1b36);
    for (let port = 0; port < 8; port++) expect(machine.read(0, 0x1c, port, 0)).toBe(0x000c_1b36);
    expect(machine.read(0, 0x1f, 0, 0)).toBe(0x00e1_1b36);
    expect(machine.read(0, 0x1f, 0, 8) >>> 8).toBe(0x060100);
  });

  it("sets the multi-function bit where a device has more functions, and keeps it over a reset", () => {
    const machine = new BareMachine({ rootPorts: 1 });
    expect(machine.read(0, 0x1c, 0, 0x0e, 1)).toBe(0x01);
    machine.host.attach(plain(), { device: 3 });
    machine.host.attach(plain(), { device: 3, function: 5 });
    machine.host.reset();
    expect([machine.read(0, 3, 0, 0x0e, 1), machine.read(0, 3, 5, 0x0e, 1)]).toEqual([0x80, 0x80]);
  });

  it("refuses places that are taken, do not exist, or lack function 0", () => {
    const { host } = new BareMachine();
    host.attach(plain(), { device: 3 });
    expect(() => host.attach(plain(), { device: 3 })).toThrow(RangeError);
    expect(() => host.attach(plain(), { device: 32 })).toThrow(RangeError);
    expect(() => host.attach(plain(), { device: 4, function: 1 })).toThrow(RangeError);
    expect(() => host.attach(plain(), { port: 2 })).toThrow(RangeError);
    const fn = plain();
    host.attach(fn, { port: 0 });
    expect(() => host.attach(fn, { port: 1 })).toThrow(RangeError);
    expect(() => host.hotAdd(0, plain())).toThrow(RangeError);
    expect(() => host.hotRemove(1)).toThrow(RangeError);
    expect(() => new BareMachine({ rootPorts: 9 })).toThrow(RangeError);
    expect(() => new BareMachine({ rootPorts: 1.5 })).toThrow(RangeError);
  });
});

describe("Bus numbers", () => {
  const behind = () => {
    const machine = new BareMachine();
    machine.host.attach(plain(), { port: 0 });
    machine.host.attach(new PciFunction({ name: "b", vendor: 1, device: 2, classCode: 0 }), { port: 1 });
    return machine;
  };

  it("lead to what is behind a bridge, and nowhere after reset", () => {
    const machine = behind();
    expect(machine.read(0, 0x1c, 0, 0x18)).toBe(0);
    machine.write(0, 0x1c, 0, 0x18, 4, 0xff07_0500);
    expect(machine.read(0, 0x1c, 0, 0x18)).toBe(0x0007_0500);
    expect(machine.read(5, 0, 0, 0)).toBe(0x5678_1234);
    // The port's link has one device; the buses up to 7 have none.
    expect([machine.read(5, 1, 0, 0), machine.read(6, 0, 0, 0)]).toEqual([0xffff_ffff, 0xffff_ffff]);
    machine.host.reset();
    expect(machine.read(5, 0, 0, 0)).toBe(0xffff_ffff);
  });

  it("that are no range behind the bridge lead nowhere", () => {
    const machine = behind();
    // Secondary 0 would be the bus that the bridge is on; a subordinate below the secondary covers nothing.
    for (const numbers of [0x0005_0000, 0x0004_0500, 0x0000_0500]) {
      machine.write(0, 0x1c, 0, 0x18, 4, numbers);
      expect(machine.read(5, 0, 0, 0)).toBe(0xffff_ffff);
      expect(machine.read(0, 0, 0, 0)).toBe(0x0008_1b36);
    }
  });

  it("that two bridges claim belong to the first", () => {
    const machine = behind();
    machine.write(0, 0x1c, 1, 0x18, 4, 0x0005_0500);
    expect(machine.read(5, 0, 0, 0)).toBe(0x0002_0001);
    machine.write(0, 0x1c, 0, 0x18, 4, 0x0005_0500);
    expect(machine.read(5, 0, 0, 0)).toBe(0x5678_1234);
  });
});

describe("INTx", () => {
  it("goes to the PIRQ of device and pin, and is one level for all that share it", () => {
    const { host, pirqs } = new BareMachine();
    const [a, b] = [plain(1), plain(1)];
    host.attach(a, { device: 3 });
    host.attach(b, { device: 11 });
    a.setIntx(true);
    expect(pirqs.map(({ level }) => level)).toEqual([false, false, false, true, false, false, false, false]);
    b.setIntx(true);
    a.setIntx(false);
    expect(pirqs[3]!.level).toBe(true);
    b.setIntx(false);
    expect(pirqs[3]!.history).toEqual([true, false]);
  });

  it("of pins B to D go to the PIRQs that follow", () => {
    const { host, pirqs } = new BareMachine();
    for (const pin of [1, 2, 3, 4]) {
      const fn = plain(pin);
      host.attach(fn, { device: 6, function: pin - 1 });
      fn.setIntx(true);
    }
    expect(pirqs.map(({ level }) => level)).toEqual([true, true, false, false, false, false, true, true]);
  });

  it("is swizzled at a bridge and follows the root port's device", () => {
    const { host, pirqs } = new BareMachine();
    const fn = plain(2);
    host.attach(fn, { port: 1 });
    fn.setIntx(true);
    // Device 0 keeps pin B at the port; 0x1c and pin B are PIRQ F.
    expect(pirqs.findIndex(({ level }) => level)).toBe(5);
  });

  it("reaches the 8259 input that the router names, and only while it is routed", () => {
    const machine = new BareMachine();
    const fn = plain(1);
    machine.host.attach(fn, { device: 1 });
    fn.setIntx(true);
    const high = () => [...machine.inputs].filter(([, line]) => line.level).map(([input]) => input);
    expect(high()).toEqual([]);
    machine.write(0, 0x1f, 0, 0x61, 1, 11);
    expect(high()).toEqual([11]);
    expect(machine.host.levelInputs).toBe(1 << 11);
    machine.write(0, 0x1f, 0, 0x61, 1, 5);
    expect(high()).toEqual([5]);
    for (const nowhere of [0x85, 0, 1, 2, 8, 13]) {
      machine.write(0, 0x1f, 0, 0x61, 1, nowhere);
      expect(high()).toEqual([]);
      expect(machine.host.levelInputs).toBe(0);
    }
  });

  it("shows in the status register, and not on the line, while it is disabled", () => {
    const machine = new BareMachine();
    const fn = plain(1);
    machine.host.attach(fn, { device: 1 });
    machine.write(0, 1, 0, 4, 2, 0x0400);
    fn.setIntx(true);
    expect(machine.read(0, 1, 0, 6, 2)).toBe(0x0008);
    expect(machine.pirqs[1]!.level).toBe(false);
    machine.write(0, 1, 0, 4, 2, 0);
    expect(machine.pirqs[1]!.level).toBe(true);
  });
});

describe("DMA", () => {
  const machineWith = () => {
    const machine = new BareMachine();
    const fn = plain();
    machine.host.attach(fn, { port: 0 });
    machine.host.assignResources();
    machine.ram.set([1, 2, 3, 4], 0x100);
    return { machine, fn };
  };

  it("is refused without bus master, of the function and of the bridges above it", () => {
    const { machine, fn } = machineWith();
    const target = new Uint8Array(4);
    expect(fn.dmaRead(0x100, target)).toBe(false);
    machine.write(1, 0, 0, 4, 2, 4);
    expect(fn.dmaRead(0x100, target)).toBe(true);
    expect([...target]).toEqual([1, 2, 3, 4]);
    expect(fn.dmaWrite(0x200, Uint8Array.of(9, 8))).toBe(true);
    expect([...machine.ram.subarray(0x200, 0x203)]).toEqual([9, 8, 0]);
    machine.write(0, 0x1c, 0, 4, 2, 3);
    expect(fn.dmaWrite(0x200, Uint8Array.of(7))).toBe(false);
    expect(machine.ram[0x200]).toBe(9);
  });

  it("outside RAM is a master abort", () => {
    const { machine, fn } = machineWith();
    machine.write(1, 0, 0, 4, 2, 4);
    for (const at of [0xfffd, 0x1_0000, -1, Number.NaN, 2 ** 60]) {
      expect(fn.dmaRead(at, new Uint8Array(4))).toBe(false);
      expect(machine.read(1, 0, 0, 6, 2)).toBe(0x2000);
      machine.write(1, 0, 0, 6, 2, 0x2000);
      expect(machine.read(1, 0, 0, 6, 2)).toBe(0);
    }
  });

  it("of a dword to 0xFEExxxxx is an interrupt message", () => {
    const { machine, fn } = machineWith();
    machine.write(1, 0, 0, 4, 2, 4);
    expect(fn.dmaWrite(0xfee0_1000, Uint8Array.of(0x41, 0, 0, 0x80))).toBe(true);
    expect(machine.messages).toEqual([[0xfee0_1000, 0x8000_0041]]);
    expect(fn.dmaWrite(0xfee0_1000, Uint8Array.of(0x41))).toBe(false);
    expect(machine.messages.length).toBe(1);
  });
});
