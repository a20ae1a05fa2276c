import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ManualTime } from "./clock-wheel.ts";
import { RecordingLine } from "./line.ts";
import { Oscillator } from "./oscillator.ts";
import { Pit, pitHertz } from "./pit.ts";
import { pitModes, pitRegisters } from "./pit-registers.ts";
import {
  answersInWidth,
  expectGolden,
  expectRegistersInSpec,
  goesOnAfterRestore,
  refusesStates,
} from "./testing/device-contract.ts";

const [counter0, counter2, control, portB] = [0x40, 0x42, 0x43, 0x61] as const;
const clock = new Oscillator(pitHertz);

function machine(start = 0) {
  const time = new ManualTime(start);
  const line = new RecordingLine();
  const pit = new Pit({ name: "pit", timebase: time, line });
  const read = (port: number): number => pit.portRead(port, 1);
  const write = (port: number, value: number): void => pit.portWrite(port, 1, value);
  /** Control word (both bytes) and count for counter 0 or 2. */
  const program = (counter: number, mode: number, count: number, bcd = 0): void => {
    write(control, (counter << 6) | 0x30 | (mode << 1) | bcd);
    write(counter0 + counter, count & 0xff);
    write(counter0 + counter, count >> 8);
  };
  /** Latches and reads a count that was programmed with both bytes. */
  const count = (counter: number): number => {
    write(control, counter << 6);
    const low = read(counter0 + counter);
    return low | (read(counter0 + counter) << 8);
  };
  const status = (counter: number): number => {
    write(control, 0xe0 | (2 << counter));
    return read(counter0 + counter);
  };
  /** Moves to where `cycles` clocks have passed since `start`. */
  const to = (cycles: number): void => {
    time.advance(start + clock.timeOf(cycles) - time.now());
  };
  const out2 = (): boolean => (read(portB) & 0x20) !== 0;
  return { time, line, pit, read, write, program, count, status, to, out2 };
}

describe("counting", () => {
  it.each([
    ["mode 0", 0, 5, [5, 4, 3, 2, 1, 0, 0xffff, 0xfffe]],
    ["mode 2", 2, 4, [4, 3, 2, 1, 4, 3, 2, 1]],
    ["mode 3, even", 3, 4, [4, 2, 4, 2, 4, 2, 4, 2]],
    ["mode 3, odd", 3, 5, [4, 2, 0, 4, 2, 4, 2, 0]],
    ["mode 4", 4, 3, [3, 2, 1, 0, 0xffff, 0xfffe, 0xfffd, 0xfffc]],
    ["mode 6, which is 2", 6, 3, [3, 2, 1, 3, 2, 1, 3, 2]],
    ["mode 7, which is 3", 7, 4, [4, 2, 4, 2, 4, 2, 4, 2]],
  ] as const)("%s", (_, mode, initial, expected) => {
    const guest = machine(1_000_000_007);
    guest.program(0, mode, initial);
    const counts = expected.map((__, cycle) => {
      guest.to(cycle);
      return guest.count(0);
    });
    expect(counts).toEqual(expected);
  });

  it.each([
    ["mode 0", 0, 3, [0, 0, 0, 1, 1, 1, 1, 1]],
    ["mode 2", 2, 3, [1, 1, 0, 1, 1, 0, 1, 1]],
    ["mode 3, even", 3, 4, [1, 1, 0, 0, 1, 1, 0, 0]],
    ["mode 3, odd", 3, 5, [1, 1, 1, 0, 0, 1, 1, 1]],
    ["mode 4", 4, 3, [1, 1, 1, 0, 1, 1, 1, 1]],
  ] as const)("OUT in %s", (_, mode, initial, expected) => {
    const guest = machine();
    guest.program(0, mode, initial);
    const levels = expected.map((__, cycle) => {
      guest.to(cycle);
      return guest.status(0) >> 7;
    });
    expect(levels).toEqual(expected);
  });

  it("takes a count of 0 for 65536, in BCD for 10000", () => {
    const guest = machine();
    guest.program(0, 2, 0);
    guest.to(65_535);
    expect(guest.count(0)).toBe(1);
    guest.to(65_536);
    expect(guest.count(0)).toBe(0);
    const bcd = machine();
    bcd.program(0, 2, 0, 1);
    bcd.to(1);
    expect(bcd.count(0)).toBe(0x9999);
    bcd.to(9_999);
    expect(bcd.count(0)).toBe(0x0001);
  });

  it("counts in BCD and wraps to 9999", () => {
    const guest = machine();
    guest.program(0, 0, 0x0100, 1);
    const seen = [1, 50, 99, 100, 101].map((cycle) => {
      guest.to(cycle);
      return guest.count(0);
    });
    expect(seen).toEqual([0x0099, 0x0050, 0x0001, 0x0000, 0x9999]);
  });

  it("does not drift in a day", () => {
    const guest = machine();
    guest.program(2, 2, 1193);
    guest.write(portB, 0x01);
    const day = 86_400_000_000_000;
    guest.time.advance(day);
    const cycles = Number((86_400_000_000_000n * BigInt(pitHertz)) / 1_000_000_000n);
    expect(guest.count(2)).toBe(1193 - (cycles % 1193));
  });
});

