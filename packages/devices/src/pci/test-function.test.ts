import { describe, expect, it } from "vitest";
import { expectRegistersInSpec } from "../testing/device-contract.ts";
import { BareMachine } from "./bare-machine.ts";
import { TestFunction } from "./test-function.ts";
import { testFunctionRegisters } from "./test-function-registers.ts";

const at = Object.fromEntries(
  Object.entries(testFunctionRegisters).map(([name, register]) => [name, Number(register.at)]),
) as Record<keyof typeof testFunctionRegisters, number>;

/** The function at 00:05.0, memory and ports assigned, bus master on. */
function machineWith() {
  const machine = new BareMachine();
  const fn = new TestFunction({ timebase: machine.time, integrated: true });
  machine.host.attach(fn, { device: 5 });
  machine.host.assignResources();
  machine.write(0, 5, 0, 4, 2, 7);
  const bar = (index: number) => machine.read(0, 5, 0, 0x10 + 4 * index);
  const base = bar(0);
  const ports = bar(4) & ~3;
  const get = (name: keyof typeof at) => machine.bus.mmioRead(base + at[name], 4);
  const set = (name: keyof typeof at, value: number) => machine.bus.mmioWrite(base + at[name], 4, value);
  const messageControl = (id: number) => {
    let offset = machine.read(0, 5, 0, 0x34, 1);
    while (machine.read(0, 5, 0, offset, 1) !== id) offset = machine.read(0, 5, 0, offset + 1, 1);
    return offset;
  };
  return { ...machine, machine, fn, base, ports, bar, get, set, messageControl, line: machine.pirqs[5]! };
}

describe("The test function's registers", () => {
  it("read what the table says after reset, and keep its writable bits", () => {
    const { get, set } = machineWith();
    for (const [name, { reset, writable, access }] of Object.entries(testFunctionRegisters)) {
      const register = name as keyof typeof at;
      expect(get(register)).toBe(reset);
      if (access !== "rw" || register === "trigger") continue;
      set(register, 0xffff_ffff);
      expect(get(register)).toBe(writable);
    }
  });

  it("are the same in memory and in ports", () => {
    const { bus, ports, get, set } = machineWith();
    set("scratch", 0x1234_5678);
    expect(bus.portRead(ports + at.scratch, 4)).toBe(0x1234_5678);
    bus.portWrite(ports + at.scratch, 4, 0x9abc_def0);
    expect(get("scratch")).toBe(0x9abc_def0);
  });

  it("give parts to narrow reads and ignore narrow writes", () => {
    const { bus, base, get, set } = machineWith();
    set("scratch", 0x1234_5678);
    expect([bus.mmioRead(base + 5, 1), bus.mmioRead(base + 6, 2), bus.mmioRead(base + 6, 4)]).toEqual([
      0x56, 0x1234, 0,
    ]);
    bus.mmioWrite(base + 4, 2, 0);
    bus.mmioWrite(base + 5, 4, 0);
    expect(get("scratch")).toBe(0x1234_5678);
  });

  it("have their rows in the specification", () => {
    expect(expectRegistersInSpec("pci", testFunctionRegisters)).toContain("# PCI");
  });
});

describe("The test function's memory", () => {
  it("is at BAR 2, above 4 GiB, and keeps what is written", () => {
    const { bus, bar } = machineWith();
    const memory = bar(3) * 2 ** 32 + ((bar(2) & ~0xf) >>> 0);
    expect(memory).toBeGreaterThanOrEqual(2 ** 38);
    bus.mmioWrite(memory + 0x3ffd, 2, 0xbeef);
    expect([bus.mmioRead(memory + 0x3ffc, 4), bus.mmioRead(memory + 0x3ffe, 1)]).toEqual([0x00be_ef00, 0xbe]);
  });
});

