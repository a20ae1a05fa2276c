import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bus } from "./bus.ts";
import { ManualTime } from "./clock-wheel.ts";
import { Hpet, hpetBase, hpetLength, SwitchedLine } from "./hpet.ts";
import { HpetTimerBit, hpetRegisters } from "./hpet-registers.ts";
import { RecordingLine } from "./line.ts";
import {
  answersInWidth,
  expectGolden,
  expectRegistersInSpec,
  goesOnAfterRestore,
  refusesStates,
} from "./testing/device-contract.ts";

const [configuration, status, counter] = [0x10, 0x20, 0xf0] as const;
const { level, interruptEnable, periodic, valueSet, mode32, message } = HpetTimerBit;
const route = (input: number): number => input << 9;

function machine({ start = 0, timers = 3, routes = 0x00f0_0004 } = {}) {
  const time = new ManualTime(start);
  // By timer and input; a timer's own source on each.
  const lines: RecordingLine[] = [];
  const inputs: number[] = [];
  const legacyLines = [new RecordingLine(), new RecordingLine()] as const;
  const cuts: boolean[] = [];
  const messages: (readonly [number, number])[] = [];
  const hpet = new Hpet({
    name: "hpet",
    timebase: time,
    timers,
    routes,
    line: (input) => {
      const line = new RecordingLine();
      lines.push(line);
      inputs.push(input);
      return line;
    },
    legacyLines,
    legacyReplacement: (active) => cuts.push(active),
    message: (address, data) => messages.push([address, data]),
  });
  const bus = new Bus();
  bus.registerMmio("hpet", hpetBase, hpetLength, hpet);
  const read = (offset: number): number => bus.mmioRead(hpetBase + offset, 4);
  const write = (offset: number, value: number): void => bus.mmioWrite(hpetBase + offset, 4, value);
  const timer = (n: number) => {
    const at = 0x100 + 0x20 * n;
    return {
      configure: (value: number) => write(at, value),
      configuration: () => read(at),
      set: (low: number) => write(at + 8, low),
      setHigh: (high: number) => write(at + 12, high),
      comparator: () => BigInt(read(at + 12)) * 2n ** 32n + BigInt(read(at + 8)),
      at,
    };
  };
  const line = (n: number, input: number): RecordingLine =>
    lines[n * (lines.length / timers) + inputs.indexOf(input)]!;
  const setCounter = (value: bigint): void => {
    write(counter, Number(value & 0xffff_ffffn));
    write(counter + 4, Number(value >> 32n));
  };
  const count = (): bigint => BigInt(read(counter + 4)) * 2n ** 32n + BigInt(read(counter));
  return { time, hpet, bus, read, write, timer, line, lines, legacyLines, cuts, messages, setCounter, count };
}

