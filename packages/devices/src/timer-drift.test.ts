import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ApicTimer, timerMode } from "./apic-timer.ts";
import { ClockWheel } from "./clock-wheel.ts";
import type { InterruptLine } from "./device.ts";
import { Hpet, hpetTick } from "./hpet.ts";
import { HpetTimerBit } from "./hpet-registers.ts";
import { unconnectedLine } from "./line.ts";
import { Oscillator } from "./oscillator.ts";
import { Pit, pitHertz } from "./pit.ts";
import { Rtc } from "./rtc.ts";
import { Cmos, RegisterB } from "./rtc-registers.ts";

/*
 * Every timer of the machine at once on one wheel whose clock is always late, as a run loop's is: it fires alarms when the guest's
 * block of instructions ends, not when they are due. Whatever is periodic must have come as often as its period fits into the time.
 */

/** Guest time behind a deadline at which the run loop gets to fire it, ns. */
const latest = 3_000;
const duration = 2_000_000_000;

/** Calls `rise` for each change from low to high. */
function onRise(rise: () => void): InterruptLine {
  let level = false;
  return {
    set(next) {
      if (next && !level) rise();
      level = next;
    },
  };
}

class LateMachine {
  readonly #clock: { time: number; now: () => number };
  readonly wheel: ClockWheel;
  #random: number;
  /** What the guest does about the interrupts of this moment, once it gets to run. */
  #answers: (() => void)[] = [];

  constructor(seed: number) {
    const clock = { time: 0, now: () => clock.time };
    this.#clock = clock;
    this.wheel = new ClockWheel(clock);
    this.#random = seed;
  }

  answer(action: () => void): void {
    this.#answers.push(action);
  }

  /** Runs until `end`; each alarm fires up to `latest` after its time. */
  run(end: number): void {
    for (let next = this.wheel.nextDeadline(); next < end; next = this.wheel.nextDeadline()) {
      this.#random = (Math.imul(this.#random, 1_103_515_245) + 12_345) >>> 0;
      this.#clock.time = Math.min(end, Math.max(this.#clock.time, next) + (this.#random % latest));
      this.wheel.fireDue();
      for (const action of this.#answers.splice(0)) action();
    }
    this.#clock.time = end;
    this.wheel.fireDue();
  }
}

interface Beats {
  count: number;
  /** How often it must have come by `duration`. */
  readonly expected: number;
}

const periods = fc.record({
  seed: fc.nat(),
  /** Of the local APIC's timers in ns, of the HPET's in ticks, of the 8254 in clocks. */
  apic: fc.integer({ min: 100_001, max: 9_999_999 }),
  deadline: fc.integer({ min: 100_001, max: 9_999_999 }),
  hpet: fc.integer({ min: 10_001, max: 999_999 }),
  hpetOneShot: fc.integer({ min: 10_001, max: 999_999 }),
  pit: fc.integer({ min: 101, max: 65_535 }),
  mode: fc.constantFrom(2, 3),
  divide: fc.constantFrom(0x0, 0x3, 0xb),
  rate: fc.integer({ min: 3, max: 15 }),
});

describe("a timer on a late clock", () => {
  it("comes as often as its period fits into guest time, to the beat", () => {
    fc.assert(
      fc.property(periods, (given) => {
        const machine = new LateMachine(given.seed);
        const { wheel } = machine;
        const beats: Record<string, Beats> = {};
        const beat = (name: string, expected: number): (() => void) => {
          const row: Beats = { count: 0, expected };
          beats[name] = row;
          return () => {
            row.count++;
          };
        };

        const tsc = { frequency: 1e9, offset: () => ({ low: 0, high: 0 }) };
        const divisor = given.divide === 0xb ? 1 : 2 << given.divide;
        const period = Math.ceil(given.apic / divisor) * divisor;
        const periodic = new ApicTimer(
          "periodic",
          wheel,
          tsc,
          beat("local APIC, periodic", Math.floor(duration / period)),
        );
        periodic.setMode(timerMode.periodic);
        periodic.divide = given.divide;
        periodic.initialCount = period / divisor;

        // A guest that keeps its own absolute schedule, as Linux's tick does.
        let tick = given.deadline;
        const counted = beat("local APIC, TSC deadline", Math.floor(duration / given.deadline));
        const deadline = new ApicTimer("deadline", wheel, tsc, () => {
          counted();
          machine.answer(() => {
            tick += given.deadline;
            deadline.writeDeadline(tick % 2 ** 32, Math.floor(tick / 2 ** 32));
          });
        });
        deadline.setMode(timerMode.tscDeadline);
        deadline.writeDeadline(tick, 0);

        const hpetPeriodic = beat("HPET, periodic", Math.floor(duration / (given.hpet * hpetTick)));
        const hpetOneShot = beat("HPET, one-shot", Math.floor(duration / (given.hpetOneShot * hpetTick)));
        let comparator = given.hpetOneShot;
        const hpet: Hpet = new Hpet({
          name: "hpet",
          timebase: wheel,
          line: () => unconnectedLine,
          legacyLines: [
            onRise(hpetPeriodic),
            onRise(() => {
              hpetOneShot();
              machine.answer(() => {
                comparator += given.hpetOneShot;
                hpet.mmioWrite(0x128, 4, comparator);
              });
            }),
          ],
          legacyReplacement() {},
          message() {},
        });
        const enabled = HpetTimerBit.interruptEnable | HpetTimerBit.mode32;
        hpet.mmioWrite(0x100, 4, enabled | HpetTimerBit.periodic | HpetTimerBit.valueSet);
        hpet.mmioWrite(0x108, 4, given.hpet);
        hpet.mmioWrite(0x120, 4, enabled);
        hpet.mmioWrite(0x128, 4, comparator);
        hpet.mmioWrite(0x10, 4, 3);

        const pitCycles = new Oscillator(pitHertz).cycles(duration);
        const pit = new Pit({
          name: "pit",
          timebase: wheel,
          line: onRise(beat("PIT", Math.floor(pitCycles / given.pit))),
        });
        pit.portWrite(0x43, 1, 0x30 | (given.mode << 1));
        pit.portWrite(0x40, 1, given.pit & 0xff);
        pit.portWrite(0x40, 1, given.pit >> 8);
        // OUT rose with the control word.
        beats["PIT"]!.count = 0;

        const rtcBeat = beat("RTC, periodic", Math.floor((duration / 1e9) * (65_536 >> given.rate)));
        const rtc: Rtc = new Rtc({
          name: "rtc",
          timebase: wheel,
          startTime: 0,
          line: onRise(() => {
            rtcBeat();
            machine.answer(() => {
              rtc.portWrite(0x70, 1, Cmos.c);
              rtc.portRead(0x71, 1);
            });
          }),
        });
        rtc.portWrite(0x70, 2, ((0x20 | given.rate) << 8) | Cmos.a);
        rtc.portWrite(0x70, 2, ((RegisterB.periodic | RegisterB.hours24) << 8) | Cmos.b);

        machine.run(duration);
        for (const [name, { count, expected }] of Object.entries(beats)) {
          // The last beat may have been due while the guest was late for the one before.
          expect([name, count]).toEqual([name, count === expected - 1 ? count : expected]);
        }
      }),
      { numRuns: 20 },
    );
  });
});
