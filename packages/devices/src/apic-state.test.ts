import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ApicFabric } from "./apic-fabric.ts";
import { ManualTime } from "./clock-wheel.ts";
import { Ioapic } from "./ioapic.ts";
import { LocalApic } from "./local-apic.ts";
import type { LocalApicState } from "./local-apic-state.ts";
import { DeviceStateError } from "./saved-state.ts";

/** Two processors, an IOAPIC and a stand-in for the 8259 pair, which leave a trace of all they do. */
class Machine {
  readonly trace: string[] = [];
  readonly time: ManualTime;
  readonly fabric: ApicFabric;
  readonly ioapic: Ioapic;
  readonly apics: LocalApic[] = [];

  constructor(now: number) {
    this.time = new ManualTime(now);
    this.fabric = new ApicFabric({
      init: (i) => this.trace.push(`init ${i}`),
      startup: (i, vector) => this.trace.push(`startup ${i} ${vector}`),
      nmi: (i) => this.trace.push(`nmi ${i}`),
      ready: (i) => this.trace.push(`ready ${i}`),
    });
    for (let index = 0; index < 2; index++) {
      const apic = new LocalApic({ index, time: this.time, bus: this.fabric });
      this.fabric.attach(apic);
      this.apics.push(apic);
    }
    this.ioapic = new Ioapic(this.fabric);
    this.fabric.attachListener(this.ioapic);
    this.fabric.attachExternal({
      acknowledge: () => {
        this.fabric.external.set(false);
        return 0x21;
      },
    });
  }

  save(): string {
    return JSON.stringify([this.ioapic.save(), ...this.apics.map((apic) => apic.save())]);
  }

  restore(text: string): void {
    const [ioapic, ...apics] = JSON.parse(text) as unknown[];
    this.ioapic.restore(ioapic);
    this.apics.forEach((apic, i) => {
      apic.restore(apics[i]);
    });
  }
}

type Step = (machine: Machine) => void;

const width = fc.constantFrom<1 | 2 | 4>(1, 2, 4);
const dword = fc.integer({ min: 0, max: 0xffff_ffff });
const which = fc.nat(1);
const check = (value: number) =>
  expect(Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff).toBe(true);

// Values that set things in motion, beside arbitrary ones: software enable, LVT entries, ICR commands, timer counts.
const telling = fc.oneof(
  dword,
  fc.constantFrom(
    0,
    0x1ff,
    0x11ff,
    0x40,
    0x8041,
    0x700,
    0x400,
    0x2_0051,
    0x4_0052,
    0x4_0061,
    0x8_0062,
    0xc_0500,
    0xb,
    90,
  ),
);
const register = fc.nat(0x40).map((index) => index << 4);

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(which, fc.oneof(register, fc.nat(0xfff)), width).map(
    ([i, offset, w]): Step =>
      (m) => {
        const value = m.apics[i]!.mmioRead(offset, w);
        check(value);
        m.trace.push(`read ${value}`);
      },
  ),
  fc.tuple(which, fc.oneof(register, fc.nat(0xfff)), width, telling).map(
    ([i, offset, w, value]): Step =>
      (m) =>
        m.apics[i]!.mmioWrite(offset, w, value),
  ),
  fc.tuple(which, fc.integer({ min: 0x7ff, max: 0x901 })).map(
    ([i, msr]): Step =>
      (m) => {
        const out = { low: 0, high: 0 };
        m.trace.push(`rdmsr ${m.apics[i]!.readMsr(msr, out)} ${out.high} ${out.low}`);
        check(out.low);
        check(out.high);
      },
  ),
  fc.tuple(which, fc.integer({ min: 0x800, max: 0x83f }), telling, fc.oneof(fc.nat(1), dword)).map(
    ([i, msr, low, high]): Step =>
      (m) => {
        m.trace.push(`wrmsr ${m.apics[i]!.writeMsr(msr, low, high)}`);
      },
  ),
  fc
    .tuple(
      which,
      fc.constantFrom(0xfee0_0000, 0xfee0_0800, 0xfee0_0c00, 0xfee0_0900, 0x1234_5801),
      fc.nat(0x1ff),
    )
    .map(
      ([i, low, high]): Step =>
        (m) => {
          m.trace.push(`base ${m.apics[i]!.writeBase(low, high)}`);
        },
    ),
  fc.tuple(which, fc.nat(3000), fc.nat(1)).map(
    ([i, low, high]): Step =>
      (m) =>
        m.apics[i]!.writeDeadline(low, high),
  ),
  fc.tuple(which, fc.nat(15)).map(
    ([i, priority]): Step =>
      (m) =>
        m.apics[i]!.writeTaskPriority(priority),
  ),
  fc.tuple(which).map(
    ([i]): Step =>
      (m) => {
        const apic = m.apics[i]!;
        if (!apic.interruptReady()) return;
        m.trace.push(`acknowledge ${apic.acknowledge()}`);
      },
  ),
  which.map(
    (i): Step =>
      (m) =>
        m.apics[i]!.mmioWrite(0xb0, 4, 0),
  ),
  fc.tuple(fc.constantFrom(0, 0x10, 0x40, 4), width, fc.oneof(telling, fc.nat(0x40))).map(
    ([offset, w, value]): Step =>
      (m) => {
        m.ioapic.mmioWrite(offset, w, value);
        check(m.ioapic.mmioRead(0x10, w));
      },
  ),
  fc.tuple(fc.nat(3), telling, fc.nat(3)).map(
    ([pin, entry, destination]): Step =>
      (m) => {
        m.ioapic.mmioWrite(0, 4, 0x11 + 2 * pin);
        m.ioapic.mmioWrite(0x10, 4, destination * 0x100_0000);
        m.ioapic.mmioWrite(0, 4, 0x10 + 2 * pin);
        m.ioapic.mmioWrite(0x10, 4, entry);
      },
  ),
  fc.tuple(fc.nat(3), fc.boolean(), fc.nat(7), fc.nat(255), fc.boolean()).map(
    ([destination, logical, mode, vector, level]): Step =>
      (m) => {
        m.trace.push(`taken ${m.fabric.deliver(destination, logical, mode, vector, level)}`);
      },
  ),
  fc.tuple(fc.nat(3), fc.boolean()).map(
    ([pin, level]): Step =>
      (m) =>
        m.ioapic.pins[pin]!.set(level),
  ),
  fc.boolean().map(
    (level): Step =>
      (m) =>
        m.fabric.external.set(level),
  ),
  fc.boolean().map(
    (level): Step =>
      (m) =>
        m.fabric.platformNmi.set(level),
  ),
  fc.tuple(dword, dword).map(
    ([address, data]): Step =>
      (m) => {
        m.fabric.message(address, data);
        m.fabric.message(0xfee0_0000 | (address & 0xf_ffff), data);
      },
  ),
  fc.nat(500).map(
    (ns): Step =>
      (m) =>
        m.time.advance(ns),
  ),
);