describe("the registers", () => {
  it("tell period, timers, routes and abilities", () => {
    const { read, hpet } = machine();
    expect(read(0)).toBe(0x8086_a201);
    expect(read(4)).toBe(10_000_000);
    expect(hpet.capabilities).toBe(0x8086_a201);
    expect([0, 1, 2].map((n) => read(0x100 + 0x20 * n))).toEqual([0x8030, 0x8030, 0x8030]);
    expect([0, 1, 2].map((n) => read(0x104 + 0x20 * n))).toEqual([0x00f0_0004, 0x00f0_0004, 0x00f0_0004]);
    expect(read(0x160)).toBe(0);
    const two = machine({ timers: 2 });
    expect([two.read(0), two.read(0x120), two.read(0x140)]).toEqual([0x8086_a101, 0x8030, 0]);
    const many = machine({ timers: 24 });
    expect(many.read(0)).toBe(0x8086_b701);
    expect(many.read(0x3e0)).toBe(0x8030);
  });

  it("keep what the table says and nothing else", () => {
    const { read, write } = machine();
    for (let at = 0; at < hpetLength; at += 4) if (at < 0x100 || at % 0x20 !== 8) write(at, 0xffff_fff8);
    expect(read(0)).toBe(0x8086_a201);
    expect(read(configuration)).toBe(0);
    expect(read(status)).toBe(0);
    expect(read(counter)).toBe(0xffff_fff8);
    expect(read(0x30)).toBe(0);
    // 31 is no route of this machine: the field stays as it was.
    expect(read(0x100)).toBe(0x8030 | periodic | valueSet | mode32 | message);
    write(configuration, 0xffff_fffc);
    expect(read(configuration)).toBe(0);
  });

  it("take a route only if the timer has it", () => {
    const { timer } = machine();
    const one = timer(1);
    one.configure(route(21));
    one.configure(route(3));
    expect(one.configuration() & HpetTimerBit.route).toBe(route(21));
    one.configure(route(2));
    expect(one.configuration() & HpetTimerBit.route).toBe(route(2));
    one.configure(0);
    expect(one.configuration() & HpetTimerBit.route).toBe(0);
  });

  it("are reached with any width and alignment, byte for byte", () => {
    const { bus, read, write } = machine();
    bus.mmioWrite(hpetBase + counter + 2, 4, 0x1122_3344);
    expect([read(counter), read(counter + 4)]).toEqual([0x3344_0000, 0x1122]);
    bus.mmioWrite(hpetBase + counter + 5, 1, 0x55);
    expect(bus.mmioRead(hpetBase + counter + 3, 4)).toBe(0x0055_2233);
    expect(bus.mmioRead(hpetBase + counter + 3, 2)).toBe(0x2233);
    expect(bus.mmioRead(hpetBase + counter + 2, 1)).toBe(0x44);
    // A byte beside the status bits clears none.
    write(0x100, level);
    write(0x108, 5);
    write(0x10c, 0);
    write(counter, 5);
    write(counter + 4, 0);
    write(configuration, 1);
    expect(read(status)).toBe(1);
    bus.mmioWrite(hpetBase + status + 1, 1, 0xff);
    expect(read(status)).toBe(1);
    bus.mmioWrite(hpetBase + status, 1, 0x01);
    expect(read(status)).toBe(0);
  });

  it("refuse a machine that there cannot be", () => {
    for (const wrong of [{ timers: 1 }, { timers: 25 }, { timers: 3.5 }, { routes: 1 }, { routes: 2 ** 32 }])
      expect(() => machine(wrong)).toThrow(RangeError);
  });
});

describe("the main counter", () => {
  it("counts 10 ns from its start, across the low half, and stands still while halted", () => {
    const { time, write, count, setCounter } = machine({ start: 12_345 });
    setCounter(0xffff_fffen);
    time.advance(1000);
    expect(count()).toBe(0xffff_fffen);
    write(configuration, 1);
    time.advance(19);
    expect(count()).toBe(0xffff_ffffn);
    time.advance(1);
    expect(count()).toBe(0x1_0000_0000n);
    time.advance(86_400e9);
    expect(count()).toBe(0x1_0000_0000n + 8_640_000_000_000n);
    write(configuration, 0);
    time.advance(500);
    expect(count()).toBe(0x1_0000_0000n + 8_640_000_000_000n);
    write(configuration, 1);
    time.advance(10);
    expect(count()).toBe(0x1_0000_0001n + 8_640_000_000_000n);
  });

  it("wraps around at 2^64 and takes no write while it runs", () => {
    const { time, write, count, setCounter } = machine();
    setCounter(0xffff_ffff_ffff_ffffn);
    write(configuration, 1);
    time.advance(30);
    expect(count()).toBe(2n);
    setCounter(1_000_000n);
    expect(count()).toBe(2n);
  });
});