describe("access", () => {
  it("low byte only, high byte only", () => {
    const guest = machine();
    guest.write(control, 0x10);
    guest.write(counter0, 0x20);
    expect([guest.read(counter0), guest.read(counter0)]).toEqual([0x20, 0x20]);
    guest.write(control, 0x20);
    guest.write(counter0, 0x20);
    expect([guest.read(counter0), guest.read(counter0)]).toEqual([0x20, 0x20]);
    guest.to(1);
    expect(guest.read(counter0)).toBe(0x1f);
  });

  it("reads both bytes of the running count in turn", () => {
    const guest = machine();
    guest.program(0, 2, 0x1234);
    expect([guest.read(counter0), guest.read(counter0), guest.read(counter0)]).toEqual([0x34, 0x12, 0x34]);
  });

  it("holds a latched count until it was read, through a second latch command", () => {
    const guest = machine();
    guest.program(0, 2, 0x1234);
    guest.write(control, 0x00);
    guest.to(0x100);
    guest.write(control, 0x00);
    expect([guest.read(counter0), guest.read(counter0)]).toEqual([0x34, 0x12]);
    expect([guest.read(counter0), guest.read(counter0)]).toEqual([0x34, 0x11]);
  });

  it("drops latches when the counter is programmed again", () => {
    const guest = machine();
    guest.program(0, 2, 0x1234);
    guest.write(control, 0xc2);
    guest.program(0, 2, 0x5678);
    expect([guest.read(counter0), guest.read(counter0)]).toEqual([0x78, 0x56]);
  });

  it("reads back status, then count, of all selected counters", () => {
    const guest = machine();
    guest.program(0, 2, 0x1234);
    guest.program(1, 3, 0x4000);
    guest.write(control, 0xc6);
    expect(guest.read(counter0)).toBe(0xb4);
    expect([guest.read(counter0), guest.read(counter0)]).toEqual([0x34, 0x12]);
    expect(guest.read(0x41)).toBe(0xb6);
    expect([guest.read(0x41), guest.read(0x41)]).toEqual([0x00, 0x40]);
  });

  it("returns the mode bits as written, null count until the count is there", () => {
    const guest = machine();
    guest.write(control, 0x3c);
    expect(guest.status(0)).toBe(0xfc);
    guest.write(counter0, 1);
    expect(guest.status(0)).toBe(0xfc);
    guest.write(counter0, 1);
    expect(guest.status(0)).toBe(0xbc);
  });

  it("gives 0 for the control port and all-ones for others", () => {
    const { pit } = machine();
    expect(pit.portRead(control, 1)).toBe(0);
    expect(pit.portRead(0x44, 1)).toBe(0xff);
  });
});

