import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bus } from "./bus.ts";
import { ManualTime } from "./clock-wheel.ts";
import { RecordingLine } from "./line.ts";
import { Oscillator } from "./oscillator.ts";
import { PowerManagement, pmTimerHertz, powerPorts } from "./power.ts";
import { powerRegisters } from "./power-registers.ts";
import {
  answersInWidth,
  expectGolden,
  expectRegistersInSpec,
  goesOnAfterRestore,
  refusesStates,
} from "./testing/device-contract.ts";

const [status, enable, control, timer, gpeStatus, gpeEnable] = [
  0x600, 0x602, 0x604, 0x608, 0x620, 0x622,
] as const;
const clock = new Oscillator(pmTimerHertz);
/** When bit 31 of the timer changes for the first time. */
const carry = clock.timeOf(2 ** 31);

function machine(start = 0) {
  const time = new ManualTime(start);
  const sci = new RecordingLine();
  const effects: string[] = [];
  const power = new PowerManagement({
    name: "power",
    timebase: time,
    sci,
    powerOff: () => effects.push("power off"),
    reset: () => effects.push("reset"),
  });
  const bus = new Bus();
  power.register(bus);
  // As PCI's host does with byte accesses.
  bus.registerPorts("reset control", 0xcf9, 1, power);
  return { time, sci, effects, power, bus };
}

describe("power off", () => {
  it("is SLP_TYP 5 with SLP_EN, in one word or in its upper byte", () => {
    const { bus, effects } = machine();
    bus.portWrite(control, 2, 0x3400);
    expect(effects).toEqual(["power off"]);
    bus.portWrite(control + 1, 1, 0x34);
    expect(effects).toEqual(["power off", "power off"]);
  });

  it("is no other sleep type, nor SLP_TYP without SLP_EN", () => {
    const { bus, effects } = machine();
    for (let type = 0; type < 8; type++) {
      bus.portWrite(control, 2, type << 10);
      if (type !== 5) bus.portWrite(control, 2, (type << 10) | 0x2000);
    }
    expect(effects).toEqual([]);
  });

  it("leaves SLP_TYP readable, SLP_EN not, and SCI_EN always set", () => {
    const { bus } = machine();
    expect(bus.portRead(control, 2)).toBe(0x0001);
    bus.portWrite(control, 2, 0xffff);
    expect(bus.portRead(control, 2)).toBe(0x1c03);
    bus.portWrite(control, 2, 0);
    expect(bus.portRead(control, 2)).toBe(0x0001);
  });
});

describe("reset", () => {
  it("is bit 2 of 0xCF9, as Linux and the ACPI reset register write it", () => {
    const { bus, effects } = machine();
    bus.portWrite(0xcf9, 1, 0x02);
    expect(effects).toEqual([]);
    expect(bus.portRead(0xcf9, 1)).toBe(0x02);
    bus.portWrite(0xcf9, 1, 0x06);
    expect(effects).toEqual(["reset"]);
  });

  it("is the keyboard controller's 0xFE and port 0x92 bit 0", () => {
    const { bus, effects } = machine();
    bus.portWrite(0x64, 1, 0xd1);
    bus.portWrite(0x60, 1, 0xfe);
    bus.portWrite(0x92, 1, 0x02);
    expect(effects).toEqual([]);
    bus.portWrite(0x64, 1, 0xfe);
    bus.portWrite(0x92, 1, 0x01);
    expect(effects).toEqual(["reset", "reset"]);
    expect(bus.portRead(0x92, 1)).toBe(0);
  });
});

it("the keyboard controller looks absent to Linux's i8042, yet ready for the reset command", () => {
  const { bus } = machine();
  // i8042_flush reads while bit 0 is set and gives up after 16 bytes; kb_wait waits for bit 1 to clear.
  expect(bus.portRead(0x64, 1) & 0x03).toBe(0x01);
  expect(bus.portRead(0x60, 1)).toBe(0xff);
});

describe("the PM timer", () => {
  it("counts 3.579545 MHz of guest time in 32 bits, atomically", () => {
    const { bus, time } = machine();
    time.advance(1_000_000_000);
    expect(bus.portRead(timer, 4)).toBe(3_579_545);
    expect(bus.portRead(timer + 1, 1)).toBe((3_579_545 >> 8) & 0xff);
    time.advance(86_400_000_000_000 - 1_000_000_000);
    expect(bus.portRead(timer, 4)).toBe((3_579_545 * 86_400) % 2 ** 32);
  });

  it("sets its status when bit 31 changes, and SCI if enabled", () => {
    const { bus, time, sci } = machine();
    time.advance(carry - 1);
    expect(bus.portRead(status, 2)).toBe(0);
    time.advance(1);
    expect(bus.portRead(status, 2)).toBe(1);
    expect(sci.level).toBe(false);
    bus.portWrite(status, 2, 1);
    expect(bus.portRead(status, 2)).toBe(0);
    bus.portWrite(enable, 2, 1);
    expect(time.nextDeadline()).toBe(clock.timeOf(2 ** 32));
    time.advance(clock.timeOf(2 ** 32) - time.now());
    expect(sci.level).toBe(true);
    bus.portWrite(status, 2, 1);
    expect(sci.level).toBe(false);
  });
});