describe("a one-shot timer", () => {
  it("interrupts when the counter reaches the comparator, once", () => {
    const { time, write, timer, line } = machine();
    timer(0).configure(interruptEnable | route(20));
    timer(0).set(100);
    timer(0).setHigh(0);
    write(configuration, 1);
    time.advance(999);
    expect(line(0, 20).risingEdges).toBe(0);
    time.advance(1);
    expect(line(0, 20).risingEdges).toBe(1);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    expect(timer(0).comparator()).toBe(100n);
  });

  it("whose comparator lies in the past waits until the counter comes round: never with 64 bits, 43 s with 32", () => {
    const { time, write, timer, line } = machine();
    write(configuration, 1);
    time.advance(1000);
    timer(0).configure(interruptEnable | route(20));
    timer(0).set(99);
    timer(0).setHigh(0);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    timer(1).configure(interruptEnable | mode32 | route(20));
    timer(1).set(99);
    expect(time.nextDeadline()).toBe((2 ** 32 + 99) * 10);
    time.advance(2 ** 32 * 30);
    expect(line(0, 20).risingEdges).toBe(0);
    expect(line(1, 20).risingEdges).toBe(3);
  });

  it("matches in the very tick in which comparator or counter are set to it", () => {
    const { time, write, timer, line } = machine();
    write(configuration, 1);
    time.advance(105);
    timer(0).configure(interruptEnable | mode32 | route(20));
    timer(0).set(10);
    time.advance(0);
    expect(line(0, 20).risingEdges).toBe(1);
    // Another write to the configuration in this tick is no other match.
    timer(0).configure(interruptEnable | mode32 | periodic | route(20));
    timer(0).configure(interruptEnable | route(20));
    time.advance(3);
    expect(line(0, 20).risingEdges).toBe(1);
  });

  it("reads upper halves as 0 in 32-bit mode", () => {
    const { timer } = machine();
    expect(timer(0).comparator()).toBe(2n ** 64n - 1n);
    timer(0).configure(mode32);
    expect(timer(0).comparator()).toBe(0xffff_ffffn);
    timer(0).setHigh(7);
    expect(timer(0).comparator()).toBe(0xffff_ffffn);
  });
});

