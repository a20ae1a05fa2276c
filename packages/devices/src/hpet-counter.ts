import { hpetRegisters } from "./hpet-registers.ts";
import type { SavedFields } from "./saved-state.ts";

/** Guest time per tick, ns. */
export const hpetTick = hpetRegisters.period.reset / 1_000_000;

const word = 2 ** 32;

export interface HpetCounterState {
  /** Bits 31:0 and 63:32 at guest time `origin`. */
  readonly low: number;
  readonly high: number;
  /** Guest time in ns at which the counter was started last. */
  readonly origin: number;
}

/**
 * The 64-bit main counter. Like the counters of the 8254 it does not count: it knows when it was started. A count is two
 * unsigned halves; ticks since the start are a plain number, below 2^50 until the end of guest time.
 */
export class HpetCounter {
  #low = 0;
  #high = 0;
  #origin = 0;
  #running = false;

  get running(): boolean {
    return this.#running;
  }

  /** Ticks since the counter was started; 0 while it is halted. */
  ticks(now: number): number {
    return this.#running ? Math.floor((now - this.#origin) / hpetTick) : 0;
  }

  /** Guest time in ns at which `ticks` have passed since the start. */
  timeOf(ticks: number): number {
    return this.#origin + ticks * hpetTick;
  }

  low(now: number): number {
    // Whole numbers below 2^53: the shift is the remainder modulo 2^32, many times as fast as the operator.
    return (this.#low + this.ticks(now)) >>> 0;
  }

  high(now: number): number {
    return (this.#high + Math.floor((this.#low + this.ticks(now)) / word)) >>> 0;
  }

  start(now: number): void {
    this.#origin = now;
    this.#running = true;
  }

  stop(now: number): void {
    const low = this.low(now);
    this.#high = this.high(now);
    this.#low = low;
    this.#running = false;
  }

  /** Writes bits 31:0 or 63:32. A running counter is not to be written, and takes nothing. */
  write(high: boolean, value: number): void {
    if (this.#running) return;
    if (high) this.#high = value;
    else this.#low = value;
  }

  reset(): void {
    this.#running = false;
    this.#low = hpetRegisters.counterLow.reset;
    this.#high = hpetRegisters.counterHigh.reset;
    this.#origin = 0;
  }

  save(): HpetCounterState {
    return { low: this.#low, high: this.#high, origin: this.#origin };
  }

  /** Checks a saved counter, as of a device that is `running` or not; `putInPlace` restores it. */
  prepare(fields: SavedFields, running: boolean, now: number): { origin: number; putInPlace: () => void } {
    const low = fields.dword("low");
    const high = fields.dword("high");
    const origin = fields.integer("origin", 0, now);
    fields.end();
    return {
      origin,
      putInPlace: () => {
        this.#low = low;
        this.#high = high;
        this.#origin = origin;
        this.#running = running;
      },
    };
  }
}