describe("SCI", () => {
  it("follows the power button, its enable and its status", () => {
    const { bus, power, sci } = machine();
    power.pressPowerButton();
    expect(sci.level).toBe(false);
    expect(bus.portRead(status, 2)).toBe(0x0100);
    bus.portWrite(enable, 2, 0x0100);
    expect(sci.level).toBe(true);
    bus.portWrite(status + 1, 1, 0x01);
    expect(sci.level).toBe(false);
  });

  it("follows general purpose events", () => {
    const { bus, power, sci } = machine();
    bus.portWrite(gpeEnable, 2, 0x8001);
    power.signalEvent(15);
    power.signalEvent(3);
    expect(bus.portRead(gpeStatus, 2)).toBe(0x8008);
    expect(sci.level).toBe(true);
    bus.portWrite(gpeStatus + 1, 1, 0x80);
    expect(sci.level).toBe(false);
    expect(bus.portRead(gpeStatus, 4)).toBe(0x8001_0008);
    expect(() => power.signalEvent(16)).toThrow(RangeError);
  });

  it("keeps only the enables there are", () => {
    const { bus } = machine();
    bus.portWrite(enable, 2, 0xffff);
    expect(bus.portRead(enable, 2)).toBe(0x0721);
    expect(bus.portRead(status, 4)).toBe(0x0721_0000);
  });
});

const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("write" as const),
      port: fc.oneof(
        fc
          .constantFrom(...powerPorts)
          .chain(({ first, count }) => fc.integer({ min: first - 1, max: first + count })),
        fc.constant(0xcf9),
      ),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const),
      value: fc.integer({ min: 0, max: 0xffff_ffff }),
    }),
    fc.record({
      kind: fc.constant("read" as const),
      port: fc
        .constantFrom(...powerPorts)
        .chain(({ first, count }) => fc.integer({ min: first - 1, max: first + count })),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const),
    }),
    fc.record({ kind: fc.constant("wait" as const), ns: fc.integer({ min: 0, max: 2 * carry }) }),
    fc.record({ kind: fc.constant("button" as const) }),
    fc.record({ kind: fc.constant("event" as const), event: fc.integer({ min: 0, max: 15 }) }),
  ),
  { maxLength: 80 },
);
type Step = typeof steps extends fc.Arbitrary<readonly (infer One)[]> ? One : never;

function perform({ power, time }: ReturnType<typeof machine>, step: Step): number {
  switch (step.kind) {
    case "write":
      power.portWrite(step.port, step.width, step.value);
      return 0;
    case "read":
      return power.portRead(step.port, step.width);
    case "wait":
      time.advance(step.ns);
      return 0;
    case "button":
      power.pressPowerButton();
      return 0;
    case "event":
      power.signalEvent(step.event);
      return 0;
    default:
      return step satisfies never;
  }
}

describe("whatever a guest does", () => {
  it("answers values of the access's width and never throws", () => {
    fc.assert(fc.property(steps, (all) => answersInWidth(machine(), all, perform)));
  });

  it("goes on after save and restore as if nothing had happened", () => {
    fc.assert(
      fc.property(steps, steps, (before, after) =>
        goesOnAfterRestore(before, after, {
          start: () => machine(),
          perform,
          copyOf: (guest) => machine(guest.time.now()),
          device: ({ power }) => power,
          seen: ({ sci, time }) => [sci.level, time.nextDeadline()],
        }),
      ),
    );
  });
});

function busy() {
  const guest = machine(carry + 5);
  guest.time.advance(carry);
  guest.bus.portWrite(control, 2, 0x1402);
  guest.bus.portWrite(enable, 2, 0x0101);
  guest.bus.portWrite(gpeEnable, 2, 0x00f0);
  guest.bus.portWrite(0xcf9, 1, 0x0a);
  guest.power.signalEvent(5);
  return guest;
}

describe("saved state", () => {
  it("is the golden one and comes back from it", () => {
    const saved = expectGolden("power", busy().power.save());
    const { power, sci } = machine(busy().time.now());
    power.restore(saved);
    expect(power.save()).toEqual(saved);
    expect(sci.level).toBe(true);
  });

  it("is refused when it does not fit, and changes nothing", () => {
    const good = busy().power.save();
    refusesStates(
      () => machine(busy().time.now()).power,
      [
        [{ ...good, version: 2 }, "bad-version"],
        [{ ...good, control: 0 }, "out-of-range"],
        [{ ...good, enable: 2 }, "out-of-range"],
        [{ ...good, resetControl: 4 }, "out-of-range"],
        [{ ...good, halfPeriods: 99 }, "out-of-range"],
        [{ ...good, status: "0" }, "bad-shape"],
      ],
    );
  });
});

it("reset is as power-on", () => {
  const { power, sci, bus, time } = busy();
  power.reset();
  expect([status, enable, control, gpeStatus, gpeEnable].map((port) => bus.portRead(port, 2))).toEqual([
    0, 0, 1, 0, 0,
  ]);
  expect([bus.portRead(0xcf9, 1), bus.portRead(0x92, 1)]).toEqual([0, 2]);
  expect(sci.level).toBe(false);
  expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
});

it("specs/power.md holds the register table", () => {
  expectRegistersInSpec("power", powerRegisters);
});