describe("a periodic timer", () => {
  it("interrupts at the comparator, then at every period after it, without drift", () => {
    const { time, write, timer, line } = machine();
    timer(0).configure(interruptEnable | periodic | valueSet | route(20));
    timer(0).set(1000);
    timer(0).setHigh(0);
    timer(0).configure(interruptEnable | periodic | route(20));
    timer(0).set(333);
    write(configuration, 1);
    time.advance(9_999);
    expect(line(0, 20).risingEdges).toBe(0);
    time.advance(1);
    expect(line(0, 20).risingEdges).toBe(1);
    expect(timer(0).comparator()).toBe(1333n);
    time.advance(3330 * 10_000);
    expect(line(0, 20).risingEdges).toBe(10_001);
    expect(timer(0).comparator()).toBe(1000n + 333n * 10_001n);
  });

  it("takes comparator and period from one write with VAL_SET, which is open once for each half", () => {
    const { timer } = machine();
    timer(0).configure(periodic | valueSet);
    expect(timer(0).configuration() & valueSet).toBe(valueSet);
    timer(0).set(50);
    expect(timer(0).configuration() & valueSet).toBe(0);
    timer(0).setHigh(1);
    expect(timer(0).comparator()).toBe(2n ** 32n + 50n);
    timer(0).set(60);
    timer(0).setHigh(2);
    expect(timer(0).comparator()).toBe(2n ** 32n + 50n);
    // A period of 64 bits behind a comparator of 32.
    timer(0).configure(periodic | valueSet);
    timer(0).set(50);
    timer(0).set(60);
    timer(0).setHigh(2);
    expect(timer(0).comparator()).toBe(2n ** 32n + 50n);
    // Two 32-bit writes with VAL_SET before each (2.3.9.2.2).
    timer(0).configure(periodic | valueSet);
    timer(0).set(70);
    timer(0).configure(periodic | valueSet);
    timer(0).setHigh(3);
    expect(timer(0).comparator()).toBe(3n * 2n ** 32n + 70n);
    // The high half alone leaves the low one open to none but a write of its own.
    timer(0).set(80);
    expect(timer(0).comparator()).toBe(3n * 2n ** 32n + 70n);
  });

  it("knows VAL_SET in periodic mode only", () => {
    const { timer } = machine();
    timer(0).configure(valueSet);
    expect(timer(0).configuration() & valueSet).toBe(0);
  });

  it("with 32 bits goes on across the end of the low half", () => {
    const { time, write, timer, line, setCounter } = machine();
    setCounter(0x7_ffff_ff00n);
    timer(0).configure(interruptEnable | periodic | valueSet | mode32 | route(20));
    timer(0).set(0xffff_fff0);
    timer(0).set(0x1000);
    write(configuration, 1);
    time.advance(0xf0 * 10);
    expect(line(0, 20).risingEdges).toBe(1);
    expect(timer(0).comparator()).toBe(0xff0n);
    time.advance(0x1000 * 10);
    expect(line(0, 20).risingEdges).toBe(2);
    expect(timer(0).comparator()).toBe(0x1ff0n);
  });

  it("moves its comparator also without an interrupt, at no cost in alarms", () => {
    const { time, write, timer } = machine();
    timer(0).configure(periodic | valueSet);
    timer(0).set(7);
    timer(0).setHigh(0);
    write(configuration, 1);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    time.advance(1e12);
    expect(timer(0).comparator()).toBe(100_000_000_000n - (100_000_000_000n % 7n) + 7n);
  });

  it.each([0, 1, 2, 99])("of %i ticks interrupts no more than once in a microsecond", (period) => {
    const { time, write, timer, line } = machine();
    timer(0).configure(interruptEnable | periodic | valueSet | mode32 | route(20));
    timer(0).set(500);
    timer(0).set(period);
    write(configuration, 1);
    time.advance(1_000_000);
    expect(line(0, 20).risingEdges).toBeLessThanOrEqual(1000);
    expect(line(0, 20).risingEdges).toBeGreaterThan(period === 0 ? 0 : 490);
    if (period > 0)
      expect(timer(0).comparator()).toBe(BigInt(500 + period * (Math.floor(99_500 / period) + 1)));
  });
});