describe("APICs under any guest", () => {
  it("never throw, answer 32-bit values, and go on from a saved state as if nothing had happened", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.array(step, { maxLength: 30 }), (before, after) => {
        const original = new Machine(1000);
        // Some runs start like a kernel would, so that interrupts flow.
        for (const apic of original.apics) apic.mmioWrite(0xf0, 4, 0x1ff);
        for (const act of before) act(original);
        const saved = original.save();
        const restored = new Machine(original.time.now());
        restored.restore(saved);
        expect(restored.save()).toBe(saved);
        expect(restored.time.nextDeadline()).toBe(original.time.nextDeadline());
        original.trace.length = 0;
        restored.trace.length = 0;
        for (const act of after) {
          act(original);
          act(restored);
        }
        expect(restored.trace).toEqual(original.trace);
        expect(restored.save()).toBe(original.save());
      }),
      { numRuns: 300 },
    );
  });
});

/** A machine with something in every field of the saved state. */
function busyMachine(): Machine {
  const machine = new Machine(5000);
  const [first, second] = machine.apics as [LocalApic, LocalApic];
  for (const apic of machine.apics) apic.mmioWrite(0xf0, 4, 0x1ff);
  first.mmioWrite(0x80, 4, 0x13);
  first.mmioWrite(0xd0, 4, 0x0100_0000);
  first.mmioWrite(0x310, 4, 0x0100_0000);
  first.mmioWrite(0x300, 4, 0x41);
  first.mmioWrite(0x350, 4, 0x700);
  first.mmioWrite(0x320, 4, 0x2_00ec);
  first.mmioWrite(0x3e0, 4, 3);
  first.mmioWrite(0x380, 4, 100_000);
  first.accept(0x31, false);
  first.acknowledge();
  first.accept(3, false);
  first.mmioWrite(0x280, 4, 0);
  first.mmioWrite(0x40, 4, 0);
  first.mmioWrite(0x20, 4, 0x0700_0000);
  first.setAutoEoi(0x52, true);
  machine.fabric.external.set(true);
  second.writeBase(0xfee0_0c00, 0);
  second.writeMsr(0x832, 0x4_00ec, 0);
  second.writeDeadline(123_456, 0);
  machine.ioapic.mmioWrite(0, 4, 0x22);
  machine.ioapic.mmioWrite(0x10, 4, 0x8039);
  machine.ioapic.mmioWrite(0, 4, 0x23);
  machine.ioapic.mmioWrite(0x10, 4, 0x0100_0000);
  machine.ioapic.pins[9]!.set(true);
  machine.fabric.deliver(1, false, 7, 0, false);
  return machine;
}