describe("a count written while one runs", () => {
  it("restarts mode 0; its first byte already stops it with OUT low", () => {
    const guest = machine();
    guest.program(0, 0, 10);
    guest.to(20);
    expect(guest.line.level).toBe(true);
    guest.write(counter0, 4);
    expect(guest.line.level).toBe(false);
    guest.to(40);
    expect(guest.line.level).toBe(false);
    guest.write(counter0, 0);
    expect(guest.count(0)).toBe(4);
    guest.to(45);
    expect(guest.line.level).toBe(true);
  });

  it("waits for the end of the period in mode 2, with null count set", () => {
    const guest = machine();
    guest.program(0, 2, 10);
    guest.to(3);
    guest.write(counter0, 4);
    guest.write(counter0, 0);
    expect(guest.status(0) & 0x40).toBe(0x40);
    expect(guest.count(0)).toBe(7);
    guest.to(10);
    expect(guest.status(0) & 0x40).toBe(0);
    expect(guest.count(0)).toBe(4);
    guest.to(13);
    expect(guest.count(0)).toBe(1);
    guest.to(14);
    expect(guest.count(0)).toBe(4);
  });

  it("waits for the end of the half in mode 3", () => {
    const guest = machine();
    guest.program(0, 3, 10);
    guest.to(1);
    guest.write(counter0, 4);
    guest.write(counter0, 0);
    const levels = [4, 5, 6, 7, 8, 9, 10].map((cycle) => {
      guest.to(cycle);
      return guest.status(0) >> 7;
    });
    expect(levels).toEqual([1, 0, 0, 1, 1, 0, 0]);
  });
});

describe("the gate of counter 2", () => {
  const gate = (guest: ReturnType<typeof machine>, level: boolean): void =>
    guest.write(portB, level ? 0x01 : 0x00);

  it.each([0, 4])("holds mode %i while it is low", (mode) => {
    const guest = machine();
    guest.program(2, mode, 100);
    guest.to(50);
    expect(guest.count(2)).toBe(100);
    gate(guest, true);
    guest.to(60);
    expect(guest.count(2)).toBe(90);
    gate(guest, false);
    guest.to(80);
    expect(guest.count(2)).toBe(90);
    gate(guest, true);
    guest.to(85);
    expect(guest.count(2)).toBe(85);
  });

  it.each([0, 4])("is not seen low in mode %i by a clock that finds it high", (mode) => {
    const guest = machine();
    gate(guest, true);
    guest.program(2, mode, 1000);
    for (let cycle = 1; cycle <= 100; cycle++) {
      // 800 ns behind the cycle, 38 before the next.
      guest.to(cycle);
      guest.time.advance(100);
      gate(guest, false);
      guest.time.advance(700);
      gate(guest, true);
    }
    guest.to(101);
    expect(guest.count(2)).toBe(899);
    // Low over three cycles of the clock.
    gate(guest, false);
    guest.to(104);
    gate(guest, true);
    guest.to(105);
    expect(guest.count(2)).toBe(898);
  });

  it.each([2, 3])("sets OUT and restarts mode %i when it rises", (mode) => {
    const guest = machine();
    gate(guest, true);
    guest.program(2, mode, 10);
    guest.to(9);
    expect(guest.out2()).toBe(false);
    gate(guest, false);
    expect(guest.out2()).toBe(true);
    guest.to(20);
    expect(guest.out2()).toBe(true);
    gate(guest, true);
    expect(guest.count(2)).toBe(10);
    guest.to(29);
    expect(guest.out2()).toBe(false);
  });

  it("triggers and retriggers mode 1", () => {
    const guest = machine();
    guest.program(2, 1, 5);
    expect(guest.out2()).toBe(true);
    expect(guest.status(2) & 0x40).toBe(0x40);
    gate(guest, true);
    expect(guest.out2()).toBe(false);
    expect(guest.status(2) & 0x40).toBe(0);
    guest.to(4);
    gate(guest, false);
    gate(guest, true);
    guest.time.advance(clock.timeOf(5) - 1);
    expect(guest.out2()).toBe(false);
    guest.time.advance(1);
    expect(guest.out2()).toBe(true);
  });

  it("triggers mode 5: one low clock at the terminal count", () => {
    const guest = machine();
    guest.program(2, 5, 3);
    guest.to(10);
    expect(guest.out2()).toBe(true);
    gate(guest, true);
    const levels = [10, 12, 13, 14].map((cycle) => {
      guest.to(cycle);
      return guest.out2();
    });
    expect(levels).toEqual([true, true, false, true]);
  });

  it("does nothing before a count was written", () => {
    const guest = machine();
    guest.write(control, 0xb2);
    gate(guest, true);
    expect(guest.out2()).toBe(true);
    guest.write(counter2, 5);
    guest.write(counter2, 0);
    expect(guest.out2()).toBe(true);
  });
});