describe("triggers", () => {
  it("level: line and status stay until the bit is written, and the line follows the enables", () => {
    const { time, read, write, timer, line } = machine();
    timer(1).configure(interruptEnable | level | route(22));
    timer(1).set(10);
    timer(1).setHigh(0);
    write(configuration, 1);
    time.advance(100);
    expect(line(1, 22).level).toBe(true);
    expect(read(status)).toBe(2);
    write(status, 5);
    expect(read(status)).toBe(2);
    timer(1).configure(level | route(22));
    expect(line(1, 22).level).toBe(false);
    timer(1).configure(interruptEnable | level | route(23));
    expect([line(1, 22).level, line(1, 23).level]).toEqual([false, true]);
    write(configuration, 0);
    expect(line(1, 23).level).toBe(false);
    expect(read(status)).toBe(2);
    write(configuration, 1);
    expect(line(1, 23).level).toBe(true);
    write(status, 2);
    expect(line(1, 23).level).toBe(false);
    expect(read(status)).toBe(0);
  });

  it("level: a match sets the status whether the interrupt is enabled or not", () => {
    const { time, read, write, timer, line } = machine();
    timer(0).configure(level | route(20));
    timer(0).set(10);
    timer(0).setHigh(0);
    write(configuration, 1);
    time.advance(99);
    expect(read(status)).toBe(0);
    time.advance(1);
    expect(read(status)).toBe(1);
    timer(0).configure(level | interruptEnable | route(20));
    expect(line(0, 20).level).toBe(true);
  });

  it("level: a periodic timer that nobody answers costs no alarms, and interrupts again once answered", () => {
    const { time, write, timer, line } = machine();
    timer(0).configure(interruptEnable | level | periodic | valueSet | route(20));
    timer(0).set(1000);
    timer(0).setHigh(0);
    write(configuration, 1);
    time.advance(10_000);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    time.advance(25_000);
    write(status, 1);
    expect(line(0, 20).level).toBe(false);
    expect(time.nextDeadline()).toBe(40_000);
    time.advance(5_000);
    expect(line(0, 20).risingEdges).toBe(2);
  });

  it("edge: a pulse at an input that PCI shares, held at one that the 8259 pair sees", () => {
    const { time, read, write, timer, line } = machine();
    timer(0).configure(interruptEnable | periodic | valueSet | mode32 | route(20));
    timer(0).set(1000);
    timer(1).configure(interruptEnable | periodic | valueSet | mode32 | route(2));
    timer(1).set(1000);
    write(configuration, 1);
    time.advance(20_000);
    expect(line(0, 20).history).toEqual([true, false, true, false]);
    expect(line(1, 2).history).toEqual([true, false, true]);
    expect(read(status)).toBe(0);
    timer(1).configure(periodic | mode32 | route(2));
    expect(line(1, 2).level).toBe(false);
  });

  it("are not lost when a register is written between the match and its event", () => {
    const time = new ManualTime();
    const line = new RecordingLine();
    let late = 0;
    const hpet = new Hpet({
      name: "hpet",
      timebase: { now: () => time.now() + late, timer: (name, fire) => time.timer(name, fire) },
      line: () => line,
      legacyLines: [line, line],
      legacyReplacement() {},
      message() {},
    });
    hpet.mmioWrite(0x100, 4, interruptEnable | mode32 | route(20));
    hpet.mmioWrite(0x108, 4, 100);
    hpet.mmioWrite(configuration, 4, 1);
    late = 1_005;
    hpet.mmioWrite(0x108, 4, 5000);
    expect(line.risingEdges).toBe(1);
  });
});

describe("delivery by message", () => {
  it("writes value to address at each match, and moves no line", () => {
    const { time, write, timer, lines, messages } = machine();
    write(0x110, 0x4041);
    write(0x114, 0xfee0_1000);
    timer(0).configure(interruptEnable | periodic | valueSet | mode32 | message | route(20));
    timer(0).set(1000);
    write(configuration, 3);
    time.advance(25_000);
    expect(messages).toEqual([
      [0xfee0_1000, 0x4041],
      [0xfee0_1000, 0x4041],
    ]);
    expect(lines.every(({ history }) => history.length === 0)).toBe(true);
  });
});

describe("legacy replacement", () => {
  it("puts timers 0 and 1 on interrupts 0 and 8, leaves the others, and cuts off PIT and RTC", () => {
    const { time, write, timer, line, legacyLines, cuts } = machine();
    for (const n of [0, 1, 2]) {
      timer(n).configure(interruptEnable | periodic | valueSet | mode32 | route(20));
      timer(n).set(1000 * (n + 1));
    }
    write(configuration, 3);
    expect(cuts).toEqual([true]);
    time.advance(60_000);
    expect(legacyLines.map(({ risingEdges }) => risingEdges)).toEqual([6, 3]);
    expect([0, 1, 2].map((n) => line(n, 20).risingEdges)).toEqual([0, 0, 2]);
    write(configuration, 1);
    expect(cuts).toEqual([true, false]);
    expect(legacyLines.map(({ level }) => level)).toEqual([false, false]);
    time.advance(30_000);
    expect([0, 1, 2].map((n) => line(n, 20).risingEdges)).toEqual([3, 1, 3]);
  });

  it("holds only while the counter is enabled too", () => {
    const { write, cuts } = machine();
    write(configuration, 2);
    expect(cuts).toEqual([false]);
    write(configuration, 3);
    write(configuration, 2);
    expect(cuts).toEqual([false, true, false]);
  });

  it("gives PIT and RTC back at a reset", () => {
    const { hpet, read, write, cuts } = machine();
    write(configuration, 3);
    hpet.reset();
    expect(cuts).toEqual([true, false]);
    expect(read(configuration)).toBe(0);
  });

  it("is a switch in a source's wire, which shows its level again when closed", () => {
    const target = new RecordingLine();
    const wire = new SwitchedLine(target);
    wire.set(true);
    wire.connect(false);
    expect(target.level).toBe(false);
    wire.set(false);
    wire.set(true);
    expect(target.history).toEqual([true, false]);
    wire.connect(true);
    expect(target.level).toBe(true);
    wire.connect(false);
    wire.set(false);
    wire.connect(true);
    expect(target.level).toBe(false);
  });
});

