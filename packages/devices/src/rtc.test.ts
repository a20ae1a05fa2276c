import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ManualTime } from "./clock-wheel.ts";
import { RecordingLine } from "./line.ts";
import { Rtc } from "./rtc.ts";
import { Cmos, periodicCycles, rtcRegisters } from "./rtc-registers.ts";
import { nextAlarm } from "./rtc-time.ts";
import {
  answersInWidth,
  expectGolden,
  expectRegistersInSpec,
  goesOnAfterRestore,
  refusesStates,
} from "./testing/device-contract.ts";

const second = 1_000_000_000;
/** Tuesday 2024-12-31 23:59:58 UTC. */
const newYearsEve = Date.UTC(2024, 11, 31, 23, 59, 58) / 1000;

function machine(startTime = newYearsEve, start = 0) {
  const time = new ManualTime(start);
  const line = new RecordingLine();
  const rtc = new Rtc({ name: "rtc", timebase: time, line, startTime });
  const get = (at: number): number => {
    rtc.portWrite(0x70, 1, at);
    return rtc.portRead(0x71, 1);
  };
  const set = (at: number, value: number): void => {
    rtc.portWrite(0x70, 1, at);
    rtc.portWrite(0x71, 1, value);
  };
  /** Century to seconds, then the day of week. */
  const shown = (): number[] =>
    [Cmos.century, Cmos.year, Cmos.month, Cmos.day, Cmos.hours, Cmos.minutes, Cmos.seconds, Cmos.weekday].map(
      get,
    );
  const alarm = (hours: number, minutes: number, seconds: number): void => {
    set(Cmos.hoursAlarm, hours);
    set(Cmos.minutesAlarm, minutes);
    set(Cmos.secondsAlarm, seconds);
  };
  return { time, line, rtc, get, set, shown, alarm };
}

describe("the time", () => {
  it("is the start time at guest time 0 and runs with guest time", () => {
    const { shown, time } = machine();
    expect(shown()).toEqual([0x20, 0x24, 0x12, 0x31, 0x23, 0x59, 0x58, 3]);
    time.advance(2 * second - 1);
    expect(shown()).toEqual([0x20, 0x24, 0x12, 0x31, 0x23, 0x59, 0x59, 3]);
    time.advance(1);
    expect(shown()).toEqual([0x20, 0x25, 0x01, 0x01, 0x00, 0x00, 0x00, 4]);
  });

  it("is shown in binary and in 12 hours if register B says so", () => {
    const { shown, set, time } = machine();
    set(Cmos.b, 0x04);
    expect(shown()).toEqual([20, 24, 12, 31, 0x80 | 11, 59, 58, 3]);
    set(Cmos.b, 0x00);
    expect(shown()).toEqual([0x20, 0x24, 0x12, 0x31, 0x91, 0x59, 0x58, 3]);
    time.advance(2 * second);
    expect(shown()).toEqual([0x20, 0x25, 0x01, 0x01, 0x12, 0x00, 0x00, 4]);
  });

  it("can be set with SET, stands still meanwhile, and goes on in step with the divider", () => {
    const { shown, set, get, time } = machine();
    time.advance(0.3 * second);
    set(Cmos.b, 0x82);
    time.advance(10 * second);
    expect(get(Cmos.seconds)).toBe(0x58);
    for (const [at, value] of [
      [Cmos.century, 0x19],
      [Cmos.year, 0x99],
      [Cmos.month, 0x02],
      [Cmos.day, 0x28],
      [Cmos.hours, 0x23],
      [Cmos.minutes, 0x59],
      [Cmos.seconds, 0x59],
      [Cmos.weekday, 0x05],
    ] as const) {
      set(at, value);
    }
    set(Cmos.b, 0x02);
    time.advance(0.7 * second - 1);
    expect(get(Cmos.seconds)).toBe(0x59);
    time.advance(1);
    // 1999-02-28 was a Sunday, but the day of week is a counter of its own: it was written as Thursday.
    expect(shown()).toEqual([0x19, 0x99, 0x03, 0x01, 0x00, 0x00, 0x00, 6]);
  });

  it("can be set field by field while it runs", () => {
    const { set, shown } = machine();
    set(Cmos.year, 0x30);
    set(Cmos.hours, 0x01);
    expect(shown()).toEqual([0x20, 0x30, 0x12, 0x31, 0x01, 0x59, 0x58, 3]);
  });

  it("starts half a second after the end of a divider reset", () => {
    const { set, get, time } = machine();
    set(Cmos.a, 0x76);
    time.advance(5 * second);
    expect(get(Cmos.seconds)).toBe(0x58);
    set(Cmos.a, 0x26);
    time.advance(second / 2 - 1);
    expect(get(Cmos.seconds)).toBe(0x58);
    time.advance(1);
    expect(get(Cmos.seconds)).toBe(0x59);
  });

  it("counts on from bytes that are no time", () => {
    const { set, shown } = machine();
    set(Cmos.b, 0x86);
    for (const at of [Cmos.seconds, Cmos.minutes, Cmos.hours, Cmos.day, Cmos.month, Cmos.weekday]) {
      set(at, 0xff);
    }
    set(Cmos.b, 0x06);
    for (const value of shown()) expect(value).toBeLessThan(100);
  });
});