describe("what Linux measures the TSC with", () => {
  it("mode 0 on counter 2: 50 ms from the high byte to OUT, to the nanosecond of the clock", () => {
    const guest = machine(123_456_789);
    guest.write(portB, (guest.read(portB) & ~0x02) | 0x01);
    const latch = Math.floor(pitHertz / 20);
    guest.program(2, 0, latch);
    expect(guest.out2()).toBe(false);
    const due = clock.timeOf(latch);
    guest.time.advance(due - 1);
    expect(guest.out2()).toBe(false);
    guest.time.advance(1);
    expect(guest.out2()).toBe(true);
  });

  it("the high byte of a free count is 0xFF at once and stays so for 256 clocks", () => {
    const guest = machine();
    guest.write(portB, 0x01);
    guest.write(control, 0xb0);
    guest.write(counter2, 0xff);
    guest.write(counter2, 0xff);
    guest.read(counter2);
    expect(guest.read(counter2)).toBe(0xff);
    guest.to(256);
    guest.read(counter2);
    expect(guest.read(counter2)).toBe(0xfe);
  });

  it("port 0x61 keeps its low four bits and toggles refresh every 18 clocks", () => {
    const guest = machine();
    guest.write(portB, 0xff);
    expect(guest.read(portB)).toBe(0x0f);
    guest.to(17);
    expect(guest.read(portB)).toBe(0x0f);
    guest.to(18);
    expect(guest.read(portB)).toBe(0x1f);
    guest.to(36);
    expect(guest.read(portB)).toBe(0x0f);
  });
});

describe("interrupt 0", () => {
  it("has one rising edge per period in mode 2, without drift", () => {
    const guest = machine();
    guest.program(0, 2, 11_932);
    guest.line.risingEdges = 0;
    guest.to(11_932 * 1000 - 1);
    expect(guest.line.risingEdges).toBe(999);
    guest.to(11_932 * 1000);
    expect(guest.line.risingEdges).toBe(1000);
    expect(guest.time.nextDeadline()).toBe(clock.timeOf(11_932 * 1001));
  });

  it("is a square wave in mode 3", () => {
    const guest = machine();
    guest.program(0, 3, 9);
    const edges: [number, boolean][] = [];
    for (let cycle = 0; cycle < 18; cycle++) {
      guest.to(cycle);
      if (edges.at(-1)?.[1] !== guest.line.level) edges.push([cycle, guest.line.level]);
    }
    expect(edges).toEqual([
      [0, true],
      [5, false],
      [9, true],
      [14, false],
    ]);
  });

  it.each([
    [0, 100, 1],
    [4, 101, 2],
  ])("comes once in mode %i, %i clocks after a count of 100", (mode, cycles, edges) => {
    const guest = machine();
    guest.program(0, mode, 100);
    guest.to(cycles - 1);
    expect(guest.line.risingEdges).toBe(edges - 1);
    guest.to(cycles);
    expect(guest.line.risingEdges).toBe(edges);
    guest.to(200_000);
    expect(guest.line.risingEdges).toBe(edges);
    expect(guest.time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it("is set again for each one-shot, as a tickless kernel does", () => {
    const guest = machine();
    guest.write(control, 0x38);
    for (let shot = 1; shot <= 3; shot++) {
      guest.write(counter0, 0x10);
      guest.write(counter0, 0x00);
      guest.to(shot * 100);
      expect(guest.line.risingEdges).toBe(shot + 1);
    }
  });

  it("stops when the counter is programmed without a count", () => {
    const guest = machine();
    guest.program(0, 2, 1000);
    guest.write(control, 0x30);
    expect(guest.time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    expect(guest.line.level).toBe(false);
  });

  it.each([2, 3])("never comes from the illegal count 1 of mode %i", (mode) => {
    const guest = machine();
    guest.program(0, mode, 1);
    expect(guest.time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it("is not lost when the counter is programmed between the edge's time and its event", () => {
    const time = new ManualTime();
    const line = new RecordingLine();
    let late = 0;
    const timebase = {
      now: () => time.now() + late,
      timer: (name: string, fire: (deadline: number) => void) => time.timer(name, fire),
    };
    const pit = new Pit({ name: "pit", timebase, line });
    for (const [port, value] of [
      [control, 0x34],
      [counter0, 100],
      [counter0, 0],
    ] as const)
      pit.portWrite(port, 1, value);
    const before = line.risingEdges;
    late = clock.timeOf(101);
    pit.portWrite(control, 1, 0x34);
    expect(line.risingEdges).toBe(before + 1);
  });
});

const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("write" as const),
      port: fc.constantFrom(0x40, 0x40, 0x41, 0x42, 0x42, 0x43, 0x43, 0x61, 0x44),
      width: fc.constantFrom(1 as const, 1 as const, 2 as const, 4 as const),
      value: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 0xffff_ffff })),
    }),
    fc.record({
      kind: fc.constant("read" as const),
      port: fc.constantFrom(0x40, 0x41, 0x42, 0x43, 0x61, 0x60),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const),
    }),
    // At most 2000 clocks, so that a period of 2 cannot make the test slow.
    fc.record({ kind: fc.constant("wait" as const), ns: fc.integer({ min: 0, max: 1_676_000 }) }),
  ),
  { maxLength: 100 },
);
type Step = typeof steps extends fc.Arbitrary<readonly (infer One)[]> ? One : never;