describe("what Linux does", () => {
  it("finds that the counter counts, sets a periodic tick with two writes, then one-shots", () => {
    const { time, read, write, timer, legacyLines } = machine({ start: 5_000_000 });
    write(configuration, 0);
    write(counter, 0);
    write(counter + 4, 0);
    write(configuration, 1);
    const first = read(counter);
    time.advance(200_000);
    expect(read(counter)).toBe(first + 20_000);
    write(configuration, 3);
    // hpet_set_periodic: comparator, then with VAL_SET gone by itself the period.
    const tick = 400_000;
    timer(0).configure(interruptEnable | periodic | valueSet | mode32);
    timer(0).set(read(counter) + tick);
    time.advance(1_000);
    timer(0).set(tick);
    time.advance(40_000_000 - 1_000);
    expect(legacyLines[0].risingEdges).toBe(10);
    timer(0).configure(interruptEnable | mode32);
    timer(0).set(read(counter) + 128);
    time.advance(1_279);
    expect(legacyLines[0].risingEdges).toBe(10);
    time.advance(1);
    expect(legacyLines[0].risingEdges).toBe(11);
  });
});

/** The specification word by word: a counter that counts and comparators that compare, tick by tick. */
class TickByTick {
  count: bigint;
  readonly period: bigint;
  readonly bits32: boolean;
  readonly repeats: boolean;
  comparator: bigint;
  matches = 0;

  constructor(count: bigint, comparator: bigint, period: bigint, bits32: boolean, repeats: boolean) {
    this.count = count;
    this.period = period;
    this.bits32 = bits32;
    this.repeats = repeats;
    this.comparator = comparator;
    this.#compare();
  }

  tick(): void {
    this.count = BigInt.asUintN(64, this.count + 1n);
    this.#compare();
  }

  #compare(): void {
    const bits = this.bits32 ? 32 : 64;
    if (BigInt.asUintN(bits, this.count) !== this.comparator) return;
    this.matches++;
    if (this.repeats) this.comparator = BigInt.asUintN(bits, this.comparator + this.period);
  }
}

it("counts and compares as the specification does tick by tick", () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.bigInt({ min: 0n, max: 300n }),
      fc.oneof(fc.bigInt({ min: 100n, max: 400n }), fc.constantFrom(0n, 0xffff_fff0n, 0xffff_ffffn)),
      fc.boolean(),
      fc.boolean(),
      fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 12 }),
      (start, ahead, period, bits32, repeats, waits) => {
        const { time, write, timer, messages, setCounter, count } = machine();
        const bits = bits32 ? 32 : 64;
        const comparator = BigInt.asUintN(bits, start + ahead);
        const model = new TickByTick(start, comparator, period, bits32, repeats);
        setCounter(start);
        const mode = interruptEnable | message | (bits32 ? mode32 : 0) | (repeats ? periodic : 0);
        timer(0).configure(mode | valueSet);
        timer(0).set(Number(comparator & 0xffff_ffffn));
        timer(0).setHigh(Number(comparator >> 32n));
        if (repeats) {
          timer(0).configure(mode);
          timer(0).set(Number(period));
          timer(0).setHigh(0);
        }
        write(configuration, 1);
        for (const ticks of waits) {
          for (let i = 0; i < ticks; i++) model.tick();
          time.advance(ticks * 10);
          expect(count()).toBe(model.count);
          expect(timer(0).comparator()).toBe(model.comparator);
          expect(messages.length).toBe(model.matches);
        }
      },
    ),
  );
});