describe("update in progress", () => {
  it("is set in the last 244 us of a second, unless SET or the divider stop updates", () => {
    const { get, set, time } = machine();
    time.advance(second - 244_142);
    expect(get(Cmos.a)).toBe(0x26);
    time.advance(1);
    expect(get(Cmos.a)).toBe(0xa6);
    set(Cmos.b, 0x82);
    expect(get(Cmos.a)).toBe(0x26);
    set(Cmos.b, 0x02);
    time.advance(244_141);
    expect(get(Cmos.a)).toBe(0x26);
  });
});

describe("registers", () => {
  it("read as their table says after power-on; C and D cannot be written, nor UIP", () => {
    const { get, set, rtc } = machine();
    expect([Cmos.a, Cmos.b, Cmos.c, Cmos.d].map(get)).toEqual([0x26, 0x02, 0x00, 0x80]);
    set(Cmos.a, 0xff);
    expect(get(Cmos.a)).toBe(0x7f);
    set(Cmos.c, 0xff);
    set(Cmos.d, 0x00);
    expect([Cmos.c, Cmos.d].map(get)).toEqual([0x00, 0x80]);
    expect(rtc.portRead(0x70, 1)).toBe(0xff);
    expect(rtc.portRead(0x6f, 1)).toBe(0xff);
  });

  it("keeps the NMI mask beside the index", () => {
    const { rtc, get } = machine();
    rtc.portWrite(0x70, 1, 0x80 | Cmos.seconds);
    expect(rtc.nmiMasked).toBe(true);
    expect(rtc.portRead(0x71, 1)).toBe(0x58);
    expect(get(Cmos.minutes)).toBe(0x59);
    expect(rtc.nmiMasked).toBe(false);
  });

  it("keep 128 bytes more behind ports 0x72 and 0x73, apart from the clock's bank", () => {
    const { rtc, get, set } = machine();
    set(0x40, 0x11);
    rtc.portWrite(0x72, 1, 0xc0);
    expect(rtc.portRead(0x72, 1)).toBe(0x40);
    rtc.portWrite(0x73, 1, 0x22);
    // As one word: index, then data.
    rtc.portWrite(0x72, 2, 0x337f);
    rtc.reset();
    expect(rtc.portRead(0x72, 2)).toBe(0x0000);
    rtc.portWrite(0x72, 1, 0x40);
    expect(rtc.portRead(0x73, 1)).toBe(0x22);
    rtc.portWrite(0x72, 1, 0x7f);
    expect(rtc.portRead(0x73, 1)).toBe(0x33);
    expect([0x40, 0x7f, Cmos.seconds].map(get)).toEqual([0x11, 0x00, 0x58]);
    expect(rtc.nmiMasked).toBe(false);
  });

  it("keeps daylight saving's bit and does not apply it", () => {
    // 2025-10-26, the last Sunday of October, 01:59:59: the data sheet's clock would go back to 1:00:00.
    const { get, set, time } = machine(Date.UTC(2025, 9, 26, 1, 59, 59) / 1000);
    set(Cmos.b, 0x03);
    time.advance(second);
    expect([Cmos.b, Cmos.hours, Cmos.minutes].map(get)).toEqual([0x03, 0x02, 0x00]);
  });

  it("keeps RAM through a reset, which turns interrupts off", () => {
    const { rtc, get, set, time, line } = machine();
    set(0x0e, 0x12);
    set(0x7f, 0x34);
    set(Cmos.b, 0x7a);
    time.advance(second);
    expect(line.level).toBe(true);
    rtc.reset();
    expect(line.level).toBe(false);
    expect([0x0e, 0x7f, Cmos.b, Cmos.c, Cmos.seconds].map(get)).toEqual([0x12, 0x34, 0x02, 0x00, 0x59]);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it("refuses a start time that is none", () => {
    expect(() => machine(Number.NaN)).toThrow(RangeError);
    expect(() => machine(1e13)).toThrow(RangeError);
  });
});

describe("interrupts", () => {
  it("come with each update if UIE is set; reading C clears flags and line", () => {
    const { get, set, time, line } = machine();
    set(Cmos.b, 0x12);
    time.advance(second - 1);
    expect(line.level).toBe(false);
    time.advance(1);
    expect(line.level).toBe(true);
    expect(get(Cmos.c)).toBe(0x90 | 0x40);
    expect(line.level).toBe(false);
    expect(get(Cmos.c)).toBe(0);
    time.advance(second);
    expect(line.risingEdges).toBe(2);
  });

  it("set flags also when they are not enabled", () => {
    const { get, time, alarm, set } = machine();
    alarm(0x23, 0x59, 0x59);
    set(Cmos.a, 0x2f);
    time.advance(second);
    expect(get(Cmos.c)).toBe(0x70);
    time.advance(second / 2);
    expect(get(Cmos.c)).toBe(0x40);
  });

  it("come at once when an event that has happened is enabled", () => {
    const { set, time, line } = machine();
    time.advance(second);
    expect(line.level).toBe(false);
    set(Cmos.b, 0x12);
    expect(line.level).toBe(true);
  });

  it.each(periodicCycles.map((cycles, rate) => [rate, cycles] as const))(
    "of rate %i come every %i cycles of the crystal",
    (rate, cycles) => {
      const { get, set, time, line } = machine();
      set(Cmos.a, 0x20 | rate);
      set(Cmos.b, 0x42);
      if (cycles === 0) {
        expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
        return;
      }
      for (let count = 1; count <= 5; count++) {
        expect(time.nextDeadline()).toBe(Math.ceil((count * cycles * second) / 32_768));
        time.advance(time.nextDeadline() - time.now());
        expect(line.risingEdges).toBe(count);
        expect(get(Cmos.c) & 0xc0).toBe(0xc0);
      }
    },
  );

  it("come at the alarm, which FF matches always", () => {
    const { get, set, time, line, alarm } = machine();
    alarm(0x00, 0x00, 0xff);
    set(Cmos.b, 0x22);
    time.advance(2 * second - 1);
    expect(line.level).toBe(false);
    time.advance(1);
    expect(get(Cmos.c) & 0xa0).toBe(0xa0);
    time.advance(second);
    expect(get(Cmos.c) & 0xa0).toBe(0xa0);
    time.advance(59 * second);
    get(Cmos.c);
    expect(time.nextDeadline()).toBe((2 + 86_400) * second);
  });

  it("never come from an alarm that is no time", () => {
    const { set, time, alarm } = machine();
    alarm(0x24, 0x00, 0x00);
    set(Cmos.b, 0x22);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it("do not come while SET is set, which clears UIE", () => {
    const { get, set, time, line } = machine();
    set(Cmos.b, 0x92);
    expect(get(Cmos.b)).toBe(0x82);
    time.advance(3 * second);
    expect(line.level).toBe(false);
    expect(get(Cmos.c) & 0x30).toBe(0);
  });
});

it("the next alarm is the first second after now that matches, as trying each second finds it", () => {
  const alarmByte = fc.oneof(fc.integer({ min: 0, max: 59 }), fc.constantFrom(0xc0, 0xff, 60, 0x81, 0x8c));
  fc.assert(
    fc.property(
      fc.tuple(alarmByte, alarmByte, alarmByte),
      fc.integer({ min: -100_000, max: 2_000_000_000 }),
      fc.constantFrom(0x04, 0x06),
      ([seconds, minutes, hours], epoch, format) => {
        const ram = new Uint8Array(128);
        ram[Cmos.secondsAlarm] = seconds;
        ram[Cmos.minutesAlarm] = minutes;
        ram[Cmos.hoursAlarm] = hours;
        const matches = (alarm: number, value: number): boolean => alarm >= 0xc0 || alarm === value;
        const hour = (value: number): number =>
          format === 0x06 ? value : ((value + 11) % 12) + 1 + (value >= 12 ? 0x80 : 0);
        let expected = Number.POSITIVE_INFINITY;
        for (let at = epoch + 1; at <= epoch + 86_400; at++) {
          const day = ((at % 86_400) + 86_400) % 86_400;
          if (
            matches(seconds, day % 60) &&
            matches(minutes, Math.floor(day / 60) % 60) &&
            matches(hours, hour(Math.floor(day / 3600)))
          ) {
            expected = at;
            break;
          }
        }
        expect(nextAlarm(ram, epoch, format)).toBe(expected);
      },
    ),
    { numRuns: 60 },
  );
});

const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("set" as const),
      at: fc.oneof(fc.integer({ min: 0, max: 13 }), fc.integer({ min: 0, max: 255 }), fc.constant(0x32)),
      value: fc.integer({ min: 0, max: 255 }),
    }),
    fc.record({
      kind: fc.constant("get" as const),
      at: fc.oneof(fc.integer({ min: 0, max: 13 }), fc.integer({ min: 0, max: 255 })),
    }),
    fc.record({
      kind: fc.constant("write" as const),
      port: fc.integer({ min: 0x6e, max: 0x73 }),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const),
      value: fc.integer({ min: 0, max: 0xffff_ffff }),
    }),
    fc.record({
      kind: fc.constant("read" as const),
      port: fc.integer({ min: 0x6e, max: 0x73 }),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const),
    }),
    fc.record({
      kind: fc.constant("wait" as const),
      ns: fc.oneof(fc.integer({ min: 0, max: 5_000_000 }), fc.integer({ min: 0, max: 5 * second })),
    }),
  ),
  { maxLength: 60 },
);
type Step = typeof steps extends fc.Arbitrary<readonly (infer One)[]> ? One : never;

