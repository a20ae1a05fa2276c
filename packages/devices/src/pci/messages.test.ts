import { describe, expect, it } from "vitest";
import { BareMachine } from "./bare-machine.ts";
import { PciFunction } from "./function.ts";
import { MemoryRegion } from "./memory-region.ts";
import { MsiCapability, MsixCapability } from "./messages.ts";

const identity = { name: "messages", vendor: 0x1234, device: 0x5678, classCode: 0xff0000, interruptPin: 1 };

/** A function with MSI at 0x40, bus master on. */
function withMsi(vectors: number) {
  const machine = new BareMachine();
  const fn = new PciFunction({ ...identity, capabilities: [new MsiCapability(vectors)] });
  machine.host.attach(fn, { device: 3 });
  const set = (at: number, value: number) => machine.write(0, 3, 0, 0x40 + at, 4, value);
  const control = (value: number) => machine.write(0, 3, 0, 0x42, 2, value);
  const get = (at: number) => machine.read(0, 3, 0, 0x40 + at);
  machine.write(0, 3, 0, 4, 2, 4);
  set(4, 0xfee0_1000);
  set(0xc, 0x4041);
  return { ...machine, machine, fn, set, get, control };
}

describe("MSI", () => {
  it("keeps the address but its two low bits, 16 bits of data, and the enable and number fields", () => {
    const { set, get } = withMsi(8);
    for (const at of [0, 4, 8, 0xc, 0x10, 0x14]) set(at, 0xffff_ffff);
    expect([0, 4, 8, 0xc, 0x10, 0x14].map(get)).toEqual([
      0x01f7_0005, 0xffff_fffc, 0xffff_ffff, 0xffff, 0xff, 0,
    ]);
  });

  it("sends the data with the vector in its low bits, as many as were given", () => {
    const { fn, messages, control } = withMsi(8);
    expect(fn.raiseInterrupt(0)).toBe(false);
    control(1);
    fn.raiseInterrupt(3);
    control(0x21);
    for (const vector of [0, 1, 2, 3, 5]) fn.raiseInterrupt(vector);
    control(0x71);
    fn.raiseInterrupt(7);
    expect(messages.map(([, data]) => data)).toEqual([
      0x4041, 0x4040, 0x4041, 0x4042, 0x4043, 0x4041, 0x4047,
    ]);
    expect(new Set(messages.map(([address]) => address))).toEqual(new Set([0xfee0_1000]));
  });

  it("leaves a masked vector pending and sends it once when it is unmasked", () => {
    const { fn, messages, set, get, control } = withMsi(4);
    control(0x21);
    set(0x10, 0x4);
    fn.raiseInterrupt(2);
    fn.raiseInterrupt(2);
    fn.raiseInterrupt(1);
    expect(messages.map(([, data]) => data)).toEqual([0x4041]);
    expect(get(0x14)).toBe(4);
    set(0x10, 0);
    expect(messages.map(([, data]) => data)).toEqual([0x4041, 0x4042]);
    expect(get(0x14)).toBe(0);
  });

  it("waits with pending vectors until it is enabled again", () => {
    const { fn, messages, set, control } = withMsi(1);
    control(1);
    set(0x10, 1);
    fn.raiseInterrupt(0);
    control(0);
    set(0x10, 0);
    expect(messages).toEqual([]);
    control(1);
    expect(messages.length).toBe(1);
  });

  it("sends nothing without bus master", () => {
    const { machine, fn, messages, control } = withMsi(1);
    control(1);
    machine.write(0, 3, 0, 4, 2, 0);
    expect(fn.raiseInterrupt(0)).toBe(true);
    expect(messages).toEqual([]);
    expect(fn.inspect()["messages dropped"]).toBe(1);
  });

  it("takes the interrupt pin out of use while it is on", () => {
    const { fn, pirqs, control } = withMsi(1);
    fn.setIntx(true);
    expect(pirqs[3]!.level).toBe(true);
    control(1);
    expect(pirqs[3]!.level).toBe(false);
    control(0);
    expect(pirqs[3]!.level).toBe(true);
  });

  it("to an address in RAM writes the data there", () => {
    const { fn, ram, messages, set, control } = withMsi(1);
    control(1);
    set(4, 0x2000);
    fn.raiseInterrupt(0);
    expect([...ram.subarray(0x2000, 0x2005)]).toEqual([0x41, 0x40, 0, 0, 0]);
    // Above 4 GiB the same low half is no interrupt address.
    set(4, 0xfee0_0000);
    set(8, 1);
    fn.raiseInterrupt(0);
    expect(messages).toEqual([]);
  });

  it("has 1 to 32 vectors, by powers of two", () => {
    for (const vectors of [0, 3, 64]) expect(() => new MsiCapability(vectors)).toThrow(RangeError);
    const { fn, messages, set, get, control } = withMsi(32);
    control(0x51);
    set(0xc, 0x20);
    set(0x10, 0x8000_0000);
    fn.raiseInterrupt(31);
    expect(get(0x14)).toBe(0x8000_0000);
    set(0x10, 0);
    expect(messages).toEqual([[0xfee0_1000, 0x3f]]);
  });
});

const barAt = 0xc000_0000;