function perform({ pit, time }: ReturnType<typeof machine>, step: Step): number {
  switch (step.kind) {
    case "write":
      pit.portWrite(step.port, step.width, step.value);
      return 0;
    case "read":
      return pit.portRead(step.port, step.width);
    case "wait":
      time.advance(step.ns);
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
          copyOf: (guest) => {
            const copy = machine(guest.time.now());
            copy.line.set(guest.line.level);
            return copy;
          },
          device: ({ pit }) => pit,
          seen: ({ line, time }) => [line.level, time.nextDeadline()],
        }),
      ),
    );
  });
});

function busy() {
  const guest = machine(7_000_000);
  guest.write(portB, 0x03);
  guest.program(0, 2, 11_932);
  guest.program(1, 3, 18);
  guest.program(2, 0, 0x0999, 1);
  guest.to(500);
  guest.write(control, 0xc8);
  guest.read(counter2);
  guest.read(counter2);
  guest.write(counter0, 0x55);
  return guest;
}

describe("saved state", () => {
  it("is the golden one and comes back from it", () => {
    const saved = expectGolden("pit", busy().pit.save());
    const { pit, line, time } = machine(busy().time.now());
    pit.restore(saved);
    expect(pit.save()).toEqual(saved);
    expect(line.level).toBe(true);
    expect(time.nextDeadline()).toBe(busy().time.nextDeadline());
  });

  it("is refused when it does not fit, and changes nothing", () => {
    const good = busy().pit.save();
    const withCounter = (change: object): unknown => ({
      ...good,
      counters: [{ ...good.counters[0], ...change }, good.counters[1], good.counters[2]],
    });
    refusesStates(
      () => machine().pit,
      [
        [{ ...good, version: 9 }, "bad-version"],
        [{ ...good, portB: 0x10 }, "out-of-range"],
        [{ ...good, counters: good.counters.slice(1) }, "bad-shape"],
        [withCounter({ register: 0 }), "out-of-range"],
        [withCounter({ control: 0x05 }), "out-of-range"],
        [withCounter({ control: 0x35, register: 20_000 }), "out-of-range"],
        [withCounter({ period: 0, counting: true }), "out-of-range"],
        [withCounter({ gate: 1 }), "bad-shape"],
      ],
    );
  });
});

it("reset stops all counters and closes the gate", () => {
  const { pit, line, time, status, read } = busy();
  pit.reset();
  expect([0, 1, 2].map(status)).toEqual([0x70, 0x70, 0x70]);
  expect(read(portB) & 0x0f).toBe(0);
  expect(line.level).toBe(false);
  expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
});

it("specs/pit.md holds the register and mode tables", () => {
  const text = expectRegistersInSpec("pit", pitRegisters);
  pitModes.forEach((mode, index) => {
    expect(text).toContain(
      `| ${index} | ${mode.name} | ${mode.idleOut ? "high" : "low"} | ${mode.lowGate} | ` +
        `${mode.risingGateStarts ? "starts" : "no effect"} | ${mode.takesCount} |`,
    );
  });
});