function perform({ rtc, time, get, set }: ReturnType<typeof machine>, step: Step): number {
  switch (step.kind) {
    case "set":
      set(step.at, step.value);
      return 0;
    case "get":
      return get(step.at);
    case "write":
      rtc.portWrite(step.port, step.width, step.value);
      return 0;
    case "read":
      return rtc.portRead(step.port, step.width);
    case "wait":
      time.advance(step.ns);
      return 0;
    default:
      return step satisfies never;
  }
}

describe("whatever a guest does", () => {
  it("answers values of the access's width and never throws", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const guest = machine();
        answersInWidth(guest, all, perform, (step, value) => {
          if (step.kind !== "read") expect(value).toBeLessThan(256);
        });
        expect(guest.rtc.inspect()["time"]).toMatch(/^(stopped|[-+]?\d{4,6}-.*Z)$/);
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
            const copy = machine(0, guest.time.now());
            copy.line.set(guest.line.level);
            return copy;
          },
          device: ({ rtc }) => rtc,
          seen: ({ line, time }) => [line.level, time.nextDeadline()],
        }),
      ),
    );
  });
});

function busy() {
  const guest = machine(newYearsEve, 123_456_789);
  guest.set(0x10, 0x40);
  guest.set(Cmos.a, 0x60);
  guest.set(Cmos.a, 0x2a);
  guest.set(Cmos.weekday, 0x01);
  guest.alarm(0x07, 0x30, 0xc0);
  guest.set(Cmos.b, 0x22);
  guest.time.advance(777_000_000);
  guest.rtc.portWrite(0x72, 2, 0x5a05);
  guest.rtc.portWrite(0x72, 1, 0x11);
  guest.rtc.portWrite(0x70, 1, 0x8b);
  return guest;
}