/** A function with MSI-X at 0x40 whose table is at 0x1000 in BAR 0 and the pending bits at 0x2000; enabled. */
function withMsix(vectors = 65) {
  const machine = new BareMachine();
  const region = new MemoryRegion(0x4000);
  const fn = new PciFunction({
    ...identity,
    bars: [{ index: 0, kind: "memory32", size: 0x4000, device: region }],
    capabilities: [new MsixCapability({ vectors, bar: 0, table: 0x1000, pending: 0x2000 })],
  });
  machine.host.attach(fn, { device: 3 });
  machine.write(0, 3, 0, 4, 2, 6);
  machine.write(0, 3, 0, 0x10, 4, barAt);
  const control = (value: number) => machine.write(0, 3, 0, 0x42, 2, value);
  control(0x8000);
  const entry = (vector: number, word: number, value: number) =>
    machine.bus.mmioWrite(barAt + 0x1000 + 16 * vector + 4 * word, 4, value);
  const program = (vector: number) => {
    entry(vector, 0, 0xfee0_0000);
    entry(vector, 1, 0);
    entry(vector, 2, 0x40 + vector);
    entry(vector, 3, 0);
  };
  const pending = (word: number) => machine.bus.mmioRead(barAt + 0x2000 + 4 * word, 4);
  return { ...machine, machine, region, fn, control, entry, program, pending };
}

describe("MSI-X", () => {
  it("says where table and pending bits are, and keeps enable and function mask only", () => {
    const { machine, control } = withMsix();
    control(0xffff);
    expect([0x40, 0x44, 0x48].map((at) => machine.read(0, 3, 0, at))).toEqual([0xc040_0011, 0x1000, 0x2000]);
  });

  it("starts with every vector masked", () => {
    const { bus, fn, messages, pending } = withMsix();
    for (const vector of [0, 64]) {
      expect(bus.mmioRead(barAt + 0x100c + 16 * vector, 4)).toBe(1);
      fn.raiseInterrupt(vector);
    }
    expect(messages).toEqual([]);
    expect([pending(0), pending(1), pending(2)]).toEqual([1, 0, 1]);
  });

  it("sends each entry's own address and data", () => {
    const { fn, messages, program } = withMsix();
    for (const vector of [0, 33, 64]) {
      program(vector);
      fn.raiseInterrupt(vector);
    }
    expect(messages).toEqual([
      [0xfee0_0000, 0x40],
      [0xfee0_0000, 0x61],
      [0xfee0_0000, 0x80],
    ]);
  });

  it("sends a pending vector once when it is unmasked, by itself or with the function", () => {
    const { fn, messages, control, entry, program, pending } = withMsix();
    program(1);
    program(2);
    entry(1, 3, 1);
    fn.raiseInterrupt(1);
    fn.raiseInterrupt(1);
    expect(pending(0)).toBe(2);
    entry(1, 3, 0);
    expect(messages.map(([, data]) => data)).toEqual([0x41]);
    control(0xc000);
    fn.raiseInterrupt(2);
    fn.raiseInterrupt(1);
    entry(1, 3, 0);
    expect([messages.length, pending(0)]).toEqual([1, 6]);
    control(0x8000);
    expect(messages.map(([, data]) => data)).toEqual([0x41, 0x41, 0x42]);
    expect(pending(0)).toBe(0);
  });

  it("uses the table as it is when the message goes", () => {
    const { fn, messages, entry, program } = withMsix();
    program(5);
    entry(5, 3, 1);
    fn.raiseInterrupt(5);
    entry(5, 0, 0xfee0_5003);
    entry(5, 2, 0x99);
    entry(5, 3, 0xffff_fffe);
    expect(messages).toEqual([[0xfee0_5000, 0x99]]);
  });

  it("lays table and pending bits over the BAR; pending bits are read only", () => {
    const { bus, region, fn, pending } = withMsix();
    bus.mmioWrite(barAt + 0xffc, 4, 7);
    bus.mmioWrite(barAt + 0x1000, 4, 0x1234_5679);
    fn.raiseInterrupt(3);
    bus.mmioWrite(barAt + 0x2000, 4, 0);
    expect([region.mmioRead(0xffc, 4), region.mmioRead(0x1000, 4)]).toEqual([7, 0]);
    expect(bus.mmioRead(barAt + 0x1000, 4)).toBe(0x1234_5678);
    expect([bus.mmioRead(barAt + 0x1001, 2), bus.mmioRead(barAt + 0x1001, 4)]).toEqual([0x3456, 0x0012_3456]);
    expect(pending(0)).toBe(8);
  });

  it("sends nothing while it is off, and no vector that the table lacks", () => {
    const { fn, messages, control, program, pending } = withMsix(4);
    program(1);
    for (const vector of [4, -1, Number.NaN, 2 ** 40]) expect(fn.raiseInterrupt(vector)).toBe(true);
    control(0);
    expect(fn.raiseInterrupt(1)).toBe(false);
    expect(messages).toEqual([]);
    expect([pending(0), pending(1)]).toEqual([0, 0]);
  });

  it("is refused when the BAR does not hold it", () => {
    const make =
      (options: { vectors: number; bar: number; table: number; pending: number }, size: number) => () =>
        new PciFunction({
          ...identity,
          bars: [{ index: 0, kind: "memory32", size, device: new MemoryRegion(size) }],
          capabilities: [new MsixCapability(options)],
        });
    expect(make({ vectors: 16, bar: 0, table: 0, pending: 0x100 }, 0x100)).toThrow(RangeError);
    expect(make({ vectors: 2049, bar: 0, table: 0, pending: 0x8000 }, 0x10_000)).toThrow(RangeError);
    expect(make({ vectors: 16, bar: 0, table: 4, pending: 0x100 }, 0x1000)).toThrow(RangeError);
  });
});