const offsets = fc.oneof(
  fc.constantFrom(
    0x10,
    0x20,
    0xf0,
    0xf4,
    0x100,
    0x108,
    0x10c,
    0x110,
    0x114,
    0x120,
    0x128,
    0x12c,
    0x140,
    0x148,
  ),
  fc.integer({ min: 0, max: hpetLength - 1 }),
);
const widths = fc.constantFrom(1 as const, 2 as const, 4 as const, 4 as const, 4 as const);
const values = fc.oneof(
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.integer({ min: 0, max: 0x7fff }),
  fc.constantFrom(0, 1, 2, 3, 0xffff_ffff),
);
const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("write" as const), offset: offsets, width: widths, value: values }),
    fc.record({ kind: fc.constant("read" as const), offset: offsets, width: widths }),
    fc.record({ kind: fc.constant("wait" as const), ns: fc.integer({ min: 0, max: 100_000 }) }),
  ),
  { maxLength: 100 },
);
type Step = typeof steps extends fc.Arbitrary<readonly (infer One)[]> ? One : never;

function perform({ bus, time }: ReturnType<typeof machine>, step: Step): number {
  switch (step.kind) {
    case "write":
      bus.mmioWrite(hpetBase + step.offset, step.width, step.value);
      return 0;
    case "read":
      return bus.mmioRead(hpetBase + step.offset, step.width);
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

  it("interrupts each timer at most once per microsecond and once per access", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const guest = machine();
        for (const step of all) perform(guest, step);
        const edges = [...guest.lines, ...guest.legacyLines].reduce((sum, line) => sum + line.risingEdges, 0);
        const waits = all.reduce((sum, step) => sum + (step.kind === "wait" ? step.ns : 0), 0);
        expect(edges + guest.messages.length).toBeLessThanOrEqual(3 * (waits / 1000 + 4 * all.length));
      }),
    );
  });

  it("goes on after save and restore as if nothing had happened", () => {
    fc.assert(
      fc.property(steps, steps, (before, after) =>
        goesOnAfterRestore(before, after, {
          start: () => machine(),
          perform,
          copyOf: (guest) => {
            const copy = machine({ start: guest.time.now() });
            guest.lines.forEach((line, index) => {
              copy.lines[index]!.set(line.level);
            });
            guest.legacyLines.forEach((line, index) => {
              copy.legacyLines[index]!.set(line.level);
            });
            return copy;
          },
          device: ({ hpet }) => hpet,
          seen: ({ lines, legacyLines, cuts, time }) => [
            lines.map((line) => line.level),
            legacyLines.map((line) => line.level),
            cuts.at(-1) ?? false,
            time.nextDeadline(),
          ],
        }),
      ),
    );
  });
});

function busy() {
  const guest = machine({ start: 7_000_000 });
  guest.setCounter(0x1_ffff_0000n);
  guest.timer(0).configure(interruptEnable | periodic | valueSet | mode32);
  guest.timer(0).set(0xffff_1000);
  guest.timer(0).set(30_000);
  guest.timer(1).configure(interruptEnable | level | route(21));
  guest.timer(1).set(0xffff_0800);
  guest.timer(1).setHigh(1);
  guest.timer(2).configure(interruptEnable | periodic | valueSet | message | route(22));
  guest.timer(2).set(0x0002_0000);
  guest.write(0x150, 0x0041);
  guest.write(0x154, 0xfee0_0000);
  guest.write(configuration, 3);
  guest.time.advance(2_000_005);
  return guest;
}