describe("saved state", () => {
  it("is the golden one and comes back from it", () => {
    const state = busy().rtc.save();
    const saved = expectGolden("rtc", state);
    const { rtc, time } = machine(0, busy().time.now());
    rtc.restore(saved);
    expect(rtc.save()).toEqual(state);
    expect(rtc.nmiMasked).toBe(true);
    expect(rtc.portRead(0x72, 1)).toBe(0x11);
    expect(time.nextDeadline()).toBe(busy().time.nextDeadline());
  });

  it("of version 1 comes back with an empty extended bank", () => {
    const old: unknown = JSON.parse(
      readFileSync(new URL("golden/rtc-version-1.json", import.meta.url), "utf8"),
    );
    const { rtc, time } = machine(0, busy().time.now());
    rtc.portWrite(0x72, 2, 0xff05);
    rtc.restore(old);
    expect(rtc.save()).toEqual({
      ...busy().rtc.save(),
      extendedIndex: 0,
      extendedRam: new Uint8Array(128),
    });
    expect(time.nextDeadline()).toBe(busy().time.nextDeadline());
  });

  it("is refused when it does not fit, and changes nothing", () => {
    const good = busy().rtc.save();
    const badD = good.ram.slice();
    badD[Cmos.d] = 0;
    refusesStates(
      () => machine(0, busy().time.now()).rtc,
      [
        [{ ...good, version: 3 }, "bad-version"],
        [{ ...good, version: 1 }, "bad-shape"],
        [{ ...good, extendedIndex: 0x80 }, "out-of-range"],
        [{ ...good, extendedRam: new Uint8Array(129) }, "bad-shape"],
        [{ ...good, ram: new Uint8Array(127) }, "bad-shape"],
        [{ ...good, ram: badD }, "out-of-range"],
        [{ ...good, flags: 0x80 }, "out-of-range"],
        [{ ...good, weekdayShift: 7 }, "out-of-range"],
        [{ ...good, phase: 1e15 }, "out-of-range"],
        [{ ...good, base: 1e14 }, "out-of-range"],
      ],
    );
  });
});

it("specs/rtc.md holds the register table and the periodic rates", () => {
  const text = expectRegistersInSpec("rtc", rtcRegisters);
  periodicCycles.forEach((cycles, rate) => {
    expect(text).toContain(`| ${rate} | ${cycles === 0 ? "none" : `${cycles}`} |`);
  });
});