describe("The test function's interrupts", () => {
  it("by INTx come one after the other, each after the one before is acknowledged", () => {
    const { time, get, set, line } = machineWith();
    set("interval", 5000);
    set("trigger", 3);
    time.advance(4999);
    expect(line.level).toBe(false);
    time.advance(1);
    expect([line.level, get("status"), get("raised"), get("trigger")]).toEqual([true, 3, 1, 2]);
    time.advance(100_000);
    expect(get("raised")).toBe(1);
    for (let n = 1; n <= 3; n++) {
      set("acknowledge", 1);
      expect([line.level, get("acknowledged")]).toEqual([false, n]);
      time.advance(5000);
    }
    expect([get("raised"), get("acknowledged"), get("excess"), get("trigger"), line.risingEdges]).toEqual([
      3, 3, 0, 0, 3,
    ]);
    set("acknowledge", 1);
    expect(get("excess")).toBe(1);
  });

  it("by MSI go to the vector at their interval, acknowledged or not", () => {
    const { machine, time, messages, get, set, messageControl } = machineWith();
    const msi = messageControl(5);
    machine.write(0, 5, 0, msi + 4, 4, 0xfee0_0000);
    machine.write(0, 5, 0, msi + 0xc, 2, 0x60);
    machine.write(0, 5, 0, msi + 2, 2, 0x31);
    set("vector", 5);
    set("interval", 2000);
    set("trigger", 10_000);
    time.advance(2000 * 10_000);
    expect([messages.length, get("raised"), get("trigger")]).toEqual([10_000, 10_000, 0]);
    expect(new Set(messages.map(([, data]) => data))).toEqual(new Set([0x65]));
    for (let n = 0; n < 10_000; n++) set("acknowledge", 0);
    expect([get("acknowledged"), get("excess"), get("status")]).toEqual([10_000, 0, 0]);
  });

  it("by MSI-X hold until the acknowledgement when they are told to", () => {
    const { machine, bus, base, time, messages, get, set, messageControl } = machineWith();
    const msix = messageControl(0x11);
    machine.write(0, 5, 0, msix + 2, 2, 0x8000);
    bus.mmioWrite(base + 0x800 + 16 * 15, 4, 0xfee0_1000);
    bus.mmioWrite(base + 0x800 + 16 * 15 + 8, 4, 0x77);
    bus.mmioWrite(base + 0x800 + 16 * 15 + 12, 4, 0);
    set("vector", 15);
    set("control", 1);
    set("interval", 0);
    set("trigger", 2);
    time.advance(10_000);
    expect([messages, get("raised")]).toEqual([[[0xfee0_1000, 0x77]], 1]);
    set("acknowledge", 1);
    time.advance(999);
    expect(get("raised")).toBe(1);
    time.advance(1);
    expect([messages.length, get("raised")]).toEqual([2, 2]);
  });

  it("stop when 0 is written, and at a reset", () => {
    const { machine, time, get, set } = machineWith();
    set("interval", 1000);
    set("trigger", 5);
    set("trigger", 0);
    time.advance(10_000);
    expect(get("raised")).toBe(0);
    set("trigger", 5);
    machine.write(0, 5, 0, 0x48, 2, 0x8000);
    time.advance(10_000);
    machine.host.assignResources();
    expect([get("raised"), get("trigger"), get("interval"), time.nextDeadline()]).toEqual([
      0,
      0,
      100_000,
      Number.POSITIVE_INFINITY,
    ]);
  });
});

describe("The test function's DMA", () => {
  it("copies guest memory", () => {
    const { ram, get, set } = machineWith();
    ram.set([5, 6, 7, 8], 0x1000);
    set("source", 0x1000);
    set("target", 0x2000);
    set("length", 3);
    set("command", 1);
    expect([...ram.subarray(0x2000, 0x2004), get("outcome")]).toEqual([5, 6, 7, 0, 1]);
  });

  it("is refused without bus master, outside RAM and for lengths out of bounds", () => {
    const { machine, ram, get, set } = machineWith();
    const outcome = (source: number, length: number) => {
      set("source", source);
      set("target", 0x2000);
      set("length", length);
      set("command", 1);
      return get("outcome");
    };
    expect([outcome(0x1000, 0), outcome(0, 0x1_0001), outcome(0xfffe, 4), outcome(0, 4)]).toEqual([
      3, 3, 2, 1,
    ]);
    set("sourceHigh", 1);
    expect(outcome(0, 4)).toBe(2);
    set("sourceHigh", 0);
    machine.write(0, 5, 0, 4, 2, 3);
    expect(outcome(0, 4)).toBe(2);
    expect(ram.every((byte) => byte === 0)).toBe(true);
  });
});