describe("saved state", () => {
  it("is the golden one and comes back from it", () => {
    const saved = expectGolden("hpet", busy().hpet.save());
    const { hpet, time, legacyLines, cuts } = machine({ start: busy().time.now() });
    hpet.restore(saved);
    expect(hpet.save()).toEqual(saved);
    expect(cuts).toEqual([true]);
    expect(legacyLines[0].level).toBe(true);
    expect(legacyLines[1].level).toBe(true);
    expect(time.nextDeadline()).toBe(busy().time.nextDeadline());
  });

  it("comes back whatever comparator and period are, also where guest time never gets", () => {
    // 2^53 ns are 2^49.7 ticks.
    for (const high of [
      0,
      2 ** 16,
      2 ** 17,
      209_000,
      210_000,
      250_000,
      2 ** 18,
      2 ** 20,
      2 ** 31,
      2 ** 32 - 1,
    ]) {
      for (const [mode, comparatorHigh] of [
        [interruptEnable, high],
        [interruptEnable | periodic, 0],
        [interruptEnable | periodic, high],
      ] as const) {
        const guest = machine({ start: 1_000_003 });
        guest.timer(0).configure(mode | valueSet);
        guest.timer(0).set(100);
        guest.timer(0).setHigh(comparatorHigh);
        guest.timer(0).setHigh(high);
        guest.write(configuration, 1);
        guest.time.advance(5_000);
        const copy = machine({ start: guest.time.now() });
        copy.hpet.restore(structuredClone(guest.hpet.save()));
        expect(copy.hpet.save()).toEqual(guest.hpet.save());
        expect(copy.time.nextDeadline()).toBe(guest.time.nextDeadline());
      }
    }
  });

  it("is refused when it does not fit, and changes nothing", () => {
    const good = busy().hpet.save();
    const withTimer = (change: object): unknown => ({
      ...good,
      timers: [{ ...good.timers[0], ...change }, good.timers[1], good.timers[2]],
    });
    refusesStates(
      () => machine({ start: busy().time.now() }).hpet,
      [
        [{ ...good, version: 2 }, "bad-version"],
        [{ ...good, configuration: 4 }, "out-of-range"],
        [{ ...good, timers: good.timers.slice(1) }, "bad-shape"],
        [{ ...good, counter: { ...good.counter, origin: 1e15 } }, "out-of-range"],
        [{ ...good, configuration: 2 }, "out-of-range"],
        [withTimer({ configuration: 0x40 }), "out-of-range"],
        [withTimer({ configuration: route(3) }), "out-of-range"],
        [withTimer({ comparatorHigh: 1 }), "out-of-range"],
        [withTimer({ match: 7_000_001 }), "out-of-range"],
        [withTimer({ alarm: 7_000_000 }), "out-of-range"],
        [withTimer({ settable: 4 }), "out-of-range"],
        [withTimer({ status: 1 }), "bad-shape"],
      ],
    );
  });
});

it("reset halts the counter and lets go of every line", () => {
  const { hpet, read, legacyLines, time } = busy();
  hpet.reset();
  expect([read(configuration), read(status), read(counter), read(counter + 4)]).toEqual([0, 0, 0, 0]);
  expect(legacyLines.map(({ level: high }) => high)).toEqual([false, false]);
  expect(read(0x108)).toBe(0xffff_ffff);
  expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
});

it("inspect shows the counter and every timer", () => {
  expect(busy().hpet.inspect()).toMatchObject({
    counter: "0x200020d40",
    running: true,
    legacyReplacement: true,
    timer0: { mode: "periodic", bits: 32, delivery: "legacy replacement", period: "0x7530" },
    timer1: { mode: "one-shot", trigger: "level", status: true },
    timer2: { delivery: "message" },
  });
});

it("specs/hpet.md holds the register table", () => {
  expectRegistersInSpec("hpet", hpetRegisters);
});
