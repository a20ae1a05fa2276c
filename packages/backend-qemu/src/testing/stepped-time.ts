import { QtestError } from "../qtest-error.ts";
import type { QtestMachine } from "../qtest-machine.ts";

/*
 * QEMU's clock, moved by hand. With its instruction counter as the clock and nothing to run, time stands still while no timer is
 * armed, and jumps to the next deadline when one is: so a comparator of the HPET moves it by any number of ticks.
 */

/** What QEMU has to be started with: the clock of the machine and that of the RTC are virtual. */
export const steppedTimeArguments: readonly string[] = [
  "-icount",
  "shift=0,sleep=off",
  "-rtc",
  "base=2000-01-01T00:00:00,clock=vm",
];

const hpet = 0xfed0_0000;
const configuration = hpet + 0x10;
const counter = hpet + 0xf0;
const timer2 = { configuration: hpet + 0x140, comparator: hpet + 0x148 } as const;
/** Timer 2 interrupts, edge triggered, at a pin of the IOAPIC that is masked and that no other device uses. */
const timer2Enabled = 0x4 | (20 << 9);
const enabled = 1;
const legacyReplacement = 2;

/** Nanoseconds of a tick, which are what a step is a multiple of. */
export const tickLength = 10;
/** Ticks by which QEMU may be late. */
const lateness = 10n;
/** Readings until a step is taken for lost. */
const patience = 10_000;

export class SteppedTime {
  readonly #machine: QtestMachine;
  /** Where the last step led, so that what QEMU is late does not add up. */
  #ticks: bigint;

  private constructor(machine: QtestMachine, ticks: bigint) {
    this.#machine = machine;
    this.#ticks = ticks;
  }

  /**
   * Takes the HPET of a machine that has just been started. In legacy replacement it also cuts off the lines of timer and clock. The
   * clock's divider chain is held in reset: otherwise time would run to its next alarm.
   */
  static async start(machine: QtestMachine): Promise<SteppedTime> {
    await machine.portWrite(0x70, 1, 0x0a);
    await machine.portWrite(0x71, 1, 0x60);
    await machine.mmioWrite(configuration, 4, enabled | legacyReplacement);
    await machine.mmioWrite(timer2.configuration, 4, timer2Enabled);
    return new SteppedTime(machine, await machine.mmioRead64(counter));
  }

  /**
   * Moves time on by `ns`, a multiple of a tick, from where the last step led; QEMU arrives some ticks late. Timers that are due on
   * the way fire, also such as have already moved time.
   */
  async step(ns: number): Promise<void> {
    const target = this.#ticks + BigInt(ns / tickLength);
    this.#ticks = target;
    const armed = this.#machine.mmioWrite64(timer2.comparator, target);
    for (let reading = 0; reading < patience; reading++) {
      const [now] = await Promise.all([this.#machine.mmioRead64(counter), armed]);
      if (now > target + lateness) throw new QtestError("protocol", "QEMU's virtual clock moves by itself");
      if (now >= target) return;
    }
    throw new QtestError("protocol", "QEMU's virtual clock does not move");
  }
}