const golden = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`./golden/${name}.json`, import.meta.url), "utf8"));

describe("saved states", () => {
  it("are those of the golden files, which every later build must read", () => {
    const machine = busyMachine();
    expect(machine.apics.map((apic) => apic.save())).toEqual(golden("local-apic"));
    expect(machine.ioapic.save()).toEqual(golden("ioapic"));
    const restored = new Machine(5000);
    restored.restore(JSON.stringify([golden("ioapic"), ...(golden("local-apic") as unknown[])]));
    expect(restored.save()).toBe(machine.save());
    expect(restored.apics[0]!.acknowledge()).toBe(0x21);
    restored.time.advance(123_456 - 5000);
    expect(restored.apics[1]!.accepted[0xec]).toBe(1);
    restored.ioapic.pins[9]!.set(false);
    restored.ioapic.endOfInterrupt(0x39);
    expect(restored.ioapic.save().entries[9]).toBe(0x8039);
  });

  it("of version 1 go on with what that version always had: the initial id and every EOI written", () => {
    const states = golden("local-apic-version1") as LocalApicState[];
    const machine = new Machine(5000);
    machine.restore(JSON.stringify([golden("ioapic"), ...states]));
    const [first, second] = machine.apics.map((apic) => apic.save()) as [LocalApicState, LocalApicState];
    expect(first).toEqual({ ...states[0], version: 2, id: 0, autoEoi: Array(8).fill(0), eoiOffered: false });
    expect(second).toEqual({ ...states[1], version: 2, id: 1, autoEoi: Array(8).fill(0), eoiOffered: false });
  });

  it("are refused with a code, and nothing changes, when any field holds anything else", () => {
    const states = [golden("ioapic"), ...(golden("local-apic") as unknown[])] as Record<string, unknown>[];
    fc.assert(
      fc.property(fc.nat(2), fc.nat(), fc.anything(), (whichState, whichField, value) => {
        const machine = busyMachine();
        const before = machine.save();
        const state = { ...states[whichState] };
        const fields = Object.keys(state);
        state[fields[whichField % fields.length]!] = value;
        const device = [machine.ioapic, ...machine.apics][whichState]!;
        try {
          device.restore(state);
        } catch (error) {
          expect(error).toBeInstanceOf(DeviceStateError);
          expect(machine.save()).toBe(before);
        }
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ["a state of another APIC", { index: 1 }, "out-of-range"],
    ["a version from the future", { version: 3 }, "bad-version"],
    ["an APIC base that no guest can write", { baseLow: 0xfee0_0401 }, "out-of-range"],
    ["software enable while disabled", { baseLow: 0xfee0_0100 }, "out-of-range"],
    ["reserved bits in a register", { spuriousVector: 0x1_0000 }, "out-of-range"],
    ["reserved bits in the LVT", { lvt: [0, 0, 0, 0, 0, 0x100] }, "out-of-range"],
    [
      "an EOI offered with nothing in service",
      { eoiOffered: true, inService: [0, 0, 0, 0, 0, 0, 0, 0] },
      "out-of-range",
    ],
    ["a vector below 16", { interruptRequest: [1, 0, 0, 0, 0, 0, 0, 0] }, "out-of-range"],
    ["errors that do not exist", { pendingErrors: 1 }, "out-of-range"],
    ["too few LVT entries", { lvt: [] }, "bad-shape"],
    ["an unknown field", { surprise: 1 }, "bad-shape"],
    [
      "a timer that runs without a count",
      { timer: { initialCount: 0, divide: 0, due: 6000, tscDeadlineLow: 0, tscDeadlineHigh: 0 } },
      "out-of-range",
    ],
  ])("refuse %s", (_what, change, code) => {
    const machine = busyMachine();
    const before = machine.save();
    const state = { ...machine.apics[0]!.save(), ...change };
    expect(() => machine.apics[0]!.restore(state)).toThrow(expect.objectContaining({ code }));
    expect(machine.save()).toBe(before);
  });

  it.each([
    ["remote IRR of an edge", { entries: Array(24).fill(0x4000) }],
    ["delivery status", { entries: Array(24).fill(0x1000) }],
    ["reserved destination bits", { destinations: Array(24).fill(0x8000) }],
    ["reserved ID bits", { id: 1 }],
    ["levels of pins that do not exist", { levels: 2 ** 24 }],
  ])("of the IOAPIC are refused with %s", (_what, change) => {
    const { ioapic } = new Machine(0);
    expect(() => ioapic.restore({ ...ioapic.save(), ...change })).toThrow(
      expect.objectContaining({ code: "out-of-range" }),
    );
  });
});
